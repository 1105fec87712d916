"""Planes of two test metrics with a mark per run: rate and distortion, information and rate, cost and benefit.

Few groups have a style each and a number; a crowd has the styles of its slots and a name at each group's mean.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .finals import costs, first_groups, measured
from .stats import by_group, outlying, t_interval
from .style import (
    DPI,
    GREY,
    WIDTH,
    crowded,
    kl_scale,
    legend_below,
    legend_right,
    settle,
    slot_key,
    style_of,
    wrap,
)

CEILING: dict[str, Any] = {"color": GREY, "linestyle": (0, (5, 3)), "linewidth": 1.2}
KEYS_BESIDE = 12  # legend entries that fit beside the plane; more go below it
ANGLES, RADII = np.meshgrid(
    np.linspace(0, 2 * np.pi, 24, endpoint=False), [*range(5, 60, 5), *range(60, 300, 15)]
)
# where a name may stand, in typographic points from its mean
PLACES = np.stack([RADII * np.cos(ANGLES), RADII * np.sin(ANGLES)], axis=-1).reshape(-1, 2).round(6)


class Name(NamedTuple):
    """What stands at a place (x, y) of a plane."""

    text: str
    place: np.ndarray
    color: str


def rate_distortion(runs: pd.DataFrame) -> Figure:
    """rec against KL (nats, test): one point per run, named group means, the exact line and lines of equal nelbo."""
    runs = measured(runs, "rec", "kl")
    far = outlying(runs, "kl") | outlying(runs, "rec")
    near = runs[~far]
    fig, ax = plane(runs)
    bound, name = exact(runs)
    width = max(near["kl"].max() * 1.08, 0.5)
    ax.set(xlabel="KL, the rate (nats)", ylabel="rec, the distortion (nats)")
    ax.set(xlim=(-0.02 * width, width), ylim=rd_limits(near, bound))
    iso_lines(ax, width)
    if name:
        ax.plot([0, width], [bound, bound - width], color="black", linewidth=1.2, linestyle="--")
    marks(ax, near, "kl", "rec")
    key_and_names(ax, runs, far, "kl", "rec", rd_lines(name))
    return fig


def mi_vs_kl(runs: pd.DataFrame) -> Figure:
    """mi against KL (nats, test): one point per run with 1.96 standard errors, the line MI = KL, each ceiling ln N."""
    runs = measured(runs, "mi", "kl")
    far = outlying(runs, "kl")
    near = runs[~far]
    fig, ax = plane(runs)
    width = max(near["kl"].max() * 1.08, 0.5)
    ax.set(xlabel="KL, the rate (nats)", ylabel="mi, what z tells of x (nats)")
    ax.set(xlim=(-0.02 * width, width), ylim=mi_limits(runs))
    ax.plot([0, width], [0, width], color="black", linewidth=1.0)
    ceiling_lines(ax, ceilings(runs))
    for _, group in by_group(first_groups(near)):
        error = 1.96 * group["mi_se"].fillna(0)
        ax.errorbar(
            group["kl"],
            group["mi"],
            error,
            fmt="none",
            ecolor=style_of(group).color,
            elinewidth=0.7,
            alpha=0.75,
        )
    marks(ax, near, "kl", "mi")
    key_and_names(ax, runs, far, "kl", "mi", mi_lines(runs), away=(-6, 16))
    return fig


def cost_benefit(runs: pd.DataFrame) -> Figure:
    """nll minus plain's (nats, test, paired by seed) against the shuffled-z gap (nats): runs, means and t-intervals."""
    runs = costs(runs).dropna(subset=["shuffle_gap"])
    far = outlying(runs, "d_nll")
    near = runs[~far]
    fig, ax = plane(runs)
    ax.axhline(0, color="black", linewidth=1.0)
    marks(ax, near, "shuffle_gap", "d_nll")
    kl_scale(ax, "x")
    air = 0.12 * max(np.ptp([*near["d_nll"], 0]), 0.1)
    ax.set_ylim(min(near["d_nll"].min(), 0) - air, max(near["d_nll"].max(), 0) + air)
    ax.set(
        xlabel="shuffled-z gap: what the code is worth to the decoder (nats)",
        ylabel="nll - plain's (nats)",
    )
    for _, group in by_group(first_groups(near)):
        (x, wide), (y, high) = t_interval(group["shuffle_gap"]), t_interval(group["d_nll"])
        bar: dict[str, Any] = {
            "linewidth": 0.8,
            "alpha": 0.3 if crowded(runs) else 0.8,
            "zorder": 1.5,
        }
        ax.errorbar(x, y, high, wide, color=style_of(group).color, **bar)
    line = Line2D([], [], color="black", linewidth=1.0, label="plain's nll")
    key_and_names(ax, runs, far, "shuffle_gap", "d_nll", [line])
    return fig


# ---- parts of several ------------------------------------------------------------------------------------------------


def plane(runs: pd.DataFrame) -> tuple[Figure, Axes]:
    fig = Figure(figsize=(WIDTH, 6.6 if crowded(runs) else 4.1), layout="constrained")
    return fig, fig.subplots()


def marks(ax: Axes, runs: pd.DataFrame, x: str, y: str) -> None:
    """A mark per run; grey dots for the groups after the first `MOST_GROUPS`."""
    ax.plot(runs[x], runs[y], ".", color="#bbbbbb", zorder=1)
    size = 3.5 if crowded(runs) else 5
    for _, group in by_group(first_groups(runs)):
        color, marker, _ = style_of(group)
        ax.plot(group[x], group[y], marker, color=color, alpha=0.75, markersize=size)


def key_and_names(
    ax: Axes,
    runs: pd.DataFrame,
    far: pd.Series,
    x: str,
    y: str,
    lines: list[Line2D],
    away: tuple[float, float] = (9, 14),
) -> None:
    """The legend, then what needs the layout that it leaves: numbers or names of the groups, and arrows to what is far."""
    fig: Any = ax.figure
    shown = first_groups(runs)
    near, beyond = shown[~far[shown.index]], shown[far[shown.index]]
    if crowded(runs):
        legend_below(fig, [*slot_key(runs), *lines], columns=4)
    else:
        (legend_right if runs["order"].nunique() <= KEYS_BESIDE else legend_below)(
            fig, [*numbered_key(runs), *lines]
        )
    settle(fig)
    names = edge_marks(ax, beyond, x, y)
    if crowded(runs):
        names += [
            Name(
                wrap(group["group"].iloc[0], 20),
                group[[x, y]].mean().to_numpy(),
                style_of(group).color,
            )
            for _, group in by_group(near)
        ]
        name_means(ax, names, near[[x, y]].to_numpy())
    else:
        numbers = {order: i for i, (order, _) in enumerate(by_group(runs), 1)}
        discs = number_means(ax, near, numbers, x, y, away)
        name_means(ax, names, np.concatenate([near[[x, y]], discs]))


def exact(runs: pd.DataFrame) -> tuple[float, str]:
    """The sharpest known -log p (nats) and its name; nan and '' where it is unknown or differs between runs."""
    names = {
        "oracle_test": "exact: mean -log p of the test split",
        "entropy": "exact: entropy of the data",
    }
    for column, name in names.items():
        values = runs[column].unique()
        if len(values) == 1 and np.isfinite(values[0]):
            return float(values[0]), name
    return np.nan, ""


def rd_limits(runs: pd.DataFrame, bound: float) -> tuple[float, float]:
    """All points, the start of the exact line and some air; the line may leave below."""
    low, high = np.nanmin([runs["rec"].min(), bound]), np.nanmax([runs["rec"].max(), bound])
    air = max(high - low, 1.0)
    return max(low - 0.25 * air, 0), high + 0.1 * air


def iso_lines(ax: Axes, width: float) -> None:
    """Grey lines of equal nelbo = rec + kl, each with its value where it leaves at the top or on the right."""
    low, high = ax.get_ylim()
    for nelbo in MaxNLocator(12).tick_values(low, high + width):
        ax.plot([0, width], [nelbo, nelbo - width], color="#dcdcdc", linewidth=0.8, zorder=0.5)
        x, y = (nelbo - high, high) if nelbo - high < width else (width, nelbo - width)
        if x >= 0 and y >= low:
            ax.annotate(
                f"{nelbo:g}", (x, y), (2, 2), textcoords="offset points", fontsize=7, color=GREY
            )
    ax.grid(False)


def mi_limits(runs: pd.DataFrame) -> tuple[float, float]:
    """From a little below 0 (Monte Carlo noise) to a little above the highest point, or ceiling near the points."""
    error = 1.96 * runs["mi_se"].fillna(0)
    points = max(float((runs["mi"] + error).max()), 0.4)
    near = [ceiling for _, ceiling in ceilings(runs) if ceiling < 2 * points]
    top = 1.1 * max([points, *near])
    return min(float((runs["mi"] - error).min()), 0) - 0.03 * top, top


def ceilings(runs: pd.DataFrame) -> list[tuple[int, float]]:
    """Each number N of examples that mi was estimated with, and ln N (nats)."""
    return [(int(n), float(np.log(n))) for n in sorted(runs["mi_n"].dropna().unique()) if n > 0]


def ceiling_lines(ax: Axes, known: list[tuple[int, float]]) -> None:
    """Dashes at each ceiling (N, nats) with its N; those far above all points are named at the top, with an arrow."""
    names = {ceiling: f"ln {n:,} = {ceiling:.2f}" for n, ceiling in known}
    inside = [ceiling for ceiling in names if ceiling < ax.get_ylim()[1]]
    text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5, "color": "#555555"}
    for ceiling in inside:
        ax.axhline(ceiling, **CEILING)
        ax.annotate(
            names[ceiling], (0, ceiling), (3, 2), xycoords=("axes fraction", "data"), **text
        )
    above = [name for ceiling, name in names.items() if ceiling not in inside]
    if above:
        ax.annotate(
            f"↑ ceiling {', '.join(above)}", (0, 1), (3, -9), xycoords="axes fraction", **text
        )


def number_means(
    ax: Axes, runs: pd.DataFrame, numbers: dict[int, int], x: str, y: str, away: tuple[float, float]
) -> np.ndarray:
    """Numbered discs with a line to each group's mean, placed so that they cover neither points nor each other.

    A disc starts `away` (typographic points) from its mean (x, y). Returns where they are, [G, 2].
    """
    groups = by_group(runs)
    means = np.array([group[[x, y]].mean() for _, group in groups])
    spots = in_data(
        ax, pushed_apart(in_points(ax, means) + away, in_points(ax, runs[[x, y]].to_numpy()))
    )
    for (order, group), mean, spot in zip(groups, means, spots, strict=True):
        color = style_of(group).color
        ax.plot(*np.transpose([mean, spot]), color=color, linewidth=0.8, zorder=3, clip_on=False)
        disc = {"boxstyle": "circle,pad=0.25", "fc": "white", "ec": color, "lw": 1.2}
        ax.text(
            spot[0],
            spot[1],
            str(numbers[order]),
            ha="center",
            va="center",
            fontsize=7.5,
            bbox=disc,
            zorder=4,
        )
    return spots


def name_means(ax: Axes, names: list[Name], obstacles: np.ndarray) -> None:
    """Names with a line to where they belong, placed so that they cover neither points [N, 2] nor each other."""
    if not names:
        return
    box: dict[str, Any] = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.85}
    text: dict[str, Any] = {
        "ha": "center",
        "va": "center",
        "fontsize": 6.5,
        "bbox": box,
        "zorder": 4,
    }
    labels = [
        ax.text(name.place[0], name.place[1], name.text, color=name.color, **text) for name in names
    ]
    renderer = FigureCanvasAgg(ax.figure).get_renderer()  # type: ignore[arg-type]
    boxes = [label.get_window_extent(renderer) for label in labels]
    sizes = np.array([[box.width, box.height] for box in boxes]) * 72 / DPI
    frame = ax.get_window_extent().get_points() * 72 / DPI
    places = np.array([name.place for name in names])
    spots = in_data(ax, label_places(in_points(ax, places), sizes, in_points(ax, obstacles), frame))
    for name, label, spot in zip(names, labels, spots, strict=True):
        label.set_position(spot)
        ax.plot(
            *np.transpose([name.place, spot]),
            color=name.color,
            linewidth=0.5,
            alpha=0.7,
            zorder=1.8,
        )


def edge_marks(ax: Axes, runs: pd.DataFrame, x: str, y: str) -> list[Name]:
    """An arrow at the edge for the mean of each group's runs, which all lie beyond; at its tail the name with the mean."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    names = []
    for _, group in by_group(runs):
        mean = group[[x, y]].mean().to_numpy()
        place = np.clip(mean, [left, low], [right, high])
        color = style_of(group).color
        tail = in_data(ax, in_points(ax, place) - 14 * np.sign(mean - place))
        arrow = {"arrowstyle": "-|>", "color": color, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", tuple(place), tuple(tail), arrowprops=arrow, zorder=5)
        names.append(
            Name(
                f"{wrap(group['group'].iloc[0], 20)}\n({mean[0]:,.3g}, {mean[1]:,.3g})", tail, color
            )
        )
    return names


def in_points(ax: Axes, places: np.ndarray) -> np.ndarray:
    """[N, 2] in data coordinates -> typographic points of the figure; the layout must be settled."""
    return ax.transData.transform(places) * 72 / DPI


def in_data(ax: Axes, places: np.ndarray) -> np.ndarray:
    return ax.transData.inverted().transform(places * DPI / 72)


def label_places(
    anchors: np.ndarray, sizes: np.ndarray, obstacles: np.ndarray, frame: np.ndarray
) -> np.ndarray:
    """Centres [G, 2] of labels with these sizes [G, 2] around their anchors [G, 2], one after the other, the loneliest last.

    Each takes the cheapest of many places: near, inside the frame (two corners), clear of obstacles [N, 2] and earlier
    labels, its line crossing few other lines and labels. All in typographic points; the same input gives the same places.
    """
    centres = np.array(anchors, dtype=float)
    done: list[int] = []
    crowding = np.exp(-(((anchors[:, None] - anchors) / 40) ** 2).sum(-1)).sum(1)
    for i in np.argsort(-crowding, kind="stable"):
        tries = anchors[i] + PLACES + np.sign(PLACES) * sizes[i] / 2
        half = sizes[i] / 2
        cost = np.linalg.norm(tries - anchors[i], axis=1)
        cost += 1000 * ((tries - half < frame[0]) | (tries + half > frame[1])).any(1)
        cost += 60 * near(tries, obstacles, half + 3)
        if done:
            ends, starts = centres[done], anchors[done]
            cost += 1000 * near(tries, ends, half + sizes[done] / 2 + 1.5)
            cost += 40 * cross(anchors[i], tries[:, None], starts, ends).sum(1)
            for corner in (
                (0.5, 0.5),
                (0.5, -0.5),
            ):  # a line that crosses a box crosses one of its diagonals
                mine, theirs = sizes[i] * corner, sizes[done] * corner
                cost += 30 * cross(anchors[i], tries[:, None], ends - theirs, ends + theirs).sum(1)
                cost += 30 * cross(starts, ends, tries[:, None] - mine, tries[:, None] + mine).sum(
                    1
                )
        centres[i] = tries[np.argmin(cost)]
        done.append(i)
    return centres


def near(places: np.ndarray, others: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """[C]: how many of others [M, 2] are within `reach` ([2] or [M, 2], each way) of each place [C, 2]."""
    across, along = (
        np.abs(places[:, None, axis] - others[:, axis]) < reach[..., axis] for axis in (0, 1)
    )
    return (across & along).sum(1)


def cross(
    start: np.ndarray, end: np.ndarray, other: np.ndarray, other_end: np.ndarray
) -> np.ndarray:
    """Whether the line start -> end crosses the line other -> other_end; all [..., 2], which broadcast."""

    def sides(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
        """Below 0 where c and d lie on different sides of a -> b."""
        along, to_c, to_d = b - a, c - a, d - a
        left = along[..., 0] * to_c[..., 1] - along[..., 1] * to_c[..., 0]
        return left * (along[..., 0] * to_d[..., 1] - along[..., 1] * to_d[..., 0])

    return (sides(start, end, other, other_end) < 0) & (sides(other, other_end, start, end) < 0)


def pushed_apart(places: np.ndarray, obstacles: np.ndarray) -> np.ndarray:
    """Places [G, 2] moved by small pushes until they are 18 from each other and 13 from obstacles [N, 2] (points)."""
    places = (
        places + 0.01 * np.arange(len(places))[:, None]
    )  # equal places must know which way to go
    gaps = np.concatenate([np.full(len(places), 18.0), np.full(len(obstacles), 13.0)])
    for _ in range(200):
        apart = places[:, None] - np.concatenate([places, obstacles])
        distance = np.hypot(apart[..., 0], apart[..., 1]) + 1e-9
        places = places + 0.2 * (
            apart / distance[..., None] * np.clip(gaps - distance, 0, None)[..., None]
        ).sum(1)
    return places


def numbered_key(runs: pd.DataFrame) -> list[Line2D]:
    """Marker, number and name of each group."""
    keys = []
    for i, (_, group) in enumerate(by_group(runs), 1):
        color, marker, _ = style_of(group)
        keys.append(
            Line2D(
                [],
                [],
                ls="",
                marker=marker,
                color=color,
                label=wrap(f"{i}  {group['group'].iloc[0]}", 26),
            )
        )
    return keys


def rd_lines(exact_name: str) -> list[Line2D]:
    lines = [
        Line2D(
            [],
            [],
            color="#cfcfcf",
            linewidth=0.8,
            label=wrap("equal nelbo, its value at the end", 22),
        )
    ]
    if exact_name:
        lines.append(
            Line2D([], [], color="black", linestyle="--", linewidth=1.2, label=wrap(exact_name, 22))
        )
    return lines


def mi_lines(runs: pd.DataFrame) -> list[Line2D]:
    lines = [Line2D([], [], color="black", linewidth=1.0, label="mi = kl")]
    if any(ceiling < mi_limits(runs)[1] for _, ceiling in ceilings(runs)):
        lines.append(
            Line2D([], [], **CEILING, label=wrap("ceiling ln N: no estimate can be higher", 22))
        )
    return lines
