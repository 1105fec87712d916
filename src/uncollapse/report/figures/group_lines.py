"""Panels with a line for each group: its seeds, their mean and interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncollapse.report.panels import create_framed
from uncollapse.report.stats import by_group, t_interval
from uncollapse.report.style import (
    COLUMN_WIDTH,
    MOST_ROOMY,
    SLOT_STYLES,
    NoFigure,
    Style,
    count_lines,
    fit_text,
    is_crowded,
    measure_text,
    names_of,
    shorten_to,
    style_of,
)

NAME_WIDTH, NARROW_NAME_WIDTH = 2.3, 1.25  # inches
NARROW_PANELS = 2  # beside the names in one column


def create_group_lines(
    runs: pd.DataFrame,
    columns: int,
    width: float,
    legend: Sequence[Artist] = (),
    titles: Sequence[str] = (),
    label_lines: int = 1,
) -> tuple[Figure, list[Axes]]:
    """Panels side by side with one labelled line per group, the first on top."""
    narrow = width <= COLUMN_WIDTH
    if narrow and columns > NARROW_PANELS:
        raise NoFigure(f"{columns} panels beside each other are not legible in one column.")
    names = names_of([group for _, group in by_group(runs)])
    roomy = len(names) <= MOST_ROOMY
    room = NARROW_NAME_WIDTH if narrow else NAME_WIDTH
    shown = [fit_text(name, room, 3) if roomy else shorten_to(name, room) for name in names]
    line = max(0.3, 0.14 * count_lines(shown) + 0.06) if roomy else 0.155
    fig, axes = create_framed(
        width,
        line * max(len(names), 2),
        legend,
        measure_text(shown) + 0.1,
        columns=columns,
        bottom=0.26 + 0.14 * label_lines,
        top=0.1 + 0.14 * count_lines(titles),
    )
    axes[0].set_yticks(range(len(names)), shown)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, pad=3)
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
    marks: dict[str, list[tuple[Any, ...]]] = {}
    for y, (order, group) in enumerate(groups):
        y = lines[order] if lines else y
        mean, half = t_interval(group[metric])
        if order in outside:
            draw_edge_value(ax, y, mean, mean > inside.median(), style_of(group).color)
            continue
        # seeds below the interval, so that neither hides the other
        heights = y + 0.22 + seed_offsets(len(group), 0.1)
        drawn = (group[metric].to_numpy(float), heights, mean, half, y - 0.12)
        marks.setdefault(group["slot"].iloc[0], []).append(drawn)
    for slot, drawn_groups in marks.items():
        draw_slot(ax, SLOT_STYLES[slot], drawn_groups, size)
    trim_x_axis(ax, inside)


def draw_slot(ax: Axes, style: Style, groups: Sequence[tuple[Any, ...]], size: float) -> None:
    """Groups of one slot: values and heights of seeds, then mean, half-width and height."""
    values, heights, means, halves, middles = zip(*groups, strict=True)
    dot: dict[str, Any] = {"alpha": 0.55, "markersize": 4 * size, "markeredgewidth": 0}
    ax.plot(np.concatenate(values), np.concatenate(heights), style.marker, color=style.color, **dot)
    bar: dict[str, Any] = {"markersize": 8 * size, "markeredgewidth": 1.3, "color": style.color}
    ax.plot(means, middles, "|", **bar)
    mean, half = np.array(means), np.nan_to_num(np.array(halves, dtype=float))
    ax.hlines(middles, mean - half, mean + half, color=style.color, linewidth=1.2)


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
    number = f"{value:,.4g}".replace("-", "−")
    text = f"{number} →" if right else f"← {number}"
    place: dict[str, Any] = {
        "transform": ax.get_yaxis_transform(),
        "ha": "right" if right else "left",
    }
    ax.text(0.995 if right else 0.005, y, text, va="center", color=color, **place)


def rank_groups(runs: pd.DataFrame, metric: str, ascending: bool = False) -> pd.DataFrame:
    """Sort many groups by their means; few groups keep the order they have in all figures."""
    if not is_crowded(runs):
        return runs
    means = runs.groupby("order")[metric].mean().sort_values(ascending=ascending, kind="stable")
    # styles and panels follow the column `order`
    return runs.assign(order=runs["order"].map({order: i for i, order in enumerate(means.index)}))


def seed_offsets(n: int, width: float) -> np.ndarray:
    """Offsets [n] from -width to width, so that equal values do not hide each other."""
    return np.linspace(-width, width, n) if n > 1 else np.zeros(1)
