"""Figure: distortion against rate."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from uncollapse.report.figures.planes import create_plane, describe_names, draw_runs, name_groups
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import runs_with_metrics
from uncollapse.report.figures.sentences import (
    count_seeds,
    describe_edges,
    describe_left_out,
    describe_slots,
)
from uncollapse.report.panels import axis_label, legend_entry, set_label
from uncollapse.report.stats import finished, outlying
from uncollapse.report.style import GREY, WIDTH

EXACT_STYLE: dict[str, Any] = {"color": "black", "linewidth": 1.2, "linestyle": "--"}


def draw_rate_distortion(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """rec against KL (nats, test): a point per run, the exact bound and lines of equal nelbo."""
    runs = runs_with_metrics(runs, "rec", "kl")
    # far in either coordinate: both axes would be compressed
    far = outlying(runs, "kl") | outlying(runs, "rec")
    near = runs[~far]
    bound, name = find_exact_bound(runs)
    fig, ax = create_plane(runs, width, rate_distortion_legend(name))
    right = max(near["kl"].max() * 1.08, 0.5)
    set_label(ax, "x", axis_label("kl", after=", the rate"))
    set_label(ax, "y", axis_label("rec", after=", the distortion"))
    ax.set(xlim=(-0.02 * right, right), ylim=rec_limits(near, bound))
    draw_nelbo_lines(ax, right)
    if name:
        ax.plot([0, right], [bound, bound - right], **EXACT_STYLE)
    draw_runs(ax, near, "kl", "rec")
    name_groups(ax, runs, far, "kl", "rec")
    return fig


def describe_rate_distortion(runs: pd.DataFrame) -> str:
    bound, name = find_exact_bound(finished(runs))
    exact = ""
    if name:
        exact = (
            f" Black dashes: rec + kl = {bound:.2f} nats ({name}); no model lies below, "
            "except by sampling noise of the test split."
        )
    return (
        "Distortion against rate on test, in evaluation mode. "
        f"One point per run ({count_seeds(runs)}), so no interval. "
        f"Grey: lines of equal nelbo, with their values.{exact}"
        + describe_names(runs_with_metrics(runs, "rec", "kl"), "kl", "rec")
        + describe_slots(runs)
        + describe_edges(finished(runs), "kl", "rec")
        + describe_left_out(runs)
    )


def find_exact_bound(runs: pd.DataFrame) -> tuple[float, str]:
    """The exact -log p (nats) and its name; nan and '' if it is unknown or runs differ in it."""
    names = {
        "oracle_test": "exact: mean -log p of the test split",
        "entropy": "exact: entropy of the data",
    }
    for column, name in names.items():
        values = runs[column].unique()
        if len(values) == 1 and np.isfinite(values[0]):
            # the value must be finite and the same for all runs, or there is no common line
            return float(values[0]), name
    return np.nan, ""


def rec_limits(runs: pd.DataFrame, bound: float) -> tuple[float, float]:
    """Limits around all points and the start of the exact line, with a margin."""
    low, high = np.nanmin([runs["rec"].min(), bound]), np.nanmax([runs["rec"].max(), bound])
    # at least 1 nat, so that equal runs do not fill the panel
    air = max(high - low, 1.0)
    # rec of text and images is not negative
    return max(low - 0.25 * air, 0), high + 0.1 * air


def draw_nelbo_lines(ax: Axes, width: float) -> None:
    """Grey lines of equal nelbo = rec + kl, each with its value where it leaves the panel."""
    low, high = ax.get_ylim()
    for nelbo in MaxNLocator(12).tick_values(low, high + width):
        ax.plot([0, width], [nelbo, nelbo - width], color="#d4d4d4", linewidth=0.8, zorder=0.5)
        # a line leaves the panel at the top or at the right
        x, y = (nelbo - high, high) if nelbo - high < width else (width, nelbo - width)
        if x >= 0 and y >= low:
            text: dict[str, Any] = {"textcoords": "offset points", "color": GREY}
            ax.annotate(f"{nelbo:g}", (x, y), (2, 2), **text)
    # a grid would be confused with the lines of equal nelbo
    ax.grid(False)


def rate_distortion_legend(exact_name: str) -> list[Line2D]:
    entries = [legend_entry("equal nelbo", color="#c4c4c4", linewidth=0.8)]
    if exact_name:
        entries.append(legend_entry(exact_name, **EXACT_STYLE))
    return entries


RATE_DISTORTION_FIGURE = Plot(
    "rate_distortion", "Rate and distortion", "runs", draw_rate_distortion, describe_rate_distortion
)
