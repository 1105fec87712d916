"""Heads along their frontiers, and their comparison at equal information.

A head at one value of its knob shows that value, not the remedy. So runs of a head at several
values form a curve for each seed: what it costs (nll minus plain's, paired by seed) against how
much the code carries (mi, or the shuffled-z gap). Two heads are compared where their curves carry
the same, interpolated between runs at neighbouring values of the knob, and never beyond them. Some
knobs raise the rate but, from some value on, lower mi: where a curve passes the same mi twice, its
cheaper passage counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from uncollapse.report.ranking import find_envelope, rank_values
from uncollapse.report.stats import against_plain, finished, once_per_frame, t_interval
from uncollapse.report.text import write_symbols

INFORMATION_LEVELS = (1.0, 2.0, 4.0, 6.0, 8.0)  # nats of mi or gap at which heads are compared
FEWEST_VALUES = 3  # of a head's knob, for a curve
SPAN_COLUMNS = (
    "curve", "head", "data_name", "order", "seed", "converged", "knob", "setting",
)  # fmt: skip
CLEARLY = 0.1  # nats of d_nll, more than seeds differ by
FEWEST_SEEDS = 2  # at one level, for a rank there


def frontier_points(runs: pd.DataFrame, x: str = "mi", y: str = "d_nll") -> pd.DataFrame:
    """The finished runs of every head that was run at several values of a knob.

    With x, y and `d_nll` (nll minus plain's). Left out: runs that lack one of them, such as runs
    without a plain run of their seed, data and number of codes; and, if x is mi, runs whose mi is
    saturated, a lower bound only. `curve` names the curve: one head, on one data set, with all
    settings but the knob equal. `knob` is that knob, and `setting` its value.
    """
    return find_frontier_points(runs, x, y)


@once_per_frame
def find_frontier_points(runs: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The points, computed once for all tables, sentences and figures."""
    done = finished(runs)
    if y not in {"d_nll", *done.columns}:
        return done.iloc[:0].assign(curve="", knob="", setting=np.nan)
    done = done.assign(d_nll=against_plain(runs, "nll").reindex(done.index))
    usable = done[done[x].notna() & done[y].notna() & (done["head"] != "plain")]
    if x == "mi":
        usable = usable[usable["mi_saturated"] != 1]
    knobs = {str(head): find_knob(group) for head, group in usable.groupby("head")}
    names = name_curves(usable, knobs)
    values = usable.groupby(names)["order"].nunique()
    points = usable[names.map(values) >= FEWEST_VALUES]
    # data are named only where they tell curves apart
    if points["data_name"].nunique() < 2:
        names = name_curves(usable, knobs, with_data=False)
    settings = [
        own.get(knobs[head]) for head, own in zip(points["head"], points["knobs"], strict=True)
    ]
    return points.assign(
        curve=names.reindex(points.index),
        knob=points["head"].map(knobs),
        setting=pd.to_numeric(pd.Series(settings, points.index, dtype=object), errors="coerce"),
    )


def explain_no_frontier(runs: pd.DataFrame, x: str = "mi", y: str = "d_nll") -> str:
    """Why there are no frontier points: one sentence."""
    done = finished(runs)
    own = "nll" if y == "d_nll" else y
    if own not in done or done[own].isna().all():
        return f"no finished run has {own} (`uncollapse evaluate` computes it)."
    if y == "d_nll" and not (done["head"] == "plain").any():
        return (
            "nll is compared with that of plain, and the study has no finished run of head=plain."
        )
    if y == "d_nll" and against_plain(runs, "nll")[done["head"] != "plain"].isna().all():
        return "no run has a plain run with the same seed, data and number of codes."
    return (
        f"no head was run at {FEWEST_VALUES} values of its knob or more with {x} and {own} "
        "(experiment=frontier does that)."
    )


def name_curves(runs: pd.DataFrame, knobs: Mapping[str, str], with_data: bool = True) -> pd.Series:
    """The curve that each run belongs to: its label, settings other than the knob, and data.

    knobs: that of each head.
    """
    shared = runs.groupby("label")["head"].nunique() > 1  # labels of several heads
    names = []
    columns = runs[["head", "label", "override_list", "data_name"]].itertuples(index=False)
    for head, label, overrides, data in columns:
        others = [text for text in overrides if text.partition("=")[0] != knobs[head]]
        name = f"{label} [{head}]" if shared[label] else label
        name = f"{name} ({write_symbols(', '.join(others))})" if others else name
        names.append(f"{name} [{data}]" if data and with_data else name)
    return pd.Series(names, runs.index, dtype=object)


def find_knob(runs: pd.DataFrame) -> str:
    """The knob that runs of one head vary: of its own knobs, the one with the most values.

    Settings of the trainer, the model and the data are not knobs of a head. '' if none varies.
    """
    values: dict[str, set[str]] = {}
    for overrides, knobs in zip(runs["override_list"], runs["knobs"], strict=True):
        for text in overrides:
            key, _, value = text.partition("=")
            if key in knobs:
                values.setdefault(key, set()).add(value)
    return max(values, key=lambda key: len(values[key]), default="")


def interpolate(
    x: ArrayLike, y: ArrayLike, targets: Sequence[float] | np.ndarray, lowest: bool
) -> np.ndarray:
    """y at each target [n] by straight lines from point to point; nan outside the span of x.

    The points are in the order of the knob, and x may fall where it goes on: of several values at
    a target the lowest counts, or the highest.
    """
    targets = np.asarray(targets, float)
    points = np.column_stack([np.asarray(x, float), np.asarray(y, float)])
    points = points[~np.isnan(points).any(axis=1)]
    found = np.full(len(targets), np.nan)
    choose = np.fmin if lowest else np.fmax
    for pair in pairwise(points):
        (x0, y0), (x1, y1) = sorted(map(tuple, pair))
        inside = (targets >= x0) & (targets <= x1)
        line = np.interp(targets, [x0, x1], [y0, y1]) if x0 < x1 else choose(y0, y1)
        found = np.where(inside, choose(found, line), found)
    return found


def values_at_levels(
    points: pd.DataFrame, targets: Iterable[float] = INFORMATION_LEVELS, x: str = "mi"
) -> dict[float, dict[str, pd.Series]]:
    """For each target and curve, d_nll at x = target of every seed whose span holds the target."""
    targets = list(targets)
    found: dict[float, dict[str, pd.Series]] = {target: {} for target in targets}
    points = points[list(dict.fromkeys(["curve", "order", "seed", x, "d_nll"]))]
    for curve, group in points.groupby("curve", sort=False):
        by_seed = interpolate_seeds(group, x, "d_nll", targets)
        for target in targets:
            values = by_seed[target].dropna()
            if len(values):
                found[target][str(curve)] = values
    return found


def interpolate_seeds(
    group: pd.DataFrame, x: str, y: str, targets: Sequence[float]
) -> pd.DataFrame:
    """y of one curve at x = target: a row per seed, a column per target; nan outside the span."""
    by_seed = {
        seed: interpolate(runs[x], runs[y], targets, lowest=True)
        for seed, runs in group.sort_values("order").groupby("seed")
    }
    return pd.DataFrame.from_dict(by_seed, orient="index", columns=list(targets), dtype=float)


def values_at(points: pd.DataFrame, target: float, x: str = "mi") -> dict[str, pd.Series]:
    """For each curve, d_nll at x = target of every seed whose span holds the target."""
    return values_at_levels(points, [target], x)[target]


def price_of_a_nat(group: pd.DataFrame, x: str = "mi") -> pd.Series:
    """The slope of d_nll over x of each seed of one curve, by least squares: nats per nat.

    Without runs that carry less than another one of the seed and clearly cost more.
    """
    slopes = {}
    for seed, runs in group.groupby("seed"):
        kept = drop_turning(runs, x)
        if kept[x].nunique() > 1:
            slopes[seed] = float(np.polyfit(kept[x], kept["d_nll"], 1)[0])
    return pd.Series(slopes, dtype=float)


def drop_turning(runs: pd.DataFrame, x: str) -> pd.DataFrame:
    """The runs of one seed, without those beyond the value of the knob from which x falls."""
    carried, cost = runs[x].to_numpy(), runs["d_nll"].to_numpy()
    # [run, other]: a small difference may be chance, and dropping it would bias the slope
    beaten = (carried[None] > carried[:, None]) & (cost[None] < cost[:, None] - CLEARLY)
    return runs[~pd.Series(beaten.any(axis=1), runs.index)]


def equal_information(
    points: pd.DataFrame, targets: Iterable[float] = INFORMATION_LEVELS, x: str = "mi"
) -> tuple[pd.DataFrame, list[float]]:
    """One row per curve, best first, and the targets that a curve reaches.

    A row has the span of x, d_nll at each target with its rank, the price of a nat, and the targets
    at which the curve lies on the envelope. Only curves of the same data are ranked together.
    """
    # slices of few columns are fast
    points = points[list(dict.fromkeys([*SPAN_COLUMNS, x, "d_nll"]))]
    found = values_at_levels(points, targets, x)
    reached = [target for target, values in found.items() if values]
    data = dict(zip(points["curve"], points["data_name"], strict=True))
    ranks, envelopes = {}, {}
    for target in reached:
        ranks[target], envelopes[target] = rank_within_data(found[target], data)
    rows = []
    for curve, group in points.groupby("curve", sort=False):
        row = describe_span(group, x)
        for target in reached:
            values = found[target].get(str(curve), pd.Series(dtype=float))
            mean, half = t_interval(values)
            row |= {f"d_nll_at_{target:g}_mean": mean, f"d_nll_at_{target:g}_half": half}
            row |= {
                f"d_nll_at_{target:g}_n": len(values),
                f"rank_at_{target:g}": ranks[target].get(str(curve), np.nan),
            }
        settings = interpolate_seeds(group, x, "setting", reached).mean()
        row |= {"knob": group["knob"].iloc[0]}
        row |= {f"knob_at_{target:g}": setting for target, setting in settings.items()}
        on_envelope = [target for target in reached if curve in envelopes[target]]
        row |= {"envelope": ", ".join(f"{target:g}" for target in on_envelope)}
        row |= {"on_envelope": len(on_envelope)}
        rows.append(row)
    return sort_rows(pd.DataFrame(rows), reached), reached


def rank_within_data(
    values: dict[str, pd.Series], data: dict[str, str]
) -> tuple[dict[str, int], set[str]]:
    """The ranks of curves among those of their data, and the curves on the envelope.

    Curves with fewer than FEWEST_SEEDS seeds have no rank, and neither has one without a rival.
    """
    values = {curve: found for curve, found in values.items() if len(found) >= FEWEST_SEEDS}
    ranks: dict[str, int] = {}
    envelope: set[str] = set()
    for name in {data[curve]: None for curve in values}:
        own = {curve: found for curve, found in values.items() if data[curve] == name}
        if len(own) < 2:
            continue
        ranks |= rank_values(own)
        envelope |= find_envelope(own)
    return ranks, envelope


def describe_span(group: pd.DataFrame, x: str) -> dict[str, object]:
    """What a curve consists of, its span of x, and its price of a nat."""
    slope, half = t_interval(price_of_a_nat(group, x))
    return {
        "curve": group["curve"].iloc[0],
        "head": group["head"].iloc[0],
        "data": group["data_name"].iloc[0],
        "values": group["order"].nunique(),
        "n": group["seed"].nunique(),
        f"{x}_min": group[x].min(),
        f"{x}_max": group[x].max(),
        "price_mean": slope,
        "price_half": half,
        "unconverged": int((group["converged"] == 0).sum()),
    }


def sort_rows(rows: pd.DataFrame, targets: list[float]) -> pd.DataFrame:
    """Curves of one data set together, those on the envelope at most targets first, then by their
    mean rank and value."""
    ranks = rows[[f"rank_at_{target:g}" for target in targets]].mean(axis=1)
    means = rows[[f"d_nll_at_{target:g}_mean" for target in targets]].mean(axis=1)
    keys = rows.assign(_rank=ranks, _mean=means)
    order = keys.sort_values(
        ["data", "on_envelope", "_rank", "_mean"], ascending=[True, False, True, True]
    ).index
    return rows.loc[order].reset_index(drop=True)
