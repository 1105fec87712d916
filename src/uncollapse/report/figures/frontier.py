"""Figure: the frontier of every head, nll minus plain's against what the code carries."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.sentences import count_seeds, describe_left_out
from uncollapse.report.frontier import FEWEST_VALUES, frontier_points, interpolate_at
from uncollapse.report.notes import bound_note
from uncollapse.report.panels import axis_label
from uncollapse.report.stats import finished, t_interval
from uncollapse.report.style import SLOT_STYLES, WIDTH, NoFigure, Style, wrap_text

COLUMNS = 4  # panels beside each other
PANEL_HEIGHT = 1.45  # inches
OTHER_HEADS = "#d0d0d0"  # colour of the other heads' curves
GRID_POINTS = 41  # at which the band is computed


def draw_frontier(runs: pd.DataFrame) -> Figure:
    """One panel per head: d_nll over mi, seeds as points, the others' mean curves in grey."""
    points = frontier_points(runs)
    if points.empty:
        raise NoFigure(
            f"it needs plain, and a head with nll at {FEWEST_VALUES} values of its knob or more"
        )
    curves = [(str(name), group) for name, group in points.groupby("curve", sort=False)]
    count = -(-len(curves) // COLUMNS)
    fig = Figure(figsize=(WIDTH, 0.6 + PANEL_HEIGHT * count), layout="constrained")
    panels = fig.subplots(count, min(COLUMNS, len(curves)), sharex=True, sharey=True, squeeze=False)
    means = {name: mean_frontier(group) for name, group in curves}
    for ax, (name, group) in zip(panels.flat, curves, strict=False):
        for other, (x, mean, _) in means.items():
            if other != name:
                ax.plot(x, mean, color=OTHER_HEADS, linewidth=0.7, zorder=1)
        draw_curve(ax, group, means[name], SLOT_STYLES[group["slot"].iloc[0]])
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_title(wrap_text(name, 24, 1))
    for ax in panels.flat[len(curves) :]:
        ax.set_axis_off()
    set_limits(panels.flat[0], points)
    fig.supxlabel(axis_label("mi", "", ", information of z about x"))
    fig.supylabel(axis_label("d_nll"))
    return fig


def set_limits(ax: Axes, points: pd.DataFrame) -> None:
    """Limits that show all but the most expensive tenth of the runs, and always 0."""
    low, high = points["d_nll"].min(), points["d_nll"].quantile(0.9)
    margin = 0.1 * max(high - low, 0.1)
    ax.set_ylim(min(low, 0) - margin, max(high, 0) + margin)
    ax.set_xlim(left=0)


def mean_frontier(group: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """mi in the span that all seeds share, and mean and half-width of d_nll over seeds, [n] each.

    Empty if there is no such span.
    """
    spans = group.groupby("seed")["mi"].agg(["min", "max"])
    low, high = spans["min"].max(), spans["max"].min()
    x = np.linspace(low, high, GRID_POINTS if low < high else 0)
    seeds = [
        [interpolate_at(runs["mi"].tolist(), runs["d_nll"].tolist(), value) for value in x]
        for _, runs in group.groupby("seed")
    ]
    columns = np.array(seeds, dtype=float).T
    statistics = np.array([t_interval(column) for column in columns]).reshape(-1, 2)
    return x, statistics[:, 0], statistics[:, 1]


def draw_curve(
    ax: Axes, group: pd.DataFrame, curve: tuple[np.ndarray, np.ndarray, np.ndarray], style: Style
) -> None:
    """The seeds of one head as points, their mean as a line, and the interval as a band."""
    x, mean, half = curve
    ax.fill_between(x, mean - half, mean + half, color=style.color, alpha=0.2, linewidth=0)
    ax.plot(x, mean, color=style.color, linewidth=1.4, zorder=3)
    open_runs = group["converged"] == 0
    ax.scatter(group["mi"], group["d_nll"], s=9, color=style.color, zorder=4)
    # runs that had not converged are hollow
    ax.scatter(
        group.loc[open_runs, "mi"], group.loc[open_runs, "d_nll"], s=4, color="white", zorder=5
    )


def describe_frontier(runs: pd.DataFrame) -> str:
    points = frontier_points(runs)
    beyond = int((points["d_nll"] > points["d_nll"].quantile(0.9) + 1e-12).sum())
    return (
        "Each head along its frontier: test nll minus that of plain with the same seed, against "
        f"mi. Points: seeds ({count_seeds(points)}) at each value of the head's knob, hollow where "
        "training had not converged; line and band: mean and 95 % t-interval over seeds of the "
        "curves interpolated between the values of one seed, in the span that all seeds share. "
        "Grey: the other heads. Lower is better, and 0 is plain's nll."
        + (f" {beyond} of the most expensive runs lie above the frame." if beyond else "")
        + bound_note(finished(runs))
        + describe_left_out(runs)
    )


FRONTIER_FIGURE = Plot("frontier", "Frontiers", "runs", draw_frontier, describe_frontier)
