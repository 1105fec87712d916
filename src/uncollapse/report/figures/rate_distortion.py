"""Figure: distortion against rate."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from uncollapse.report.figures.planes import add_legend_and_names, create_plane, draw_runs
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import runs_with_metrics
from uncollapse.report.figures.sentences import (
    count_seeds,
    describe_edges,
    describe_left_out,
    describe_slots,
)
from uncollapse.report.stats import finished, outlying
from uncollapse.report.style import GREY, MOST_GROUPS, crowded, wrap_text


def draw_rate_distortion(runs: pd.DataFrame) -> Figure:
    """rec against KL (nats, test): one point per run, named group means, the exact line and lines of equal nelbo."""
    runs = runs_with_metrics(runs, "rec", "kl")
    far = outlying(runs, "kl") | outlying(runs, "rec")
    near = runs[~far]
    fig, ax = create_plane(runs)
    bound, name = find_exact_bound(runs)
    width = max(near["kl"].max() * 1.08, 0.5)
    ax.set(xlabel="KL, the rate (nats)", ylabel="rec, the distortion (nats)")
    ax.set(xlim=(-0.02 * width, width), ylim=rec_limits(near, bound))
    draw_nelbo_lines(ax, width)
    if name:
        ax.plot([0, width], [bound, bound - width], color="black", linewidth=1.2, linestyle="--")
    draw_runs(ax, near, "kl", "rec")
    add_legend_and_names(ax, runs, far, "kl", "rec", rate_distortion_legend(name))
    return fig


def describe_rate_distortion(runs: pd.DataFrame) -> str:
    bound, name = find_exact_bound(finished(runs))
    groups = finished(runs)["order"].nunique()
    rest = (
        f" Small grey points: the groups after the first {MOST_GROUPS}."
        if groups > MOST_GROUPS
        else ""
    )
    names = "names" if crowded(runs) else "numbered discs"
    line = (
        f" Black dashes: rec + kl = {bound:.2f} nats ({name}); no model is below it, but for chance in one test sample."
        if name
        else ""
    )
    return (
        f"Distortion against rate on test, evaluation mode. One point per run ({count_seeds(runs)}), so no interval; "
        f"{names} point to group means. Grey: lines of equal nelbo, with their values.{line}{rest}"
        + describe_slots(runs)
        + describe_edges(finished(runs), "kl", "rec")
        + describe_left_out(runs)
    )


def find_exact_bound(runs: pd.DataFrame) -> tuple[float, str]:
    """The sharpest known -log p (nats) and its name; nan and '' where it is unknown or differs between runs."""
    names = {
        "oracle_test": "exact: mean -log p of the test split",
        "entropy": "exact: entropy of the data",
    }
    for column, name in names.items():
        values = runs[column].unique()
        if len(values) == 1 and np.isfinite(values[0]):
            return float(values[0]), name
    return np.nan, ""


def rec_limits(runs: pd.DataFrame, bound: float) -> tuple[float, float]:
    """All points, the start of the exact line and some air; the line may leave below."""
    low, high = np.nanmin([runs["rec"].min(), bound]), np.nanmax([runs["rec"].max(), bound])
    air = max(high - low, 1.0)
    return max(low - 0.25 * air, 0), high + 0.1 * air


def draw_nelbo_lines(ax: Axes, width: float) -> None:
    """Grey lines of equal nelbo = rec + kl, each with its value where it leaves at the top or on the right."""
    low, high = ax.get_ylim()
    for nelbo in MaxNLocator(12).tick_values(low, high + width):
        ax.plot([0, width], [nelbo, nelbo - width], color="#dcdcdc", linewidth=0.8, zorder=0.5)
        x, y = (nelbo - high, high) if nelbo - high < width else (width, nelbo - width)
        if x >= 0 and y >= low:
            ax.annotate(
                f"{nelbo:g}", (x, y), (2, 2), textcoords="offset points", fontsize=7, color=GREY
            )
    ax.grid(False)


def rate_distortion_legend(exact_name: str) -> list[Line2D]:
    lines = [
        Line2D(
            [],
            [],
            color="#cfcfcf",
            linewidth=0.8,
            label=wrap_text("equal nelbo, its value at the end", 22),
        )
    ]
    if exact_name:
        lines.append(
            Line2D(
                [],
                [],
                color="black",
                linestyle="--",
                linewidth=1.2,
                label=wrap_text(exact_name, 22),
            )
        )
    return lines


RATE_DISTORTION_FIGURE = Plot(
    "rate_distortion", "Rate and distortion", "runs", draw_rate_distortion, describe_rate_distortion
)
