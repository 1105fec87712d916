"""Figure: test KL in training mode and in evaluation mode."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
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
from uncollapse.report.panels import axis_label, legend_entry, set_kl_scale, slot_legend
from uncollapse.report.stats import by_group, finished
from uncollapse.report.style import GREY, WIDTH, NoFigure, is_crowded, style_of

FLOOR_DASH_STYLE: dict[str, Any] = {"color": GREY, "linestyle": "--", "linewidth": 1.1}


def draw_train_vs_eval(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Test KL (nats) of each run in training mode (open) and evaluation mode (filled), joined."""
    runs = limit_groups(require_finished(runs).dropna(subset=["kl_train_mode", "kl"]))
    if runs.empty:
        raise NoFigure("no finished run has the KL of both modes.")
    runs = rank_groups(runs, "kl")
    fig, (ax,) = create_group_lines(runs, 1, width, [*mode_legend(runs), *slot_legend(runs)])
    size = 3.2 if is_crowded(runs) else 4.5
    for y, (_, group) in enumerate(by_group(runs)):
        draw_pairs(ax, group, y, size)
    set_kl_scale(ax, "x")
    ax.set_xlabel(axis_label("kl", "test "))
    return fig


def draw_pairs(ax: Axes, group: pd.DataFrame, y: int, size: float) -> None:
    """The runs of a group around the height y, and its floors as dashes."""
    color, marker, _ = style_of(group)
    # seeds at slightly different heights, so that equal values stay apart
    heights = y + seed_offsets(len(group), 0.22)
    style: dict[str, Any] = {"color": color, "markersize": size}
    ax.hlines(heights, group["kl_train_mode"], group["kl"], color=color, linewidth=0.9)
    ax.plot(group["kl_train_mode"], heights, marker, markerfacecolor="white", **style)
    ax.plot(group["kl"], heights, marker, **style)
    ax.vlines(group["floor"].dropna().unique(), y - 0.4, y + 0.4, **FLOOR_DASH_STYLE)


def mode_legend(runs: pd.DataFrame) -> list[Line2D]:
    """Legend entries for both modes and the promised floor."""
    dot: dict[str, Any] = {"marker": "o", "color": GREY, "linestyle": ""}
    entries = [
        legend_entry("training mode", markerfacecolor="white", **dot),
        legend_entry("evaluation mode", **dot),
    ]
    if runs["floor"].notna().any():
        entries.append(legend_entry("promised floor", **FLOOR_DASH_STYLE))
    return entries


def describe_train_vs_eval(runs: pd.DataFrame) -> str:
    return (
        "Test KL in training mode (open) and in evaluation mode (filled), "
        f"one pair per run ({count_seeds(runs)}), so no interval. The two differ if a head uses "
        "batch statistics, or if a component such as dropout is active in training only. "
        "The axis is linear below 0.1 nats and logarithmic above."
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
