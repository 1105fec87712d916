"""The rate-distortion plane: rec against KL, with what is known exactly and group means that can be told apart."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .finals import first_groups, measured
from .stats import by_group
from .style import GREY, MOST_GROUPS, WIDTH, legend_below, legend_right, style_of, wrap

CEILING: dict[str, Any] = {"color": GREY, "linestyle": (0, (5, 3)), "linewidth": 1.2}
KEYS_BESIDE = 12  # legend entries that fit beside the plane; more go below it


def rate_distortion(runs: pd.DataFrame) -> Figure:
    """rec against KL (nats, test): one point per run, numbered group means, the exact line and lines of equal nelbo."""
    runs = measured(runs, "rec", "kl")
    fig = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    ax = fig.subplots()
    bound, name = exact(runs)
    width = max(runs["kl"].max() * 1.08, 0.5)
    ax.set(xlabel="KL, the rate (nats)", ylabel="rec, the distortion (nats)")
    ax.set(xlim=(-0.02 * width, width), ylim=rd_limits(runs, bound))
    iso_lines(ax, width)
    if name:
        ax.plot([0, width], [bound, bound - width], color="black", linewidth=1.2, linestyle="--")
    groups = by_group(runs)
    ax.plot(runs["kl"], runs["rec"], ".", color="#bbbbbb", zorder=1)
    for order, group in groups[:MOST_GROUPS]:
        color, marker, _ = style_of(order)
        ax.plot(group["kl"], group["rec"], marker, color=color, alpha=0.75, markersize=5)
    (legend_right if len(groups) <= KEYS_BESIDE else legend_below)(fig, rd_key(runs, name))
    number_means(ax, first_groups(runs), "rec")
    return fig


def mi_vs_kl(runs: pd.DataFrame) -> Figure:
    """mi against KL (nats, test): one point per run with 1.96 standard errors, the line MI = KL, each ceiling ln N."""
    runs = measured(runs, "mi", "kl")
    fig = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    ax = fig.subplots()
    width = max(runs["kl"].max() * 1.08, 0.5)
    ax.set(xlabel="KL, the rate (nats)", ylabel="mi, what z tells of x (nats)")
    ax.set(xlim=(-0.02 * width, width), ylim=mi_limits(runs))
    ax.plot([0, width], [0, width], color="black", linewidth=1.0)
    ceiling_lines(ax, ceilings(runs))
    groups = by_group(runs)
    ax.plot(runs["kl"], runs["mi"], ".", color="#bbbbbb", zorder=1)
    for order, group in groups[:MOST_GROUPS]:
        color, marker, _ = style_of(order)
        error = 1.96 * group["mi_se"].fillna(0)
        ax.errorbar(group["kl"], group["mi"], error, fmt="none", ecolor=color, elinewidth=0.7, alpha=0.75)
        ax.plot(group["kl"], group["mi"], marker, color=color, alpha=0.75, markersize=5)
    (legend_right if len(groups) <= KEYS_BESIDE else legend_below)(fig, mi_key(runs))
    number_means(ax, first_groups(runs), "mi", away=(-6, 16))
    return fig


def exact(runs: pd.DataFrame) -> tuple[float, str]:
    """The sharpest known -log p (nats) and its name; nan and '' where it is unknown or differs between runs."""
    names = {"oracle_test": "exact: mean -log p of the test split", "entropy": "exact: entropy of the data"}
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
            ax.annotate(f"{nelbo:g}", (x, y), (2, 2), textcoords="offset points", fontsize=7, color=GREY)
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
        ax.annotate(names[ceiling], (0, ceiling), (3, 2), xycoords=("axes fraction", "data"), **text)
    above = [name for ceiling, name in names.items() if ceiling not in inside]
    if above:
        ax.annotate(f"↑ ceiling {', '.join(above)}", (0, 1), (3, -9), xycoords="axes fraction", **text)


def number_means(ax: Axes, runs: pd.DataFrame, y_metric: str, away: tuple[float, float] = (9, 14)) -> None:
    """Numbered discs with a line to each group's mean, placed so that they cover neither points nor each other.

    A disc starts `away` (points) from its mean (kl, y_metric).
    """
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # the layout must be known before nats become points
    scale = points_per_nat(ax)
    plane = ["kl", y_metric]
    means = runs.groupby("order")[plane].mean()
    spots = pushed_apart(means.to_numpy() * scale + away, runs[plane].to_numpy() * scale) / scale
    for i, (order, mean, (x, y)) in enumerate(zip(means.index, means.to_numpy(), spots, strict=True), 1):
        color = style_of(order).color
        ax.plot([mean[0], x], [mean[1], y], color=color, linewidth=0.8, zorder=3, clip_on=False)
        disc = {"boxstyle": "circle,pad=0.25", "fc": "white", "ec": color, "lw": 1.2}
        ax.text(x, y, str(i), ha="center", va="center", fontsize=7.5, bbox=disc, zorder=4)


def points_per_nat(ax: Axes) -> np.ndarray:
    """[2] typographic points per nat along x and y."""
    box = ax.get_window_extent()
    span = np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())])
    return np.array([box.width, box.height]) / span * 72 / ax.figure.dpi


def pushed_apart(places: np.ndarray, obstacles: np.ndarray) -> np.ndarray:
    """Places [G, 2] moved by small pushes until they are 18 from each other and 13 from obstacles [N, 2] (points)."""
    places = places + 0.01 * np.arange(len(places))[:, None]  # equal places must know which way to go
    gaps = np.concatenate([np.full(len(places), 18.0), np.full(len(obstacles), 13.0)])
    for _ in range(200):
        apart = places[:, None] - np.concatenate([places, obstacles])
        distance = np.hypot(apart[..., 0], apart[..., 1]) + 1e-9
        places = places + 0.2 * (apart / distance[..., None] * np.clip(gaps - distance, 0, None)[..., None]).sum(1)
    return places


def numbered_key(runs: pd.DataFrame) -> list[Line2D]:
    """Marker, number and name of each group."""
    groups = runs.drop_duplicates("order").head(MOST_GROUPS)
    return [
        Line2D([], [], linestyle="", marker=style_of(o).marker, color=style_of(o).color, label=wrap(f"{i}  {text}", 26))
        for i, (o, text) in enumerate(zip(groups["order"], groups["group"], strict=True), 1)
    ]


def rd_key(runs: pd.DataFrame, exact_name: str) -> list[Line2D]:
    handles = numbered_key(runs)
    handles.append(Line2D([], [], color="#cfcfcf", linewidth=0.8, label=wrap("equal nelbo, its value at the end", 22)))
    if exact_name:
        handles.append(Line2D([], [], color="black", linestyle="--", linewidth=1.2, label=wrap(exact_name, 22)))
    return handles


def mi_key(runs: pd.DataFrame) -> list[Line2D]:
    handles = [*numbered_key(runs), Line2D([], [], color="black", linewidth=1.0, label="mi = kl")]
    if any(ceiling < mi_limits(runs)[1] for _, ceiling in ceilings(runs)):
        handles.append(Line2D([], [], **CEILING, label=wrap("ceiling ln N: no estimate can be higher", 22)))
    return handles
