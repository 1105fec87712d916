"""Curves against training step or another quantity: seeds, means, and panels of them."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uncollapse.report.panels import (
    add_legend_above,
    add_legend_right,
    create_grid,
    equalise_limits,
    legend_entry,
    set_panel_title,
    set_step_axis,
    slot_legend,
)
from uncollapse.report.stats import by_group
from uncollapse.report.style import (
    BLACK,
    GREY,
    GROUP_COLOURS,
    MOST_GROUPS,
    WIDTH,
    NoFigure,
    Style,
    is_crowded,
    style_of,
    wrap_text,
)

TOGETHER = 8  # groups that fit into one panel; more get a panel each
END_MARKERS = {"unfinished": "o", "failed": "x"}
FLOOR_STYLE: dict[str, Any] = {
    "color": "#222222",
    "linestyle": (0, (4, 3)),
    "linewidth": 1.0,
    "zorder": 5,
}


def validation_rows(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Validation rows in evaluation mode that have the column. NoFigure if there are none."""
    rows = rows[(rows["split"] == "valid") & (rows["mode"] == "eval")].dropna(subset=[column])
    if rows.empty:
        raise NoFigure(f"no validation row has {column} yet.")
    return rows


def draw_curve_panels(
    rows: pd.DataFrame,
    column: str,
    ylabel: str,
    xlabel: str = "training step",
    x_axis: Callable[[Axes], None] = set_step_axis,
) -> tuple[Figure, list[Axes]]:
    """One panel for few groups, otherwise a panel per group with the means of the others in grey.

    The horizontal coordinate is always in the column `step`; `x_axis` formats its axis.
    """
    groups = by_group(rows)
    if len(groups) > TOGETHER:
        fig, axes = draw_separate_curves(rows, column, x_axis)
        fig.supxlabel(xlabel)
        fig.supylabel(ylabel)
        if is_crowded(rows):
            add_legend_above(fig, colour_legend(rows), columns=6)
        return fig, axes
    fig = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    ax = fig.subplots()
    for _, group in groups:
        draw_group_curves(ax, group, column, style_of(group))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    x_axis(ax)
    add_legend_right(fig, list(curve_legend(rows, column)))
    return fig, [ax]


def draw_separate_curves(
    rows: pd.DataFrame, column: str, x_axis: Callable[[Axes], None]
) -> tuple[Figure, list[Axes]]:
    """A panel for each of the first MOST_GROUPS groups, all with the same limits."""
    groups = by_group(rows)
    panels = min(len(groups), MOST_GROUPS)
    fig, axes = create_grid(panels, 4, 1.45, outer="xy")
    # drawn once and added to every panel in grey
    lines = [mean_curve(group, column) for _, group in groups[:MOST_GROUPS]]
    means = [np.column_stack([line.index, line]) for line in lines if len(line)]
    for ax, line, (_, group) in zip(axes, lines, groups, strict=False):
        ax.add_collection(LineCollection(means, colors="#cfcfcf", linewidths=0.6))
        color = style_of(group).color if is_crowded(group) else GROUP_COLOURS[0]
        draw_group_curves(ax, group, column, Style(color, "", "-"), line)
        set_panel_title(ax, group["group"].iloc[0], panels, color if is_crowded(group) else BLACK)
        x_axis(ax)
    equalise_limits(axes)
    return fig, axes


def colour_legend(rows: pd.DataFrame) -> list[Line2D]:
    """Legend entries with the colours of slots, as lines."""
    return [
        legend_entry(str(entry.get_label()), color=entry.get_color()) for entry in slot_legend(rows)
    ]


def draw_group_curves(
    ax: Axes, rows: pd.DataFrame, column: str, style: Style, line: pd.Series | None = None
) -> None:
    """Every seed, their mean (`line`, if already computed) and, for kl, the promised floor."""
    for _, run in rows.groupby("run"):
        draw_seed_curve(ax, run, column, style.color)
    line = mean_curve(rows, column) if line is None else line
    # about seven markers, however many evaluations there are
    ax.plot(line.index, line, **style._asdict(), markevery=max(1, len(line) // 7))
    floor = pd.Series(dtype=float)
    if column == "kl":
        floor = rows.groupby("step")["floor"].mean().dropna()
    # on top, or a head whose KL equals its floor would hide it
    ax.plot(floor.index, floor, **FLOOR_STYLE)


def draw_seed_curve(ax: Axes, run: pd.DataFrame, column: str, color: str) -> None:
    """The evaluations of one run; dashed, with a mark at the last, if the run is not finished."""
    status = run["status"].iloc[0]
    dashes = "-" if status == "done" else "--"
    ax.plot(run["step"], run[column], color=color, linewidth=0.7, alpha=0.6, linestyle=dashes)
    if status != "done":
        end, marker = run.iloc[-1], END_MARKERS[status]
        style: dict[str, Any] = {"color": color, "mfc": "white", "ms": 6, "mew": 1.4, "zorder": 4}
        ax.plot(end["step"], end[column], marker, **style)


def mean_curve(rows: pd.DataFrame, column: str) -> pd.Series:
    """Mean over the finished seeds at the steps that all of them have, so that n is constant."""
    # a mean over a changing set of seeds would jump where a run ends
    wide = rows[rows["status"] == "done"].pivot(index="step", columns="run", values=column)
    return wide.dropna().mean(axis=1)


def curve_legend(rows: pd.DataFrame, column: str) -> Iterable[Line2D]:
    """Legend entries for groups, floor, and runs that are not finished."""
    for _, group in by_group(rows):
        yield legend_entry(wrap_text(group["group"].iloc[0]), **style_of(group)._asdict())
    if column == "kl" and rows["floor"].notna().any():
        yield legend_entry("promised floor", **FLOOR_STYLE)
    for status, marker in END_MARKERS.items():
        if status in rows["status"].values:
            style: dict[str, Any] = {"color": GREY, "ls": "--", "lw": 0.7, "mfc": "white"}
            yield legend_entry(f"{status} run", marker=marker, **style)
