"""Figure: the components of the rate."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from uncollapse.metrics.catalogue import METRICS
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
from uncollapse.report.panels import legend_entry
from uncollapse.report.stats import by_group, has_saturated_mi, outlying
from uncollapse.report.style import WIDTH, is_crowded

# colour and hatch (for prints in grey) of each component
RATE_PART_STYLES = {
    "mi": ("#0072B2", ""),
    "total_correlation": ("#E69F00", "////"),
    "dimension_kl": ("#56B4E9", "...."),
    "marginal_kl": ("#CC79A7", "xxxx"),
}
SATURATED = " *"


def draw_rate_parts(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """kl = mi + total correlation + sum_j KL(q(z_j) || p(z_j)) (nats, test): means and seeds."""
    # before drawing, so that the names on the axis have the star
    runs = rank_groups(limit_groups(runs_with_metrics(runs, "mi", "marginal_kl", "kl")), "kl")
    fig, (ax,) = create_group_lines(mark_saturated(runs), 1, width, rate_parts_legend(runs))
    far = set(runs.loc[outlying(runs, "kl"), "order"])
    bars: dict[str, list[tuple[int, float, float]]] = {}
    for y, (order, group) in enumerate(by_group(runs)):
        if order in far:
            draw_edge_value(ax, y, group["kl"].mean(), True, "black")
            continue
        # components are stacked from left to right
        left = 0.0
        for part, length in mean_rate_parts(group).items():
            bars.setdefault(part, []).append((y, length, left))
            left += length
        dot: dict[str, Any] = {"mec": "white", "mew": 0.7, "ms": 3.4 if is_crowded(runs) else 4.5}
        ax.plot(group["kl"], y + seed_offsets(len(group), 0.18), "o", color="black", **dot)
    for part, stacked in bars.items():
        color, hatch = RATE_PART_STYLES[part]
        heights, lengths, lefts = zip(*stacked, strict=True)
        look: dict[str, Any] = {"color": color, "hatch": hatch, "ec": "white", "lw": 0}
        ax.barh(heights, lengths, 0.6, lefts, **look)
    ax.set_xlim(left=0)
    ax.set_xlabel("nats per example")
    return fig


def describe_rate_parts(runs: pd.DataFrame) -> str:
    shown = runs_with_metrics(runs, "mi", "marginal_kl", "kl")
    split = shown[["total_correlation", "dimension_kl"]].notna().all(axis=1)
    unsplit = star = ""
    if not split.all():
        unsplit = (
            " If a posterior does not split over dimensions, the marginal KL is one component."
        )
    if has_saturated_mi(shown):
        star = (
            f" {SATURATED[1:]}: the mi of a seed is saturated at its ceiling ln N, and total "
            "correlation is too high by as much as mi is too low."
        )
    return (
        "kl = mi + total correlation + dimension-wise KL (the sum of KL(q(z_j) || p(z_j))), "
        "on test: the information of z about x, that of the dimensions about each other, and how "
        "far each is from its prior. "
        f"Bars: means over seeds; points: the kl of every seed ({count_seeds(shown)}), so no "
        "interval is drawn. Components that Monte Carlo noise makes negative are drawn as 0, so a "
        f"bar may end slightly beyond its kl.{unsplit}{star}"
        + (" Groups are sorted by kl." if is_crowded(runs) else "")
        + describe_edges(shown, "kl")
        + describe_hidden_groups(shown["order"].nunique())
        + describe_lacking(runs, shown, "these components")
        + describe_left_out(runs)
    )


def mean_rate_parts(runs: pd.DataFrame) -> dict[str, float]:
    """Means (nats) of the components of a group's kl, with 0 for negative ones.

    marginal_kl is one component if a run lacks its split.
    """
    split = runs[["total_correlation", "dimension_kl"]].notna().all(axis=None)
    names = ("mi", "total_correlation", "dimension_kl") if split else ("mi", "marginal_kl")
    # 0 for negative ones, as bars cannot be stacked backwards
    return {name: max(float(runs[name].mean()), 0.0) for name in names}


def mark_saturated(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with a star after the names of groups in which the mi of a seed is saturated."""
    saturated = runs["order"].isin(runs.loc[runs["mi_saturated"] == 1, "order"])
    return runs.assign(group=runs["group"] + np.where(saturated, SATURATED, ""))


def rate_parts_legend(runs: pd.DataFrame) -> list[Artist]:
    """Legend entries for the components and the seeds."""
    used = {part for _, group in by_group(runs) for part in mean_rate_parts(group)}
    bars = [
        Patch(fc=color, hatch=hatch, ec="white", lw=0, label=METRICS[part].header)
        for part, (color, hatch) in RATE_PART_STYLES.items()
        if part in used
    ]
    return [*bars, legend_entry("kl of each seed", marker="o", color="black", mec="white", ls="")]


RATE_PARTS_FIGURE = Plot(
    "rate_parts", "The parts of the rate", "runs", draw_rate_parts, describe_rate_parts
)
