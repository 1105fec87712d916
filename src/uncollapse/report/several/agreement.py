"""How far rankings of the same heads agree: Spearman's rho and Kendall's W, with permutations.

Spearman's rho is that of the means; W is that of Kendall and Babington Smith, "The Problem of m
Rankings", Annals of Mathematical Statistics 10(3), 1939, with the correction for ties of Kendall,
"Rank Correlation Methods". p-values are the share of orders that agree at least as well, of all
orders for few heads and of random ones for more: with so few heads, asymptotic values mislead.
"""

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from uncollapse.report.ranking import reject_holm
from uncollapse.report.several.measures import RankedMeasure, SeedValues

FEWEST_HEADS = 4  # for a correlation: three are in the same order by chance in one case of six
MOST_EXACT = 8  # heads of which all orders are tried
ORDERS = 20_000  # random ones, for more heads
STATISTIC_SLACK = 1e-9  # of statistics that are equal


class Agreement(NamedTuple):
    """Of two columns by one measure: rho over `n` heads, its 95 % interval and permutation p.

    rho is nan for fewer than FEWEST_HEADS heads. `tied`: a column in which no head can be told from
    the first has no order to agree with.
    """

    one: int
    other: int
    n: int
    rho: float
    low: float
    high: float
    p: float
    tied: bool


@lru_cache(maxsize=32)  # sentences and tables use them
def compare_pairs(measure: RankedMeasure) -> list[Agreement]:
    """The agreement of every two columns over the heads that both rank."""
    return [
        compare_columns(measure, one, other)
        for one, other in combinations(range(measure.columns), 2)
    ]


def compare_columns(measure: RankedMeasure, one: int, other: int) -> Agreement:
    """The agreement of two columns over the heads that both rank."""
    names, values = find_common(measure, [one, other])
    n, tied = len(names), is_tied(measure, values)
    if n < FEWEST_HEADS:
        return Agreement(one, other, n, math.nan, math.nan, math.nan, math.nan, tied)
    x, y = map(rank_means, values)
    rho = spearman(x, y)
    low, high = spearman_interval(rho, n)
    return Agreement(one, other, n, rho, low, high, permutation_p(x, y), tied)


def find_common(
    measure: RankedMeasure, columns: Sequence[int]
) -> tuple[list[str], list[SeedValues]]:
    """The heads that could be ranked in each of these columns, and their values there."""
    found = [measure.list_kept_values(column) for column in columns]
    names = [name for name in found[0] if all(name in values for values in found)]
    return names, [{name: values[name] for name in names} for values in found]


def is_tied(measure: RankedMeasure, values: Sequence[SeedValues]) -> bool:
    """Whether in some column no head can be told from the first."""
    return any(len({*measure.rank(found).values()}) < 2 for found in values)


def find_significant_pairs(pairs: Sequence[Agreement]) -> list[Agreement]:
    """The pairs whose order agrees or is reversed, after Holm's adjustment for all of them."""
    tested = [pair for pair in pairs if np.isfinite(pair.p) and not pair.tied]
    if not tested:
        return []
    rejected = reject_holm(np.array([pair.p for pair in tested]))
    return [pair for pair, is_rejected in zip(tested, rejected, strict=True) if is_rejected]


def rank_means(values: SeedValues) -> np.ndarray:
    """Ranks [n] of the means from 1, lowest first; equal means share the mean of their ranks."""
    x = np.array([found.mean() for found in values.values()])
    below, equal = (x[None] < x[:, None]).sum(1), (x[None] == x[:, None]).sum(1)
    return below + (equal + 1) / 2


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rho of two rankings [n]; nan if all ranks of one are equal."""
    a, b = x - x.mean(), y - y.mean()
    scale = math.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale else math.nan


def spearman_interval(rho: float, n: int) -> tuple[float, float]:
    """The 95 % interval of rho: Fisher's z with the variance of Bonett and Wright, "Sample Size
    Requirements for Estimating Pearson, Kendall and Spearman Correlations", Psychometrika 65(1),
    2000, equation 9. nan where it is not defined: for rho of 1 or -1."""
    if not abs(rho) < 1 - STATISTIC_SLACK:
        return math.nan, math.nan
    half = float(ndtri(0.975)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)


def permutation_p(x: np.ndarray, y: np.ndarray) -> float:
    """The share of orders of y whose rho with x is at least as far from 0, two-sided."""
    rho = spearman(x, y)
    if not np.isfinite(rho):
        return math.nan
    orders = list_orders(len(x))
    a = x - x.mean()
    # the products of all orders with x, of which rho is a multiple
    products = np.abs((y - y.mean())[orders] @ a)
    observed = abs(a @ (y - y.mean())) - STATISTIC_SLACK
    return share_of(products >= observed, exact=len(x) <= MOST_EXACT)


@cache
def list_orders(n: int) -> np.ndarray:
    """All orders of n heads [n!, n], or ORDERS random ones, the same every time."""
    if n <= MOST_EXACT:
        return np.array(list(permutations(range(n))))
    rng = np.random.default_rng(0)
    return rng.permuted(np.tile(np.arange(n), (ORDERS, 1)), axis=1)


def share_of(found: np.ndarray, exact: bool) -> float:
    """The share of orders; of random ones, the observed order counts as one more."""
    return float(found.mean()) if exact else float((found.sum() + 1) / (len(found) + 1))


# ---- several columns -----------------------------------------------------------------------------


class Concordance(NamedTuple):
    """Kendall's W of all columns over the `n` heads that all of them rank; nan for too few."""

    n: int
    w: float
    p: float
    tied: bool


def compare_all(measure: RankedMeasure) -> Concordance:
    """Kendall's W of all columns over the heads that each of them ranks."""
    names, values = find_common(measure, range(measure.columns))
    tied = is_tied(measure, values)
    if len(names) < FEWEST_HEADS or measure.columns < 3:
        return Concordance(len(names), math.nan, math.nan, tied)
    ranks = np.array([*map(rank_means, values)])
    return Concordance(len(names), kendall_w(ranks), concordance_p(ranks), tied)


def kendall_w(ranks: np.ndarray) -> float:
    """W of rankings [m, n], corrected for ties: 1 if all agree, near 0 if none do."""
    m, n = ranks.shape
    sums = ranks.sum(0)
    spread = float(((sums - sums.mean()) ** 2).sum())
    most = m**2 * (n**3 - n) - m * sum(count_ties(row) for row in ranks)
    return 12 * spread / most if most else math.nan


def count_ties(ranks: np.ndarray) -> int:
    """The sum of t³ - t over sets of t equal ranks."""
    _, counts = np.unique(ranks, return_counts=True)
    return int((counts**3 - counts).sum())


def concordance_p(ranks: np.ndarray) -> float:
    """The share of random orders, of every ranking but the first, with a W at least as high."""
    rng = np.random.default_rng(0)
    sums = np.tile(ranks[0], (ORDERS, 1))
    for row in ranks[1:]:
        sums = sums + rng.permuted(np.tile(row, (ORDERS, 1)), axis=1)
    observed = ranks.sum(0)
    # W is a multiple of the variance of the sums
    return share_of(sums.var(axis=1) >= observed.var() - STATISTIC_SLACK, exact=False)
