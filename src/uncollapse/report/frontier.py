"""Heads along their frontiers, and their comparison at equal information.

A head at one value of its knob shows that value, not the remedy. So runs of a head at several
values form a curve for each seed: what it costs (nll minus plain's, paired by seed) against how
much the code carries (mi). Two heads are compared where their curves carry the same information,
interpolated between measured runs, and never beyond them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from uncollapse.report.stats import against_plain, finished, t_interval

INFORMATION_LEVELS = (1.0, 2.0, 4.0, 8.0)  # nats of mi at which heads are compared
FEWEST_VALUES = 3  # of a head's knob, for a curve


def frontier_points(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished runs of every head that was run at several settings, with `d_nll`.

    Runs without a plain run of their seed, and runs whose mi is saturated, a lower bound only, are
    left out. `curve` is the name of the head.
    """
    done = finished(runs)
    done = done.assign(d_nll=against_plain(runs, "nll").reindex(done.index))
    usable = done[done["d_nll"].notna() & done["mi"].notna() & (done["mi_saturated"] != 1)]
    usable = usable[usable["head"] != "plain"]
    values = usable.groupby("head")["order"].nunique()
    kept = usable[usable["head"].map(values) >= FEWEST_VALUES]
    return kept.assign(curve=kept["label"])


def interpolate_at(x: Sequence[float], y: Sequence[float], target: float) -> float:
    """y at x = target by straight lines between points sorted by x; nan outside their span.

    Points with the same x count as their mean.
    """
    points = pd.DataFrame({"x": x, "y": y}).dropna().groupby("x")["y"].mean()
    if len(points) < 2 or not points.index[0] <= target <= points.index[-1]:
        return float("nan")
    return float(np.interp(target, points.index, points.to_numpy()))


def values_at(points: pd.DataFrame, target: float) -> dict[str, pd.Series]:
    """For each curve, d_nll at mi = target of every seed whose span holds the target."""
    found: dict[str, pd.Series] = {}
    for curve, group in points.groupby("curve", sort=False):
        by_seed = {
            seed: interpolate_at(runs["mi"].tolist(), runs["d_nll"].tolist(), target)
            for seed, runs in group.groupby("seed")
        }
        values = pd.Series(by_seed, dtype=float).dropna()
        if len(values):
            found[str(curve)] = values
    return found


def price_of_a_nat(group: pd.DataFrame) -> pd.Series:
    """The slope of d_nll over mi of each seed of one curve, by least squares: nats per nat."""
    slopes = {}
    for seed, runs in group.groupby("seed"):
        if runs["mi"].nunique() > 1:
            slopes[seed] = float(np.polyfit(runs["mi"], runs["d_nll"], 1)[0])
    return pd.Series(slopes, dtype=float)


def rank_values(values: dict[str, pd.Series]) -> dict[str, int]:
    """The rank of each curve: 1 for the lowest mean and all that are tied with it, and so on.

    A curve is tied with the first of a rank if the paired interval over shared seeds includes 0, or
    if fewer than two seeds are shared, which decides nothing.
    """
    ranks: dict[str, int] = {}
    first, rank = "", 0
    for place, curve in enumerate(sorted(values, key=lambda name: values[name].mean()), 1):
        if not first or not are_tied(values[curve], values[first]):
            first, rank = curve, place
        ranks[curve] = rank
    return ranks


def are_tied(one: pd.Series, other: pd.Series) -> bool:
    """Whether seeds, by index, leave open which of two curves is lower."""
    difference = (one - other).dropna()
    mean, half = t_interval(difference)
    return not (np.isfinite(half) and abs(mean) > half)


def equal_information(
    points: pd.DataFrame, targets: Iterable[float] = INFORMATION_LEVELS
) -> tuple[pd.DataFrame, list[float]]:
    """One row per curve: span of mi, d_nll at each target with its rank, price; and the targets.

    Targets that no curve reaches are left out.
    """
    found = {target: values_at(points, target) for target in targets}
    reached = [target for target, values in found.items() if values]
    ranks = {target: rank_values(found[target]) for target in reached}
    rows = []
    for curve, group in points.groupby("curve", sort=False):
        slope, half = t_interval(price_of_a_nat(group))
        row = {
            "curve": curve,
            "head": group["head"].iloc[0],
            "values": group["order"].nunique(),
            "n": group["seed"].nunique(),
            "mi_min": group["mi"].min(),
            "mi_max": group["mi"].max(),
            "price_mean": slope,
            "price_half": half,
            "unconverged": int((group["converged"] == 0).sum()),
        }
        for target in reached:
            values = found[target].get(str(curve), pd.Series(dtype=float))
            mean, half = t_interval(values)
            row |= {f"d_nll_at_{target:g}_mean": mean, f"d_nll_at_{target:g}_half": half}
            row |= {
                f"d_nll_at_{target:g}_n": len(values),
                f"rank_at_{target:g}": ranks[target].get(str(curve), np.nan),
            }
        row["envelope"] = ", ".join(f"{t:g}" for t in reached if ranks[t].get(str(curve)) == 1)
        rows.append(row)
    return pd.DataFrame(rows), reached
