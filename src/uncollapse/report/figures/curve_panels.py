"""Curves against training step or another quantity: a panel per group, with seeds and means."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from uncollapse.report.figures.sheet import Scale, Sheet
from uncollapse.report.panels import legend_entry, slot_legend
from uncollapse.report.stats import by_group
from uncollapse.report.style import BLACK, GREY, MOST_GROUPS, NoFigure, names_of, style_of

END_MARKERS = {"unfinished": "o", "failed": "x"}
OTHERS_STYLE: dict[str, Any] = {"colors": "#d4d4d4", "linewidths": 0.5, "zorder": 1}
PLAIN_STYLE: dict[str, Any] = {"linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 2}
FLOOR_STYLE: dict[str, Any] = {"linestyle": (0, (1, 1.2)), "linewidth": 1.1, "zorder": 5}
FLOOR_COLOUR = "#222222"

Curve = tuple[np.ndarray, np.ndarray]  # x and y, [N] each


def validation_rows(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Validation rows in evaluation mode that have the column. NoFigure if there are none."""
    rows = rows[(rows["split"] == "valid") & (rows["mode"] == "eval")].dropna(subset=[column])
    if rows.empty:
        raise NoFigure(f"no validation row has {column} yet.")
    return rows


def highest_late(rows: pd.DataFrame, column: str) -> float:
    """The highest value after the first twentieth of training."""
    late = rows.loc[rows["step"] > 0.05 * rows["step"].max(), column]
    return float(late.max() if late.notna().any() else rows[column].max())


def draw_curves(
    rows: pd.DataFrame,
    column: str,
    scales: tuple[Scale, Scale],
    labels: tuple[str, str],
    width: float,
    more: Iterable[Line2D] = (),
) -> Sheet:
    """A panel for each of the first MOST_GROUPS groups, with the means of the others in grey.

    The horizontal coordinate is always in the column `step`. `more`: entries of the legend.
    """
    groups = by_group(rows)[:MOST_GROUPS]
    sheet = Sheet(
        names_of([group for _, group in groups]),
        scales,
        labels,
        width,
        colors=[style_of(group).color for _, group in groups],
        legend=[*curve_legend(rows, column), *more],
    )
    means = {order: mean_curve(group, column) for order, group in groups}
    for panel, (order, group) in enumerate(groups):
        grey = [mean for other, mean in means.items() if other not in (order, 0)]
        sheet.add_lines(panel, grey, **OTHERS_STYLE)
        if order and 0 in means:
            sheet.add_lines(panel, [means[0]], colors=BLACK, **PLAIN_STYLE)
        draw_group_curves(sheet, panel, group, column, means[order])
    return sheet


def draw_group_curves(
    sheet: Sheet, panel: int, rows: pd.DataFrame, column: str, mean: Curve
) -> None:
    """Every seed, their mean and, for kl, the promised floor."""
    color = style_of(rows).color
    curves: dict[bool, list[Curve]] = {True: [], False: []}
    columns = [rows[name].to_numpy() for name in ("run", "status", "step", column)]
    for number in dict.fromkeys(columns[0].tolist()):
        _, (status, *_), *pair = (values[columns[0] == number] for values in columns)
        curve = pair[0].astype(float), pair[1].astype(float)
        curves[status == "done"].append(curve)
        if status != "done":
            end: dict[str, Any] = {"color": color, "markersize": 4, "fillstyle": "none"}
            sheet.add_dots(panel, curve[0][-1:], curve[1][-1:], END_MARKERS[status], **end)
    thin: dict[str, Any] = {"colors": color, "linewidths": 0.6, "alpha": 0.6, "zorder": 3}
    sheet.add_lines(panel, curves[True], **thin)
    sheet.add_lines(panel, curves[False], linestyles=(0, (3, 2)), **thin)
    sheet.add_lines(panel, [mean], colors=color, linewidths=1.4, zorder=4)
    if column == "kl" and rows["floor"].notna().any():
        floor = rows.groupby("step")["floor"].mean().dropna()
        # on top, or a head whose KL equals its floor would hide it
        line = (floor.index.to_numpy(float), floor.to_numpy(float))
        sheet.add_lines(panel, [line], colors=FLOOR_COLOUR, **FLOOR_STYLE)


def mean_curve(rows: pd.DataFrame, column: str) -> Curve:
    """Mean over the finished seeds at the steps that all of them have, so that n is constant."""
    # a mean over a changing set of seeds would jump where a run ends
    done = rows[rows["status"] == "done"]
    steps, values = done["step"].to_numpy(float), done[column].to_numpy(float)
    if not len(steps):
        return steps, values
    common, place, count = np.unique(steps, return_inverse=True, return_counts=True)
    means = np.bincount(place, values) / count
    shared = count == done["run"].nunique()
    return common[shared], means[shared]


def curve_legend(rows: pd.DataFrame, column: str) -> Iterable[Line2D]:
    """Legend entries for slots, plain, floor, and runs that are not finished."""
    yield from slot_legend(rows, lines=True)
    orders = rows["order"].unique()
    if 0 in orders and len(orders) > 1:
        yield legend_entry("plain, in every panel", color=BLACK, **PLAIN_STYLE)
    if len(orders) > 2 or (len(orders) > 1 and 0 not in orders):
        yield legend_entry("other heads", color=OTHERS_STYLE["colors"], linewidth=1)
    if column == "kl" and rows["floor"].notna().any():
        yield legend_entry("promised floor", color=FLOOR_COLOUR, **FLOOR_STYLE)
    for status, marker in END_MARKERS.items():
        if status in rows["status"].values:
            style: dict[str, Any] = {"color": GREY, "ls": "--", "lw": 0.7, "mfc": "white"}
            yield legend_entry(f"{status} run", marker=marker, **style)
