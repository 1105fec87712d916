"""Panels with a line for each group: its seeds, their mean and interval."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncollapse.report.panels import add_legend_below, slot_legend
from uncollapse.report.stats import by_group, t_interval
from uncollapse.report.style import WIDTH, is_crowded, style_of, truncate, wrap_text

MOST_ROOMY = 20  # groups with room for several lines of text; more are spaced more tightly


def create_group_lines(runs: pd.DataFrame, columns: int) -> tuple[Figure, list[Axes]]:
    """Panels side by side with one labelled line per group, the first on top."""
    names = [group["group"].iloc[0] for _, group in by_group(runs)]
    roomy = len(names) <= MOST_ROOMY
    height = 0.36 * max(len(names), 2) if roomy else 0.19 * len(names)
    fig = Figure(figsize=(WIDTH, 0.8 + height), layout="constrained")
    axes = list(fig.subplots(1, columns, sharey=True, squeeze=False).flat)
    axes[0].set_yticks(
        range(len(names)),
        [wrap_text(name, 30, lines=3) if roomy else truncate(name, 48) for name in names],
    )
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    if not roomy:
        axes[0].tick_params(axis="y", labelsize=7)
    for ax in axes:
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
    return fig, axes


def draw_seeds(
    ax: Axes,
    runs: pd.DataFrame,
    metric: str,
    far: pd.Series | None = None,
    lines: dict[int, int] | None = None,
) -> None:
    """Seeds, mean and t-interval of each group.

    A group with a seed in `far` becomes an arrow at the edge, with its mean. `lines`: the height of
    each group, if `runs` may lack some groups.
    """
    groups = by_group(runs)
    size = 1.0 if len(lines or groups) <= MOST_ROOMY else 0.65
    outside = set(runs.loc[far, "order"]) if far is not None else set()
    # the median of what is drawn decides on which side an arrow points
    inside = runs.loc[~runs["order"].isin(outside), metric].dropna()
    for y, (order, group) in enumerate(groups):
        y = lines[order] if lines else y
        color, marker, _ = style_of(group)
        mean, half = t_interval(group[metric])
        if order in outside:
            draw_edge_value(ax, y, mean, mean > inside.median(), color)
            continue
        # seeds below the interval, so that neither hides the other
        heights = y + 0.22 + seed_offsets(len(group), 0.1)
        dot: dict[str, Any] = {"alpha": 0.55, "markersize": 4 * size, "markeredgewidth": 0}
        ax.plot(group[metric], heights, marker, color=color, **dot)
        bar: dict[str, Any] = {"markersize": 9 * size, "capsize": 2.5 * size, "linewidth": 1.3}
        ax.errorbar(mean, y - 0.12, xerr=half, color=color, marker="|", **bar)
    trim_x_axis(ax, inside)


def trim_x_axis(ax: Axes, values: pd.Series) -> None:
    """Limit the margin beside values [N] to 0.6 of their range, and cut longer intervals there."""
    # the t-interval of two seeds is 13 times as long as the distance between them
    room = 0.6 * np.ptp(values) if len(values) else 0
    (low, high), (first, last) = ax.get_xlim(), (values.min() - room, values.max() + room)
    # only if the axis extends beyond the room, since `margins` may be smaller
    if room and (low < first or high > last):
        ax.set_xlim(max(low, first), min(high, last))


def draw_edge_value(ax: Axes, y: float, value: float, right: bool, color: str) -> None:
    """An arrow at the right or left edge, with the value that lies beyond it."""
    text = f"{value:,.4g} →" if right else f"← {value:,.4g}"
    place: dict[str, Any] = {
        "transform": ax.get_yaxis_transform(),
        "ha": "right" if right else "left",
    }
    ax.text(0.995 if right else 0.005, y, text, va="center", fontsize=7, color=color, **place)


def rank_groups(runs: pd.DataFrame, metric: str, ascending: bool = False) -> pd.DataFrame:
    """Sort many groups by their means; few groups keep the order they have in all figures."""
    if not is_crowded(runs):
        return runs
    means = runs.groupby("order")[metric].mean().sort_values(ascending=ascending, kind="stable")
    # styles and panels follow the column `order`
    return runs.assign(order=runs["order"].map({order: i for i, order in enumerate(means.index)}))


def add_slot_legend(fig: Figure, runs: pd.DataFrame) -> None:
    """A legend of slots, if styles show them."""
    if is_crowded(runs):
        add_legend_below(fig, slot_legend(runs), columns=6)


def seed_offsets(n: int, width: float) -> np.ndarray:
    """Offsets [n] from -width to width, so that equal values do not hide each other."""
    return np.linspace(-width, width, n) if n > 1 else np.zeros(1)
