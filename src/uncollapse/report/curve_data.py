"""The training curves of all runs for the page: thinned, so that many runs fit into one file."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from uncollapse.json_types import JsonObject
from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.figures.curve_panels import mean_curve
from uncollapse.report.page_numbers import CURVE_DIGITS, round_number
from uncollapse.report.runs import row_numbers
from uncollapse.report.stats import outlying

USUAL_CURVES = ("kl", "nelbo", "mi", "shuffle_gap", "au", "rec")  # the first of a study is shown
UNSHOWN = ("ppl", "floor", "kl_minus_floor", "seconds_per_step", "objective")
MOST_CURVE_POINTS, FEWEST_CURVE_POINTS = 40, 8  # of one curve
MOST_NUMBERS = 280_000  # of all curves together, about 1.5 MB before they are compressed
EARLY = 0.2  # the share of training whose values need not fit on the axis


def encode_curves(rows: pd.DataFrame, runs: pd.DataFrame, place: dict[int, int]) -> JsonObject:
    """The validation curves: {} if no run has been evaluated.

    `steps` are distinct lists of steps and `at` the list of each run, None for a run without
    curves. `values` has for each metric a list per run, `means` the curves of the groups that
    others are compared with, by their place, and `spans` the values that an axis should hold.
    """
    rows = rows[(rows["split"] == "valid") & (rows["mode"] == "eval")]
    names = choose_curves(rows)
    if not names:
        return {}
    points = MOST_NUMBERS // (len(names) * rows["run"].nunique())
    points = min(MOST_CURVE_POINTS, max(FEWEST_CURVE_POINTS, points))
    position = {run: i for i, run in enumerate(runs["run"].tolist())}
    steps: dict[tuple[int, ...], int] = {}
    at: list[int | None] = [None] * len(runs)
    values: dict[str, list[list[float | None] | None]] = {
        name: [None] * len(runs) for name in names
    }
    # arrays, as a frame per run is slow
    every_step, numbers = rows["step"].to_numpy(int), rows[names].to_numpy(float)
    for run, places in rows.groupby("run", sort=False).indices.items():
        kept = places[thin(len(places), points)]
        i = position[run]
        at[i] = steps.setdefault(tuple(every_step[kept].tolist()), len(steps))
        for k, name in enumerate(names):
            values[name][i] = round_values(numbers[kept, k].tolist())
    return {
        "names": names,
        "steps": [list(one) for one in steps],
        "at": at,
        "values": values,
        "means": {name: describe_means(rows, runs, place, name) for name in names},
        "spans": {name: find_span(rows, name) for name in names},
    }


def choose_curves(rows: pd.DataFrame) -> list[str]:
    """The metrics that evaluations have, the usual ones first."""
    known = [
        name
        for name in row_numbers()
        if name in METRICS and name not in UNSHOWN and rows[name].notna().any()
    ]
    rank = {name: i for i, name in enumerate(USUAL_CURVES)}
    return sorted(known, key=lambda name: rank.get(name, len(rank)))


def thin(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` positions, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def round_values(values: Sequence[float]) -> list[float | None] | None:
    """The numbers as they are drawn; None if there are none."""
    rounded = [round_number(value, CURVE_DIGITS) for value in values]
    return rounded if any(value is not None for value in rounded) else None


def describe_means(
    rows: pd.DataFrame, runs: pd.DataFrame, place: dict[int, int], name: str
) -> JsonObject:
    """The mean over finished seeds of each plain group, by its place: [steps, values]."""
    found: JsonObject = {}
    for order in runs.loc[runs["head"] == "plain", "order"].unique().tolist():
        steps, values = mean_curve(rows[(rows["order"] == order) & rows[name].notna()], name)
        if len(steps):
            kept = thin(len(steps), MOST_CURVE_POINTS)
            points = round_values(values[kept].tolist())
            found[str(place[order])] = [steps[kept].astype(int).tolist(), points]
    return found


def find_span(rows: pd.DataFrame, name: str) -> list[float | None]:
    """The lowest and highest value after the first fifth of training, without groups far away.

    With 0 where the values reach near it.
    """
    last = rows.dropna(subset=[name]).drop_duplicates("run", keep="last")
    far = last.loc[outlying(last, name), "order"].unique()
    usual = rows[~rows["order"].isin(far)]
    late = usual.loc[usual["step"] > EARLY * usual["step"].max(), name].dropna()
    shown = late if len(late) else usual[name].dropna()
    low, high = float(shown.min()), float(shown.max())
    if abs(low) < high / 100 or 0 < low < high / 2:
        low = 0.0
    return [round_number(low, CURVE_DIGITS), round_number(high, CURVE_DIGITS)]
