"""Figure: test KL in training mode and in evaluation mode."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uncollapse.report.figures.group_lines import create_group_lines, rank_groups, seed_offsets
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import limit_groups, require_finished
from uncollapse.report.figures.sentences import (
    count_seeds,
    describe_hidden_groups,
    describe_left_out,
    describe_slots,
)
from uncollapse.report.panels import add_legend_below, add_legend_right, set_kl_scale, slot_legend
from uncollapse.report.stats import by_group, finished
from uncollapse.report.style import GREY, NoFigure, crowded, style_of


def draw_train_vs_eval(runs: pd.DataFrame) -> Figure:
    """Test KL (nats) of every run in training mode (open) and in evaluation mode (filled), joined; floors as bars."""
    runs = limit_groups(require_finished(runs).dropna(subset=["kl_train_mode", "kl"]))
    if runs.empty:
        raise NoFigure("no finished run has the KL of both modes.")
    runs = rank_groups(runs, "kl")
    fig, (ax,) = create_group_lines(runs, 1)
    size = 3.2 if crowded(runs) else 4.5
    for y, (_, group) in enumerate(by_group(runs)):
        color, marker, _ = style_of(group)
        heights = y + seed_offsets(len(group), 0.22)
        ax.hlines(heights, group["kl_train_mode"], group["kl"], color=color, linewidth=0.9)
        ax.plot(
            group["kl_train_mode"],
            heights,
            marker,
            color=color,
            markerfacecolor="white",
            markersize=size,
        )
        ax.plot(group["kl"], heights, marker, color=color, markersize=size)
        ax.vlines(
            group["floor"].dropna().unique(),
            y - 0.4,
            y + 0.4,
            color=GREY,
            linestyle="--",
            linewidth=1.1,
        )
    set_kl_scale(ax, "x")
    ax.set_xlabel("test KL (nats)")
    marks = [
        Line2D(
            [],
            [],
            marker="o",
            color=GREY,
            markerfacecolor="white",
            linestyle="",
            label="training mode",
        ),
        Line2D([], [], marker="o", color=GREY, linestyle="", label="evaluation mode"),
        Line2D([], [], color=GREY, linestyle="--", linewidth=1.1, label="promised floor"),
    ]
    marks = marks if runs["floor"].notna().any() else marks[:2]
    if crowded(runs):
        add_legend_below(fig, [*marks, *slot_legend(runs)])
    else:
        add_legend_right(fig, marks)
    return fig


def describe_train_vs_eval(runs: pd.DataFrame) -> str:
    return (
        f"Test KL in training mode (open) and in evaluation mode (filled), one pair per run ({count_seeds(runs)}), "
        "so no interval. The two differ where a head uses batch statistics or a part acts in training only. "
        "The axis is linear below 0.1 nats."
        + describe_slots(runs, "the KL of evaluation mode")
        + describe_hidden_groups(finished(runs)["order"].nunique())
        + describe_left_out(runs)
    )


TRAIN_VS_EVAL_FIGURE = Plot(
    "train_vs_eval",
    "Training mode and evaluation mode",
    "runs",
    draw_train_vs_eval,
    describe_train_vs_eval,
)
