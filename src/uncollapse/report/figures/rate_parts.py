"""Figure: the components of the rate."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from uncollapse.report.figures.group_lines import (
    create_group_lines,
    draw_edge_value,
    rank_groups,
    seed_offsets,
)
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import limit_groups, runs_with_metrics
from uncollapse.report.figures.sentences import (
    count_seeds,
    describe_edges,
    describe_hidden_groups,
    describe_lacking,
    describe_left_out,
)
from uncollapse.report.panels import add_legend_below, add_legend_right
from uncollapse.report.stats import by_group, outlying
from uncollapse.report.style import crowded, wrap_text

RATE_PART_STYLES = {  # colour and hatch, so that the parts differ on a grey print too
    "mi": ("#0072B2", "", "mi"),
    "total_correlation": ("#E69F00", "////", "total correlation"),
    "dimension_kl": ("#56B4E9", "....", "sum of the dimensions' marginal KL"),
    "marginal_kl": ("#CC79A7", "xxxx", "marginal KL, not split"),
}


SATURATED = " *"


def draw_rate_parts(runs: pd.DataFrame) -> Figure:
    """kl = mi + total correlation + sum_j KL(q(z_j)||p) (nats, test): stacked means per group, seeds as points."""
    runs = rank_groups(limit_groups(runs_with_metrics(runs, "mi", "marginal_kl", "kl")), "kl")
    fig, (ax,) = create_group_lines(mark_saturated(runs), 1)
    far = set(runs.loc[outlying(runs, "kl"), "order"])
    for y, (order, group) in enumerate(by_group(runs)):
        if order in far:
            draw_edge_value(ax, y, group["kl"].mean(), True, "black")
            continue
        left = 0.0
        for part, width in mean_rate_parts(group).items():
            color, hatch, _ = RATE_PART_STYLES[part]
            ax.barh(y, width, 0.6, left, color=color, hatch=hatch, edgecolor="white", linewidth=0)
            left += width
        ax.plot(
            group["kl"],
            y + seed_offsets(len(group), 0.18),
            "o",
            color="black",
            mec="white",
            mew=0.7,
            ms=3.4 if crowded(runs) else 4.5,
        )
    ax.set_xlim(left=0)
    ax.set_xlabel("nats per example")
    (add_legend_below if crowded(runs) else add_legend_right)(fig, rate_parts_legend(runs))
    return fig


def describe_rate_parts(runs: pd.DataFrame) -> str:
    shown = runs_with_metrics(runs, "mi", "marginal_kl", "kl")
    split = shown[["total_correlation", "dimension_kl"]].notna().all(axis=1)
    whole = (
        ""
        if split.all()
        else " Where the posterior does not split over dimensions, the marginal KL is one part."
    )
    star = (
        f"{SATURATED[1:]}: the mi of a seed is saturated at its ceiling ln N, and total correlation is over-stated by "
        "as much as mi is under-stated. "
        if (shown["mi_saturated"] == 1).any()
        else ""
    )
    return (
        "kl = mi + total correlation + sum of KL(q(z_j) || p(z_j)) on test: what z tells of x, what the dimensions "
        "tell of each other, and how far each is from its prior. Bars: means over seeds; points: the kl of every seed "
        f"({count_seeds(shown)}), so no interval is drawn. Parts that Monte Carlo noise made negative are drawn as 0: "
        f"a bar may end a little beyond its kl.{whole} {star}".rstrip()
        + (" Groups are sorted by kl." if crowded(runs) else "")
        + describe_edges(shown, "kl")
        + describe_hidden_groups(shown["order"].nunique())
        + describe_lacking(runs, shown, "these parts")
        + describe_left_out(runs)
    )


def mean_rate_parts(runs: pd.DataFrame) -> dict[str, float]:
    """Means (nats) of the parts of one group's kl, negative ones as 0; marginal_kl whole where a run lacks parts."""
    split = runs[["total_correlation", "dimension_kl"]].notna().all(axis=None)
    names = ("mi", "total_correlation", "dimension_kl") if split else ("mi", "marginal_kl")
    return {name: max(float(runs[name].mean()), 0.0) for name in names}


def mark_saturated(runs: pd.DataFrame) -> pd.DataFrame:
    """Group names with a star where the mi of a seed is saturated."""
    saturated = runs["order"].isin(runs.loc[runs["mi_saturated"] == 1, "order"])
    return runs.assign(group=runs["group"] + np.where(saturated, SATURATED, ""))


def rate_parts_legend(runs: pd.DataFrame) -> list[Any]:
    used = {part for _, group in by_group(runs) for part in mean_rate_parts(group)}
    bars = [
        Patch(
            facecolor=color, hatch=hatch, edgecolor="white", linewidth=0, label=wrap_text(label, 22)
        )
        for part, (color, hatch, label) in RATE_PART_STYLES.items()
        if part in used
    ]
    return [
        *bars,
        Line2D(
            [],
            [],
            marker="o",
            color="black",
            mec="white",
            ls="",
            label=wrap_text("kl of each seed", 22),
        ),
    ]


RATE_PARTS_FIGURE = Plot(
    "rate_parts", "The parts of the rate", "runs", draw_rate_parts, describe_rate_parts
)
