"""Figure: active units and shuffled-z gap."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from uncollapse.report.figures.group_lines import (
    create_group_lines,
    draw_seeds,
    rank_groups,
)
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import limit_groups, require_finished
from uncollapse.report.figures.sentences import (
    INTERVAL_TEXT,
    count_seeds,
    describe_edges,
    describe_hidden_groups,
    describe_left_out,
    describe_slots,
)
from uncollapse.report.panels import axis_label, set_label, slot_legend
from uncollapse.report.stats import finished, outlying
from uncollapse.report.style import GREY, WIDTH


def draw_usage(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Active units and shuffled-z gap (nats) per group: seeds as points, mean and t-interval."""
    runs = rank_groups(limit_groups(require_finished(runs)), "shuffle_gap")
    fig, axes = create_group_lines(runs, 2, width, slot_legend(runs), label_lines=2)
    draw_seeds(axes[0], runs, "au")
    draw_seeds(axes[1], runs, "shuffle_gap", outlying(runs, "shuffle_gap"))
    for ax, label in zip(
        axes, ("active units", axis_label("shuffle_gap", "shuffled-z ")), strict=True
    ):
        set_label(ax, "x", label)
        ax.axvline(0, color=GREY, linewidth=0.8)
    dims = runs["latent"].dropna().unique()
    if len(dims) == 1:
        # the largest possible number of active units, if all runs have it
        axes[0].axvline(dims[0], color=GREY, linestyle=":", linewidth=1.2)
        axes[0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return fig


def describe_usage(runs: pd.DataFrame) -> str:
    return (
        f"Active units and shuffled-z gap on test. Points: seeds ({count_seeds(runs)}); "
        f"bar: mean and {INTERVAL_TEXT}. "
        "Batch-norm heads reach au = d (dotted) by construction, since the variance of μ is "
        "γ² whether or not the decoder uses z. The gap is the reliable test of collapse: it "
        "is exactly 0 when the decoder ignores z."
        + describe_slots(runs, "the gap")
        + describe_edges(finished(runs), "shuffle_gap")
        + describe_hidden_groups(finished(runs)["order"].nunique())
        + describe_left_out(runs)
    )


USAGE_FIGURE = Plot("usage", "Is the code used?", "runs", draw_usage, describe_usage)
