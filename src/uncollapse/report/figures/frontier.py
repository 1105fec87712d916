"""Figures: the frontier of every head, against what the code carries or costs."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.figures.curve_panels import OTHERS_STYLE, PLAIN_STYLE
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.sentences import count_seeds, describe_left_out
from uncollapse.report.figures.sheet import Sheet, linear_scale
from uncollapse.report.frontier import explain_no_frontier, frontier_points, interpolate
from uncollapse.report.notes import bound_note
from uncollapse.report.panels import axis_label, legend_entry, slot_legend
from uncollapse.report.stats import finished, t_interval
from uncollapse.report.style import BLACK, GREY, SLOT_STYLES, WIDTH, NoFigure, Style

OTHER_HEADS = "#cfcfcf"  # colour of the other heads' curves
GRID_POINTS = 41  # at which the band is computed
USUAL = (0.1, 0.9)  # quantiles of the runs that a frame always holds
STRETCH = 1.0  # a frame holds all runs within this multiple of the usual ones' span from these

Mean = tuple[np.ndarray, np.ndarray, np.ndarray]  # x, mean and half-width, [n] each


class FrontierAxes(NamedTuple):
    """What a figure of frontiers shows: the columns of x and y, and its caption's words."""

    name: str
    title: str
    x: str
    y: str
    shows: str
    ends: str


COST = "test nll minus that of plain with the same seed"
CHEAP = "Lower is better, and 0 (dashes) is plain's nll."
PLAIN_LINE = "Black dashes: the mean of plain."
FRONTIERS = (
    FrontierAxes("frontier", "Frontiers", "mi", "d_nll", f"{COST}, against mi", CHEAP),
    FrontierAxes(
        "frontier_gap",
        "Frontiers over the gap",
        "shuffle_gap",
        "d_nll",
        f"{COST}, against the shuffled-z gap, which counts only what the decoder uses",
        CHEAP,
    ),
    FrontierAxes(
        "frontier_rate",
        "Frontiers over the rate",
        "kl",
        "d_nll",
        f"{COST}, against the rate, which also pays for codes without information",
        CHEAP,
    ),
    FrontierAxes(
        "frontier_probe",
        "The probe along frontiers",
        "mi",
        "probe",
        "accuracy of the linear probe at the largest number of labels, against mi",
        f"Higher is better. {PLAIN_LINE}",
    ),
    FrontierAxes(
        "frontier_factors",
        "Factors along frontiers",
        "mi",
        "factor_information",
        "information of the code about the known factors, against mi",
        f"Higher is better. {PLAIN_LINE}",
    ),
)


def draw_frontier(runs: pd.DataFrame, width: float = WIDTH, *, axes: FrontierAxes) -> Figure:
    """One panel per curve: seeds as points, and the other curves' means in grey."""
    points = require_points(runs, axes.x, axes.y)
    curves = [(str(name), group) for name, group in points.groupby("curve", sort=False)]
    styles = [SLOT_STYLES[group["slot"].iloc[0]] for _, group in curves]
    x, y = (linear_scale(*limits) for limits in frame_limits(runs, points, axes))
    sheet = Sheet(
        [name for name, _ in curves],
        (x, y),
        (axis_label(axes.x), axis_label(axes.y)),
        width,
        colors=[style.color for style in styles],
        legend=frontier_legend(points),
    )
    means = {name: mean_frontier(group, axes.x, axes.y) for name, group in curves}
    data = points.groupby("curve")["data_name"].first()
    for panel, ((name, group), style) in enumerate(zip(curves, styles, strict=True)):
        # curves of other data are no comparison
        others = [k for k in means if k != name and data[k] == data[name]]
        sheet.add_lines(panel, [means[k][:2] for k in others], **OTHERS_STYLE)
        reference = plain_level(runs, data[name], axes.y)
        if np.isfinite(reference):
            line = ([x.low, x.high], [reference, reference])
            sheet.add_lines(panel, [line], colors=BLACK, **PLAIN_STYLE)
        draw_curve(sheet, panel, group, means[name], axes, style)
    return sheet.finish()


def frontier_legend(points: pd.DataFrame) -> list[Line2D]:
    """Legend entries for slots, and for plain, seeds and the other curves."""
    dot: dict[str, Any] = {"marker": "o", "markersize": 3, "linestyle": "", "color": GREY}
    hollow = [legend_entry("not converged", markerfacecolor="white", **dot)]
    return [
        *slot_legend(points, lines=True),
        legend_entry("plain", color=BLACK, **PLAIN_STYLE),
        legend_entry("other heads", color=OTHER_HEADS, linewidth=1),
        legend_entry("seed", **dot),
        *(hollow if (points["converged"] == 0).any() else []),
    ]


def require_points(runs: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The points of all curves. NoFigure, with the reason, if there are none."""
    points = frontier_points(runs, x, y)
    if points.empty:
        raise NoFigure(explain_no_frontier(runs, x, y))
    return points


def plain_level(runs: pd.DataFrame, data: str, y: str) -> float:
    """Where the black line is: the mean of plain's runs on these data, or 0 for differences."""
    if y == "d_nll":
        return 0.0
    plain = finished(runs)
    return float(plain.loc[(plain["head"] == "plain") & (plain["data_name"] == data), y].mean())


def frame_limits(
    runs: pd.DataFrame, points: pd.DataFrame, axes: FrontierAxes
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of x and y: those of all runs, except of those far beyond nine tenths of them."""
    lines = [plain_level(runs, str(data), axes.y) for data in points["data_name"].unique()]
    left, right = usual_span(points[axes.x], [0.0])
    low, high = usual_span(points[axes.y], lines)
    margin = 0.06 * (high - low)
    return (left - 0.02 * (right - left), right * 1.03), (low - margin, high + margin)


def usual_span(values: pd.Series, others: Sequence[float]) -> tuple[float, float]:
    """The lowest and highest of the usual values, and of others, which always count."""
    least, most = values.quantile(USUAL[0]), values.quantile(USUAL[1])
    # a few runs far from the others would compress these
    room = STRETCH * (most - least)
    usual = values[(values >= least - room) & (values <= most + room)]
    low = float(np.nanmin([usual.min(), *others]))
    high = float(np.nanmax([usual.max(), *others]))
    return low, high if high > low else low + 0.1


def count_beyond(runs: pd.DataFrame, points: pd.DataFrame, axes: FrontierAxes) -> int:
    """How many points lie outside the frame."""
    (_, right), (low, high) = frame_limits(runs, points, axes)
    x, y = points[axes.x], points[axes.y]
    return int(((x > right) | (y > high) | (y < low)).sum())


def mean_frontier(group: pd.DataFrame, x: str = "mi", y: str = "d_nll") -> Mean:
    """x in the span that all seeds share, and mean and half-width of y over seeds, [n] each.

    Empty if there is no such span.
    """
    # slices of few columns are fast
    group = group[list(dict.fromkeys(["order", "seed", x, y]))]
    spans = group.groupby("seed")[x].agg(["min", "max"])
    low, high = spans["min"].max(), spans["max"].min()
    grid = np.linspace(low, high, GRID_POINTS if low < high else 0)
    lowest = y not in METRICS or METRICS[y].better != "higher"
    ordered = group.sort_values("order")
    seeds = [interpolate(runs[x], runs[y], grid, lowest) for _, runs in ordered.groupby("seed")]
    columns = np.array(seeds).T
    statistics = np.array([t_interval(column) for column in columns]).reshape(-1, 2)
    return grid, statistics[:, 0], statistics[:, 1]


def draw_curve(
    sheet: Sheet,
    panel: int,
    group: pd.DataFrame,
    curve: Mean,
    axes: FrontierAxes,
    style: Style,
) -> None:
    """The seeds of one head as points, their mean as a line, and the interval as a band."""
    x, mean, half = curve
    if len(x):
        band: dict[str, Any] = {"color": style.color, "alpha": 0.2, "linewidth": 0}
        sheet.add_band(panel, x, mean - half, mean + half, **band)
    sheet.add_lines(panel, [(x, mean)], colors=style.color, linewidths=1.3, zorder=3)
    dot: dict[str, Any] = {"color": style.color, "markersize": 2.6, "zorder": 4}
    sheet.add_dots(panel, group[axes.x], group[axes.y], "o", **dot)
    # runs that had not converged are hollow
    opened = group[group["converged"] == 0]
    dot |= {"color": "white", "markersize": 1.5, "zorder": 5}
    sheet.add_dots(panel, opened[axes.x], opened[axes.y], "o", **dot)


def describe_frontier(runs: pd.DataFrame, axes: FrontierAxes) -> str:
    points = require_points(runs, axes.x, axes.y)
    beyond = count_beyond(runs, points, axes)
    return (
        f"Each head along its frontier: {axes.shows}. Points: seeds ({count_seeds(points)}) at "
        "each value of the head's knob, hollow where training had not converged; line and band: "
        "mean and 95 % t-interval over seeds of the curves interpolated between the values of one "
        "seed, in the span that all seeds share. Grey: the other heads. "
        f"{axes.ends} Colours show which slot of the config a head changes."
        + (f" {beyond} run{'s' * (beyond > 1)} outside the frame." if beyond else "")
        + (bound_note(finished(runs)) if axes.y == "d_nll" else "")
        + describe_left_out(runs)
    )


FRONTIER_FIGURES = tuple(
    Plot(
        axes.name,
        axes.title,
        "runs",
        partial(draw_frontier, axes=axes),
        partial(describe_frontier, axes=axes),
        on_page=True,
    )
    for axes in FRONTIERS
)
