"""Planes of two test metrics: a mark per run, and names or numbers at the groups' means."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uncollapse.report.figures.placement import place_labels, push_apart
from uncollapse.report.figures.selection import limit_groups
from uncollapse.report.panels import add_legend_below, add_legend_right, legend_entry, slot_legend
from uncollapse.report.stats import by_group
from uncollapse.report.style import DPI, WIDTH, is_crowded, solve_layout, style_of, wrap_text

KEYS_BESIDE = 12  # legend entries that fit beside the plane; more are placed below it
CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4}


class PlaneName(NamedTuple):
    """A text that belongs to a point (x, y) of a plane."""

    text: str
    place: np.ndarray
    color: str


def create_plane(runs: pd.DataFrame) -> tuple[Figure, Axes]:
    """A figure with one panel, larger if there are many groups."""
    fig = Figure(figsize=(WIDTH, 6.6 if is_crowded(runs) else 4.1), layout="constrained")
    return fig, fig.subplots()


def draw_runs(ax: Axes, runs: pd.DataFrame, x: str, y: str) -> None:
    """A mark per run; grey dots for the groups after the first `MOST_GROUPS`."""
    # all runs as small dots first, so that hidden groups leave a trace
    ax.plot(runs[x], runs[y], ".", color="#bbbbbb", zorder=1)
    size = 3.5 if is_crowded(runs) else 5
    for _, group in by_group(limit_groups(runs)):
        color, marker, _ = style_of(group)
        ax.plot(group[x], group[y], marker, color=color, alpha=0.75, markersize=size)


def add_legend_and_names(
    ax: Axes,
    runs: pd.DataFrame,
    far: pd.Series,
    x: str,
    y: str,
    lines: list[Line2D],
    away: tuple[float, float] = (9, 14),
) -> None:
    """The legend, numbers or names of the groups, and arrows to groups in `far`.

    Numbers start `away` (typographic points) from the means of the groups.
    """
    fig: Any = ax.figure  # a Figure, not a SubFigure
    shown = limit_groups(runs)
    near, beyond = shown[~far[shown.index]], shown[far[shown.index]]
    if is_crowded(runs):
        add_legend_below(fig, [*slot_legend(runs), *lines], columns=4)
    else:
        fits = runs["order"].nunique() <= KEYS_BESIDE
        add_legend = add_legend_right if fits else add_legend_below
        add_legend(fig, [*numbered_legend(runs), *lines])
    # the legend changes the layout, on which the positions of all that follows depend
    solve_layout(fig)
    names = draw_edge_arrows(ax, beyond, x, y)
    if is_crowded(runs):
        for _, group in by_group(near):
            text, mean = wrap_text(group["group"].iloc[0], 20), group[[x, y]].mean().to_numpy()
            names.append(PlaneName(text, mean, style_of(group).color))
        draw_names(ax, names, near[[x, y]].to_numpy())
    else:
        numbers = {order: i for i, (order, _) in enumerate(by_group(runs), 1)}
        discs = draw_numbers(ax, near, numbers, x, y, away)
        draw_names(ax, names, np.concatenate([near[[x, y]], discs]))


def draw_numbers(
    ax: Axes, runs: pd.DataFrame, numbers: dict[int, int], x: str, y: str, away: tuple[float, float]
) -> np.ndarray:
    """Numbered discs with lines to the groups' means; discs cover neither points nor each other.

    A disc starts `away` (typographic points) from its mean. Returns the positions of discs, [G, 2].
    """
    groups = by_group(runs)
    means = np.array([group[[x, y]].mean() for _, group in groups])
    obstacles = to_points(ax, runs[[x, y]].to_numpy())
    spots = to_data(ax, push_apart(to_points(ax, means) + away, obstacles))
    for (order, group), mean, spot in zip(groups, means, spots, strict=True):
        color = style_of(group).color
        ax.plot(*np.transpose([mean, spot]), color=color, linewidth=0.8, zorder=3, clip_on=False)
        disc = {"boxstyle": "circle,pad=0.25", "fc": "white", "ec": color, "lw": 1.2}
        text: dict[str, Any] = {**CENTRED, "fontsize": 7.5, "bbox": disc}
        ax.text(spot[0], spot[1], str(numbers[order]), **text)
    return spots


def draw_names(ax: Axes, names: list[PlaneName], obstacles: np.ndarray) -> None:
    """Names with lines to their points; names cover neither obstacles [N, 2] nor each other."""
    if not names:
        return
    box: dict[str, Any] = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.85}
    text: dict[str, Any] = {**CENTRED, "fontsize": 6.5, "bbox": box}
    labels = [
        ax.text(name.place[0], name.place[1], name.text, color=name.color, **text) for name in names
    ]
    # sizes of texts are known only to a renderer
    renderer = FigureCanvasAgg(ax.figure).get_renderer()  # type: ignore[arg-type]
    boxes = [label.get_window_extent(renderer) for label in labels]
    sizes = np.array([[box.width, box.height] for box in boxes]) * 72 / DPI
    frame = ax.get_window_extent().get_points() * 72 / DPI
    places = np.array([name.place for name in names])
    spots = to_data(ax, place_labels(to_points(ax, places), sizes, to_points(ax, obstacles), frame))
    for name, label, spot in zip(names, labels, spots, strict=True):
        label.set_position(spot)
        line: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.7, "zorder": 1.8}
        ax.plot(*np.transpose([name.place, spot]), color=name.color, **line)


def draw_edge_arrows(ax: Axes, runs: pd.DataFrame, x: str, y: str) -> list[PlaneName]:
    """An arrow at the edge for each group beyond it; returns their names, with means, to be drawn
    at the tails."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    names = []
    for _, group in by_group(runs):
        mean = group[[x, y]].mean().to_numpy()
        # the nearest point of the frame
        place = np.clip(mean, [left, low], [right, high])
        color = style_of(group).color
        tail = to_data(ax, to_points(ax, place) - 14 * np.sign(mean - place))
        arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", tuple(place), tuple(tail), arrowprops=arrow, zorder=5)
        name = wrap_text(group["group"].iloc[0], 20)
        names.append(PlaneName(f"{name}\n({mean[0]:,.3g}, {mean[1]:,.3g})", tail, color))
    return names


def to_points(ax: Axes, places: np.ndarray) -> np.ndarray:
    """Data coordinates [N, 2] as typographic points of a figure whose layout is solved."""
    return ax.transData.transform(places) * 72 / DPI


def to_data(ax: Axes, places: np.ndarray) -> np.ndarray:
    """The inverse of `to_points`."""
    return ax.transData.inverted().transform(places * DPI / 72)


def numbered_legend(runs: pd.DataFrame) -> list[Line2D]:
    """Marker, number and name of each group."""
    entries = []
    for i, (_, group) in enumerate(by_group(runs), 1):
        color, marker, _ = style_of(group)
        label = wrap_text(f"{i}  {group['group'].iloc[0]}", 26)
        entries.append(legend_entry(label, ls="", marker=marker, color=color))
    return entries
