"""Figure: the cost of a remedy in nll against how much the code is used."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uncollapse.report.figures.cost import compute_costs, describe_without_plain
from uncollapse.report.figures.planes import add_legend_and_names, create_plane, draw_runs
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import limit_groups
from uncollapse.report.figures.sentences import (
    count_seeds,
    describe_edges,
    describe_left_out,
    describe_slots,
)
from uncollapse.report.notes import bound_note
from uncollapse.report.panels import axis_label, legend_entry, set_kl_scale
from uncollapse.report.stats import by_group, finished, outlying, t_interval
from uncollapse.report.style import is_crowded, style_of


def draw_cost_benefit(runs: pd.DataFrame) -> Figure:
    """nll minus plain's (nats, test, paired by seed) against the shuffled-z gap (nats)."""
    runs = compute_costs(runs).dropna(subset=["shuffle_gap"])
    # runs far away would compress all others, and become arrows instead
    far = outlying(runs, "d_nll")
    near = runs[~far]
    fig, ax = create_plane(runs)
    ax.axhline(0, color="black", linewidth=1.0)
    draw_runs(ax, near, "shuffle_gap", "d_nll")
    set_kl_scale(ax, "x")
    # 0 is in view, so that the sign of a difference can be seen
    margin = 0.12 * max(np.ptp([*near["d_nll"], 0]), 0.1)
    ax.set_ylim(min(near["d_nll"].min(), 0) - margin, max(near["d_nll"].max(), 0) + margin)
    ax.set(
        xlabel=axis_label("shuffle_gap", "shuffled-z ", ": what the code is worth to the decoder"),
        ylabel=axis_label("d_nll"),
    )
    # crosses of many groups would hide the points
    alpha = 0.3 if is_crowded(runs) else 0.8
    bar: dict[str, Any] = {"linewidth": 0.8, "alpha": alpha, "zorder": 1.5}
    for _, group in by_group(limit_groups(near)):
        (x, wide), (y, high) = t_interval(group["shuffle_gap"]), t_interval(group["d_nll"])
        ax.errorbar(x, y, high, wide, color=style_of(group).color, **bar)
    zero = legend_entry("plain's nll", color="black", linewidth=1.0)
    add_legend_and_names(ax, runs, far, "shuffle_gap", "d_nll", [zero])
    return fig


def describe_cost_benefit(runs: pd.DataFrame) -> str:
    shown = compute_costs(runs).dropna(subset=["shuffle_gap"])
    return (
        "Test nll minus that of plain with the same seed, against the shuffled-z gap: how much rec "
        "grows when the decoder gets the code of another example. The lower right is best: the "
        "code is used, at no cost in likelihood. Above the line, the remedy costs likelihood. "
        f"Points: seeds ({count_seeds(shown)}); crosses: means and 95 % t-intervals (none at "
        "n = 1; cut at the frame), vertically of the paired differences. The horizontal axis is "
        "linear below 0.1 nats and logarithmic above."
        + describe_slots(shown)
        + describe_edges(shown, "d_nll")
        + describe_without_plain(runs, shown)
        + bound_note(finished(runs))
        + describe_left_out(runs)
    )


COST_BENEFIT_FIGURE = Plot(
    "cost_benefit", "Cost and benefit", "runs", draw_cost_benefit, describe_cost_benefit
)
