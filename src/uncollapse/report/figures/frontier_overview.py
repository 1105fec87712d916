"""Figure: the mean frontiers of all heads in one panel."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncollapse.report.figures.curve_panels import PLAIN_STYLE
from uncollapse.report.figures.frontier import (
    CHEAP,
    COST,
    OTHER_HEADS,
    Mean,
    mean_frontier,
    require_points,
    usual_span,
)
from uncollapse.report.figures.planes import LEFT, PlaneName, draw_names
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.sentences import describe_left_out
from uncollapse.report.frontier import equal_information
from uncollapse.report.notes import bound_note
from uncollapse.report.panels import axis_label, create_framed, legend_entry, set_label, slot_legend
from uncollapse.report.stats import finished
from uncollapse.report.style import (
    BLACK,
    COLUMN_WIDTH,
    SLOT_STYLES,
    WIDTH,
    NoFigure,
    fit_text,
    vary_dashes,
)

MOST_NAMED_CURVES = 8  # curves; more would not be readable
HEIGHT, NARROW_HEIGHT = 3.9, 2.9  # inches
NAME_WIDTH = 1.2  # inches


def draw_frontier_overview(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """d_nll over mi: the mean curve of every head; the best are coloured and named."""
    points = require_single_data(runs)
    curves = mean_curves(points)
    named = choose_named(points, curves)
    slots = points.groupby("curve")["slot"].first()
    shown = points[points["curve"].isin(named)]
    legend = [
        *slot_legend(shown, lines=True),
        legend_entry("plain", color=BLACK, **PLAIN_STYLE),
        *([legend_entry("other heads", color=OTHER_HEADS)] if len(curves) > len(named) else []),
    ]
    height = NARROW_HEIGHT if width <= COLUMN_WIDTH else HEIGHT
    fig, (ax,) = create_framed(width, height, legend, LEFT)
    for name in [name for name in curves if name not in named]:
        x, mean, _ = curves[name]
        ax.plot(x, mean, color=OTHER_HEADS, linewidth=0.8, zorder=1)
    dashes = vary_dashes(slots[named])
    for name, dash in zip(named, dashes, strict=True):
        x, mean, _ = curves[name]
        color = SLOT_STYLES[slots[name]].color
        ax.plot(x, mean, color=color, linestyle=dash, linewidth=1.6, zorder=3)
    ax.axhline(0, color=BLACK, **PLAIN_STYLE)
    ax.set(**frame_of_named(curves, named))
    set_label(ax, "x", axis_label("mi", after=", information of z about x"))
    set_label(ax, "y", axis_label("d_nll"))
    colors = {name: SLOT_STYLES[slots[name]].color for name in named}
    name_ends(ax, curves, colors)
    return fig


def frame_of_named(curves: dict[str, Mean], named: list[str]) -> dict[str, tuple[float, float]]:
    """Limits that the named curves fill, with room for names beyond their ends."""
    right = max(float(x[-1]) for x, _, _ in curves.values())
    # a curve that leaves the usual values would compress all others
    low, high = usual_span(pd.Series(np.concatenate([curves[name][1] for name in named])), [0.0])
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


def name_ends(ax: Axes, curves: dict[str, Mean], colors: dict[str, str]) -> None:
    """Names at the last point inside the frame of each named curve; `colors` are by name."""
    low, high = ax.get_ylim()
    # names cover neither curves nor the line of plain
    line = np.linspace(*ax.get_xlim(), 60)
    names, obstacles = [], [np.stack([line, 0 * line], axis=1)]
    for x, mean, _ in curves.values():
        obstacles.append(np.stack([x, mean], axis=1)[(mean >= low) & (mean <= high)])
    for name, color in colors.items():
        x, mean, _ = curves[name]
        inside = np.flatnonzero((mean >= low) & (mean <= high))
        if len(inside):
            place = np.array([x[inside[-1]], mean[inside[-1]]])
            names.append(PlaneName(fit_text(name, NAME_WIDTH, 2), place, color))
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
        f"seeds and intervals are in the panels below.{others} {CHEAP} "
        "Colours show which slot of the config a head changes."
        + bound_note(finished(runs))
        + describe_left_out(runs)
    )


FRONTIER_OVERVIEW_FIGURE = Plot(
    "frontier_overview",
    "All frontiers",
    "runs",
    draw_frontier_overview,
    describe_frontier_overview,
    on_page=True,
)
