"""Figure: the cost of a remedy in nll against how much the code is used."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uncollapse.report.figures.cost import NEVER_FAR, compute_costs, describe_without_plain
from uncollapse.report.figures.planes import create_plane, describe_names, draw_runs, name_groups
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.sentences import (
    count_seeds,
    describe_edges,
    describe_left_out,
    describe_slots,
)
from uncollapse.report.notes import bound_note
from uncollapse.report.panels import axis_label, legend_entry, set_kl_scale, set_label
from uncollapse.report.stats import by_group, finished, outlying, t_interval
from uncollapse.report.style import WIDTH, is_crowded, style_of


def draw_cost_benefit(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """nll minus plain's (nats, test, paired by seed) against the shuffled-z gap (nats)."""
    runs = compute_costs(runs).dropna(subset=["shuffle_gap"])
    # runs far away would compress all others, and become arrows instead
    far = outlying(runs, "d_nll", NEVER_FAR)
    near = runs[~far]
    zero = legend_entry("plain's nll", color="black", linewidth=1.0)
    fig, ax = create_plane(runs, width, [zero])
    ax.axhline(0, color="black", linewidth=1.0)
    draw_runs(ax, near, "shuffle_gap", "d_nll")
    set_kl_scale(ax, "x")
    # 0 is in view, so that the sign of a difference can be seen
    margin = 0.12 * max(np.ptp([*near["d_nll"], 0]), 0.1)
    ax.set_ylim(min(near["d_nll"].min(), 0) - margin, max(near["d_nll"].max(), 0) + margin)
    worth = axis_label("shuffle_gap", "shuffled-z ", ": what the code is worth to the decoder")
    set_label(ax, "x", worth)
    set_label(ax, "y", axis_label("d_nll"))
    bar: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.8, "zorder": 1.5}
    # crosses of many groups would hide the points
    for _, group in by_group(near) if not is_crowded(runs) else ():
        (x, wide), (y, high) = t_interval(group["shuffle_gap"]), t_interval(group["d_nll"])
        color = style_of(group).color
        if np.isfinite(wide):
            ax.hlines(y, x - wide, x + wide, color=color, **bar)
        if np.isfinite(high):
            ax.vlines(x, y - high, y + high, color=color, **bar)
    name_groups(ax, runs, far, "shuffle_gap", "d_nll")
    return fig


def describe_cost_benefit(runs: pd.DataFrame) -> str:
    shown = compute_costs(runs).dropna(subset=["shuffle_gap"])
    crosses = (
        "; the tables have intervals"
        if is_crowded(runs)
        else "; crosses: means and 95 % t-intervals (none at n = 1; cut at the frame), vertically "
        "of the paired differences"
    )
    return (
        "Test nll minus that of plain with the same seed, against the shuffled-z gap: how much rec "
        "grows when the decoder gets the code of another example. The lower right is best: the "
        "code is used, at no cost in likelihood. Above the line, the remedy costs likelihood. "
        f"Points: seeds ({count_seeds(shown)}){crosses}. The horizontal axis is linear below 0.1 "
        "nats and logarithmic above."
        + describe_names(shown, "shuffle_gap", "d_nll")
        + describe_slots(shown)
        + describe_edges(shown, "d_nll", never=NEVER_FAR)
        + describe_without_plain(runs, shown)
        + bound_note(finished(runs))
        + describe_left_out(runs)
    )


COST_BENEFIT_FIGURE = Plot(
    "cost_benefit", "Cost and benefit", "runs", draw_cost_benefit, describe_cost_benefit
)
