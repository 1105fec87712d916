"""Ranks of curves from values of a few shared seeds, with a test that holds for many curves.

Three seeds leave two degrees of freedom, and 19 heads make 171 pairs. Paired t-tests without an
adjustment then separate at least two of 19 equal heads in 99 % of simulated studies, and with
Holm's adjustment alone they find 1 % of differences of five standard deviations. Two methods
together keep the error at 1 to 9 % (the latter where heads differ a lot in their spread) and find
most such differences:

- The variance of each paired difference is shrunk towards the variance that all pairs share, as
  much as the spread of the variances suggests: the moderated t of Smyth, "Linear Models and
  Empirical Bayes Methods for Assessing Differential Expression in Microarray Experiments",
  Statistical Applications in Genetics and Molecular Biology 3(1), 2004, sections 4 and 6.2.
- The p-values of all pairs are adjusted together: Holm, "A Simple Sequentially Rejective Multiple
  Test Procedure", Scandinavian Journal of Statistics 6(2), 1979, section 3.

Tukey's test with one pooled variance is as good where all heads have the same spread, but one head
of larger spread raises its error to 37 %.
"""

import itertools
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from scipy.special import digamma, polygamma, stdtr, stdtrit

Key = TypeVar("Key")

ERROR_RATE = 0.05  # of falsely separating any two curves
POOLED = 1e6  # degrees of freedom of a variance that all pairs share
LEAST_SHARE = 1e-5  # of the median variance, below which none is believed
LEAST_DEVIATION = 1e-9  # nats: differences that agree to rounding


def rank_values(values: dict[str, pd.Series]) -> dict[str, int]:
    """The rank of each curve from its values by seed: 1 for the lowest mean, and so on.

    Curves share a rank unless the first of it is significantly lower.
    """
    lower = find_lower(values)
    ranks: dict[str, int] = {}
    first, rank = "", 0
    for place, curve in enumerate(sorted(values, key=lambda name: values[name].mean()), 1):
        if not first or (first, curve) in lower:
            first, rank = curve, place
        ranks[curve] = rank
    return ranks


def find_envelope(values: dict[str, pd.Series]) -> set[str]:
    """The curves that no other curve is significantly lower than."""
    return {*values} - {higher for _, higher in find_lower(values)}


def find_lower(values: dict[str, pd.Series]) -> set[tuple[str, str]]:
    """The pairs (lower, higher) of curves whose values by seed differ significantly.

    Pairs with fewer than two shared seeds decide nothing.
    """
    pairs, tests = compare_pairs(values)
    found = itertools.compress(zip(pairs, tests.means, strict=True), reject_holm(tests.p_values))
    return {pair if mean < 0 else (pair[1], pair[0]) for pair, mean in found}


def find_lowest(values: dict[str, pd.Series]) -> str:
    """The curve with the lowest mean."""
    return min(values, key=lambda name: values[name].mean())


def compare_with_lowest(values: dict[str, pd.Series]) -> dict[str, tuple[float, float]]:
    """How much higher each curve is than that with the lowest mean: the mean over shared seeds and
    the half-width of its 95 % interval, of the t-test that ranks them, before Holm's adjustment.

    Without the lowest, and without curves that share fewer than two seeds with it.
    """
    lowest = find_lowest(values)
    pairs, tests = compare_pairs(values)
    found = {}
    for pair, mean, half in zip(pairs, tests.means, tests.halves, strict=True):
        if lowest in pair:
            other = pair[pair[0] == lowest]
            found[other] = (float(-mean if pair[0] == lowest else mean), float(half))
    return found


def compare_pairs(values: dict[str, pd.Series]) -> tuple[list[tuple[str, str]], "Tests"]:
    """All pairs of curves that share two seeds or more, and the tests of their differences."""
    names = list(values)
    one, other = np.triu_indices(len(names), 1)
    # [seed, head], with nan where a head lacks a seed
    table = pd.DataFrame(values).to_numpy(float)
    differences = table[:, one] - table[:, other]
    chosen = (~np.isnan(differences)).sum(0) > 1
    pairs = [(names[i], names[j]) for i, j in zip(one[chosen], other[chosen], strict=True)]
    differences = differences[:, chosen]
    if not pairs:
        nothing = np.zeros(0)
        return [], Tests(nothing, nothing, nothing)
    means = np.nanmean(differences, axis=0)
    deviations = np.nanstd(differences, axis=0, ddof=1)
    degrees = (~np.isnan(differences)).sum(0) - 1
    return pairs, moderated_tests(means, deviations**2, degrees, count_degrees(values))


def find_different(values: dict[str, pd.Series]) -> tuple[list[str], list[str]]:
    """The names whose values by seed are significantly below 0, and those above, in their order.

    Names with fewer than two seeds decide nothing.
    """
    tested = {name: found for name, found in values.items() if found.count() > 1}
    found = find_significant(tested, count_degrees(tested))
    lower = [name for name, mean in found.items() if mean < 0]
    return lower, [name for name in found if name not in lower]


def find_significant(differences: dict[Key, pd.Series], most: float) -> dict[Key, float]:
    """The means of those differences by seed that are significant, in their order.

    Differences with fewer than two seeds decide nothing. most: as in `moderated_tests`.
    """
    tested = {key: found.dropna() for key, found in differences.items() if found.count() > 1}
    if not tested:
        return {}
    means = np.array([found.mean() for found in tested.values()])
    deviations = np.array([found.std(ddof=1) for found in tested.values()])
    degrees = np.array([len(found) - 1 for found in tested.values()])
    tests = moderated_tests(means, deviations**2, degrees, most)
    chosen = zip(tested, means.tolist(), reject_holm(tests.p_values), strict=True)
    return {key: mean for key, mean, rejected in chosen if rejected}


def count_degrees(values: dict[str, pd.Series]) -> int:
    """The degrees of freedom of all curves together: values less one per curve and per seed."""
    seeds = {seed for found in values.values() for seed in found.index}
    return sum(map(len, values.values())) - len(values) - len(seeds) + 1


class Tests(NamedTuple):
    """Of mean differences [P]: 95 % intervals as half-widths, and two-sided p-values."""

    means: np.ndarray
    halves: np.ndarray
    p_values: np.ndarray


def moderated_tests(
    means: np.ndarray, variances: np.ndarray, degrees: np.ndarray, most: float
) -> Tests:
    """Moderated t-tests of mean differences [P] over degrees + 1 seeds.

    most: the degrees of freedom of all values together. Pairs share curves, and few of them cannot
    tell what variance all pairs share, so no test has more degrees than that.
    """
    positive = variances[variances > 0]
    least = LEAST_SHARE * np.median(positive) if len(positive) else 0.0
    variances = np.maximum(variances, max(least, LEAST_DEVIATION**2))
    prior, worth = fit_prior(variances, degrees)
    weight = np.clip(most - degrees, 0, worth)
    total = weight + degrees
    moderated = (weight * prior + degrees * variances) / total
    errors = np.sqrt(moderated / (degrees + 1))
    p_values = 2 * stdtr(total, -np.abs(means / errors))
    return Tests(means, stdtrit(total, 1 - ERROR_RATE / 2) * errors, p_values)


def fit_prior(variances: np.ndarray, degrees: np.ndarray) -> tuple[float, float]:
    """The common variance and how many degrees of freedom it is worth, from variances [P].

    Smyth (2004), section 6.2: the moments of the log of the variances.
    """
    half = degrees / 2
    logs = np.log(variances) - digamma(half) + np.log(half)
    # what exceeds the spread that variances of these degrees of freedom have by chance
    excess = (logs.var(ddof=1) if len(logs) > 1 else 0.0) - polygamma(1, half).mean()
    if excess <= 0:
        return float(np.exp(logs.mean())), POOLED
    prior_half = invert_trigamma(float(excess))
    common = np.exp(logs.mean() + digamma(prior_half) - np.log(prior_half))
    return float(common), min(2 * prior_half, POOLED)


def invert_trigamma(value: float) -> float:
    """The y > 0 with trigamma(y) = value > 0, by Newton's method on 1 / trigamma."""
    y = 0.5 + 1 / value
    for _ in range(50):
        found = float(polygamma(1, y))
        step = found * (1 - found / value) / float(polygamma(2, y))
        y += step
        if abs(step) < 1e-10 * y:
            break
    return y


def reject_holm(p: np.ndarray, level: float = ERROR_RATE) -> np.ndarray:
    """Which of the hypotheses with these p-values [P] Holm's procedure rejects, [P]."""
    order = np.argsort(p, kind="stable")
    passed = p[order] <= level / (len(p) - np.arange(len(p)))
    # it stops at the first that does not pass
    count = len(p) if passed.all() else int(np.argmin(passed))
    rejected = np.zeros(len(p), bool)
    rejected[order[:count]] = True
    return rejected
