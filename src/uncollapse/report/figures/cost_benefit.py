"""Figure: the cost of a remedy in nll against how much the code is used."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uncollapse.report.figures.cost import compute_costs
from uncollapse.report.figures.planes import add_legend_and_names, create_plane, draw_runs
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import limit_groups
from uncollapse.report.figures.sentences import (
    count_seeds,
    describe_edges,
    describe_lacking,
    describe_left_out,
    describe_slots,
)
from uncollapse.report.notes import bound_note
from uncollapse.report.panels import set_kl_scale
from uncollapse.report.stats import by_group, finished, outlying, t_interval
from uncollapse.report.style import crowded, style_of


def draw_cost_benefit(runs: pd.DataFrame) -> Figure:
    """nll minus plain's (nats, test, paired by seed) against the shuffled-z gap (nats): runs, means and t-intervals."""
    runs = compute_costs(runs).dropna(subset=["shuffle_gap"])
    far = outlying(runs, "d_nll")
    near = runs[~far]
    fig, ax = create_plane(runs)
    ax.axhline(0, color="black", linewidth=1.0)
    draw_runs(ax, near, "shuffle_gap", "d_nll")
    set_kl_scale(ax, "x")
    air = 0.12 * max(np.ptp([*near["d_nll"], 0]), 0.1)
    ax.set_ylim(min(near["d_nll"].min(), 0) - air, max(near["d_nll"].max(), 0) + air)
    ax.set(
        xlabel="shuffled-z gap: what the code is worth to the decoder (nats)",
        ylabel="nll - plain's (nats)",
    )
    for _, group in by_group(limit_groups(near)):
        (x, wide), (y, high) = t_interval(group["shuffle_gap"]), t_interval(group["d_nll"])
        bar: dict[str, Any] = {
            "linewidth": 0.8,
            "alpha": 0.3 if crowded(runs) else 0.8,
            "zorder": 1.5,
        }
        ax.errorbar(x, y, high, wide, color=style_of(group).color, **bar)
    line = Line2D([], [], color="black", linewidth=1.0, label="plain's nll")
    add_legend_and_names(ax, runs, far, "shuffle_gap", "d_nll", [line])
    return fig


def describe_cost_benefit(runs: pd.DataFrame) -> str:
    shown = compute_costs(runs).dropna(subset=["shuffle_gap"])
    return (
        "nll on test minus plain's at the same seed, against how much the decoder loses with the code of another example. "
        "Right and low is good: a code that is used, at no cost in likelihood. Above the line the code costs likelihood. "
        f"Points: seeds ({count_seeds(shown)}); crosses: means and 95 % t-intervals (none at n = 1, cut at the frame), "
        "vertical ones of the paired differences. The horizontal axis is linear below 0.1 nats and logarithmic above."
        + describe_slots(shown)
        + describe_edges(shown, "d_nll")
        + describe_lacking(
            runs[runs["head"] != "plain"], shown, "a plain run of their seed with nll"
        )
        + bound_note(finished(runs))
        + describe_left_out(runs)
    )


COST_BENEFIT_FIGURE = Plot(
    "cost_benefit", "Cost and benefit", "runs", draw_cost_benefit, describe_cost_benefit
)
