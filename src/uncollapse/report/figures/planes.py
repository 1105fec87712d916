"""Planes of two test metrics: a mark per run, and names at the means of groups.

Of many groups, only plain and those on the front are named, since other names would hide marks.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncollapse.report.figures.placement import place_labels
from uncollapse.report.front import find_front
from uncollapse.report.panels import create_framed, slot_legend
from uncollapse.report.stats import by_group
from uncollapse.report.style import (
    COLUMN_WIDTH,
    DPI,
    LINE_HEIGHT,
    NoFigure,
    count_lines,
    fit_text,
    is_crowded,
    measure_text,
    style_of,
)

MOST_NAMED = 40  # groups of which all are named
MOST_IN_COLUMN = 12  # names that fit into a plane of one column
NAME_WIDTH = 1.15  # inches of a line of a name
LEFT, TOP = 0.7, 0.2  # inches: room for numbers and a label, and for a line of text
CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4}


class PlaneName(NamedTuple):
    """A text that belongs to a point (x, y) of a plane."""

    text: str
    place: np.ndarray
    color: str


def create_plane(
    runs: pd.DataFrame, width: float, lines: Sequence[Artist] = ()
) -> tuple[Figure, Axes]:
    """A figure with one panel, larger if there are many groups, and a legend of slots and lines."""
    groups = runs["order"].nunique()
    narrow = width <= COLUMN_WIDTH
    if narrow and groups > MOST_IN_COLUMN:
        raise NoFigure(f"the names of {groups} heads are not legible in one column.")
    height = 2.5 if narrow else 6.0 if is_crowded(runs) else 3.6
    # labels of a narrow plane have up to three lines
    bottom = 0.7 if narrow else 0.42
    legend = [*slot_legend(runs), *lines]
    fig, (ax,) = create_framed(width, height, legend, LEFT, bottom=bottom, top=TOP)
    return fig, ax


def draw_runs(ax: Axes, runs: pd.DataFrame, x: str, y: str) -> None:
    """A mark per run."""
    size = 3.5 if is_crowded(runs) else 5
    for _, slot in runs.groupby("slot", sort=False):
        color, marker, _ = style_of(slot)
        dots: dict[str, Any] = {"markersize": size, "markeredgewidth": 0, "alpha": 0.75}
        ax.plot(slot[x], slot[y], marker, color=color, **dots)


def name_groups(ax: Axes, runs: pd.DataFrame, far: pd.Series, x: str, y: str) -> None:
    """Names at the means of the groups, and arrows to groups in `far`."""
    near, beyond = runs[~far], runs[far]
    short = short_names(runs)
    names = draw_edge_arrows(ax, beyond, x, y, short)
    for order, group in by_group(choose_named(near, x, y)):
        mean = group[[x, y]].mean().to_numpy()
        names.append(PlaneName(short[order], mean, style_of(group).color))
    draw_names(ax, names, near[[x, y]].to_numpy())


def choose_named(runs: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The runs of the groups that are named: all, or of many plain and those on the front."""
    if runs["order"].nunique() <= MOST_NAMED:
        return runs
    return runs[runs["order"].isin(find_front(runs, x, y)) | (runs["head"] == "plain")]


def describe_names(runs: pd.DataFrame, x: str, y: str) -> str:
    """A sentence on which groups are named and where."""
    groups = runs["order"].nunique()
    if groups <= MOST_NAMED:
        return " Names point to the means of groups."
    plain = ["plain"] if (runs["head"] == "plain").any() else []
    front = "those that keep a code and that no other beats on both axes"
    named = [*plain, *([front] if find_front(runs, x, y) else [])] or ["none"]
    return (
        f" Of {groups} groups, only {' and '.join(named)} are named, at their means; the tables "
        "name all."
    )


def short_names(runs: pd.DataFrame) -> dict[int, str]:
    """The name of each group as on the page, in lines that fit into a plane."""
    return {
        order: fit_text(group["short"].iloc[0], NAME_WIDTH, 2) for order, group in by_group(runs)
    }


def draw_names(ax: Axes, names: list[PlaneName], obstacles: np.ndarray) -> None:
    """Names with lines to their points; names cover neither obstacles [N, 2] nor each other."""
    if not names:
        return
    # texts in ink with a line in the colour of the slot
    box: dict[str, Any] = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8}
    labels = [
        ax.text(name.place[0], name.place[1], name.text, bbox=box, linespacing=1.0, **CENTRED)
        for name in names
    ]
    sizes = np.array([[measure_text([n.text]), LINE_HEIGHT * count_lines([n.text])] for n in names])
    sizes = sizes * 72 + 1
    frame = ax.get_window_extent().get_points() * 72 / DPI
    places = np.array([name.place for name in names])
    spots = to_data(ax, place_labels(to_points(ax, places), sizes, to_points(ax, obstacles), frame))
    for name, label, spot in zip(names, labels, spots, strict=True):
        label.set_position(spot)
        line: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.7, "zorder": 1.8}
        ax.plot(*np.transpose([name.place, spot]), color=name.color, **line)


def draw_edge_arrows(
    ax: Axes, runs: pd.DataFrame, x: str, y: str, short: dict[int, str]
) -> list[PlaneName]:
    """An arrow at the edge for each group beyond it; returns their names, with means, to be drawn
    at the tails."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    names = []
    for order, group in by_group(runs):
        mean = group[[x, y]].mean().to_numpy()
        # the nearest point of the frame
        place = np.clip(mean, [left, low], [right, high])
        color = style_of(group).color
        tail = to_data(ax, to_points(ax, place) - 14 * np.sign(mean - place))
        arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", tuple(place), tuple(tail), arrowprops=arrow, zorder=5)
        numbers = f"({mean[0]:,.3g}, {mean[1]:,.3g})".replace("-", "−")
        names.append(PlaneName(f"{short[order]}\n{numbers}", tail, color))
    return names


def to_points(ax: Axes, places: np.ndarray) -> np.ndarray:
    """Data coordinates [N, 2] as typographic points of a figure whose layout is solved."""
    return ax.transData.transform(places) * 72 / DPI


def to_data(ax: Axes, places: np.ndarray) -> np.ndarray:
    """The inverse of `to_points`."""
    return ax.transData.inverted().transform(places * DPI / 72)
