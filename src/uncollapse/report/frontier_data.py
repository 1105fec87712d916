"""The frontiers of the heads for the page: curves, bands and seeds, as the figures draw them."""

from collections.abc import Mapping

import pandas as pd

from uncollapse.json_types import JsonObject
from uncollapse.report.figures.frontier import (
    FRONTIERS,
    FrontierAxes,
    count_beyond,
    frame_limits,
    mean_frontier,
)
from uncollapse.report.frontier import frontier_points
from uncollapse.report.page_numbers import CURVE_DIGITS, round_number

PRICE = "d_nll"


def encode_frontiers(runs: pd.DataFrame, place: Mapping[int, int]) -> list[JsonObject]:
    """Of each horizontal axis with a curve: the curves, and limits that hold most of the runs."""
    found = []
    for axes in (axes for axes in FRONTIERS if axes.y == PRICE):
        points = frontier_points(runs, axes.x, axes.y)
        if points.empty:
            continue
        limits = frame_limits(runs, points, axes)
        curves = points.groupby("curve", sort=False)
        found.append(
            {
                "x": axes.x,
                "y": axes.y,
                "limits": [[round_number(value) for value in pair] for pair in limits],
                "beyond": count_beyond(runs, points, axes),
                "curves": [describe_curve(str(name), own, axes, place) for name, own in curves],
            }
        )
    return found


def describe_curve(
    name: str, points: pd.DataFrame, axes: FrontierAxes, place: Mapping[int, int]
) -> JsonObject:
    """One curve: the places of its groups, the positions of its runs, and `line`, which is x, mean
    and half-width over seeds."""
    line = mean_frontier(points, axes.x, axes.y)
    return {
        "name": name,
        "slot": points["slot"].iloc[0],
        "places": [place[order] for order in sorted(points["order"].unique().tolist())],
        "runs": [int(run) for run in points.index],
        "line": [[round_number(value, CURVE_DIGITS) for value in part.tolist()] for part in line],
    }
