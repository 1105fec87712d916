"""Figure: the mean frontiers of all heads in one panel."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncollapse.report.figures.frontier import (
    CHEAP,
    COST,
    OTHER_HEADS,
    Mean,
    mean_frontier,
    require_points,
)
from uncollapse.report.figures.planes import PlaneName, draw_names
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.sentences import describe_left_out
from uncollapse.report.frontier import equal_information
from uncollapse.report.notes import bound_note
from uncollapse.report.panels import axis_label
from uncollapse.report.stats import finished
from uncollapse.report.style import WIDTH, NoFigure, solve_layout, style_by_order, wrap_text

MOST_NAMED_CURVES = 8  # curves; more would not be readable
HEIGHT = 4.6  # inches
NAME_WIDTH = 20  # characters


def draw_frontier_overview(runs: pd.DataFrame) -> Figure:
    """d_nll over mi: the mean curve of every head; the best are coloured and named."""
    points = require_single_data(runs)
    curves = mean_curves(points)
    named = choose_named(points, curves)
    fig = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    ax = fig.subplots()
    for name in curves.keys() - {*named}:
        x, mean, _ = curves[name]
        ax.plot(x, mean, color=OTHER_HEADS, linewidth=0.9, zorder=1)
    for number, name in enumerate(named, 1):
        style = style_by_order(number)
        x, mean, _ = curves[name]
        ax.plot(x, mean, color=style.color, linestyle=style.linestyle, linewidth=1.8, zorder=3)
    ax.axhline(0, color="black", linewidth=1)
    ax.set(**frame_of_named(curves, named))
    ax.set(xlabel=axis_label("mi", after=", information of z about x"), ylabel=axis_label("d_nll"))
    solve_layout(fig)
    name_ends(ax, curves, named)
    return fig


def frame_of_named(curves: dict[str, Mean], named: list[str]) -> dict[str, tuple[float, float]]:
    """Limits that the named curves fill, with room for names beyond their ends."""
    right = max(float(x[-1]) for x, _, _ in curves.values())
    heights = np.concatenate([curves[name][1] for name in named])
    low, high = min(float(heights.min()), 0.0), max(float(heights.max()), 0.0)
    room = 0.25 * (high - low)
    return {"xlim": (-0.02 * right, 1.15 * right), "ylim": (low - room, high + 1.5 * room)}


def require_single_data(runs: pd.DataFrame) -> pd.DataFrame:
    """The points of all curves. NoFigure if there are none, or if their data differ."""
    points = require_points(runs, "mi", "d_nll")
    if points["data_name"].nunique() > 1:
        raise NoFigure(
            "the runs have different data, whose curves must not be compared in one panel."
        )
    if len(mean_curves(points)) < 2:
        raise NoFigure("there are fewer than two heads whose seeds all share a span of mi.")
    return points


def mean_curves(points: pd.DataFrame) -> dict[str, Mean]:
    """The mean curve of each head whose seeds share a span of mi."""
    curves = {
        str(name): mean_frontier(group) for name, group in points.groupby("curve", sort=False)
    }
    return {name: curve for name, curve in curves.items() if len(curve[0])}


def choose_named(points: pd.DataFrame, curves: dict[str, Mean]) -> list[str]:
    """The curves that the table at equal information lists first."""
    numbers, _ = equal_information(points)
    return [name for name in numbers["curve"] if name in curves][:MOST_NAMED_CURVES]


def name_ends(ax: Axes, curves: dict[str, Mean], named: list[str]) -> None:
    """Names at the last point of each named curve that is inside the frame."""
    low, high = ax.get_ylim()
    # names cover neither curves nor the line of plain
    line = np.linspace(*ax.get_xlim(), 60)
    names, obstacles = [], [np.stack([line, 0 * line], axis=1)]
    for x, mean, _ in curves.values():
        obstacles.append(np.stack([x, mean], axis=1)[(mean >= low) & (mean <= high)])
    for number, name in enumerate(named, 1):
        x, mean, _ = curves[name]
        inside = np.flatnonzero((mean >= low) & (mean <= high))
        if len(inside):
            place = np.array([x[inside[-1]], mean[inside[-1]]])
            names.append(
                PlaneName(wrap_text(name, NAME_WIDTH), place, style_by_order(number).color)
            )
    draw_names(ax, names, np.concatenate(obstacles))


def describe_frontier_overview(runs: pd.DataFrame) -> str:
    points = require_single_data(runs)
    curves = mean_curves(points)
    count, named = len(curves), min(len(curves), MOST_NAMED_CURVES)
    others = (
        f" Named: the {named} heads that the table at equal information lists first; grey: the "
        f"other {count - named}."
        if count > named
        else ""
    )
    return (
        f"The frontiers of {count} heads: {COST}, against mi. Lines: means over seeds of the "
        "curves interpolated between the values of one seed, in the span that all seeds share; "
        f"seeds and intervals are in the panels below.{others} {CHEAP}"
        + bound_note(finished(runs))
        + describe_left_out(runs)
    )


FRONTIER_OVERVIEW_FIGURE = Plot(
    "frontier_overview",
    "All frontiers",
    "runs",
    draw_frontier_overview,
    describe_frontier_overview,
)
