"""Figures of final test metrics: each takes the runs of a study (one row each) and returns a Figure."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .stats import by_group, finished, t_interval
from .style import GREY, MOST_GROUPS, WIDTH, NoFigure, grid, kl_scale, legend_below, legend_right, style_of, wrap

MOST_MOMENTS = 8
KEYS_BESIDE = 12  # legend entries that fit beside the rate-distortion plane; more go below it
FLOOR_DASHES = (0, (4, 3))
MOMENTS = (
    ("D", "#000000", "E[mu²] + E[sigma²], wants 1"),
    ("o", "#0072B2", "E[mu²]"),
    ("s", "#E69F00", "E[sigma²]"),
    ("^", "#009E73", "E[mu], wants 0"),
)


def usage(runs: pd.DataFrame) -> Figure:
    """Active units and shuffled-z gap (nats) per group: seeds as points, mean and t-interval."""
    runs = first_groups(final(runs))
    fig, axes = rows_figure(runs, 2)
    for ax, metric, label in zip(axes, ("au", "shuffle_gap"), ("active units", "shuffled-z gap (nats)"), strict=True):
        dots(ax, runs, metric)
        ax.set_xlabel(label)
        ax.axvline(0, color=GREY, linewidth=0.8)
    dims = runs["latent"].dropna().unique()
    if len(dims) == 1:
        axes[0].axvline(dims[0], color=GREY, linestyle=":", linewidth=1.2)
        axes[0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return fig


def train_vs_eval(runs: pd.DataFrame) -> Figure:
    """Test KL (nats) of every run in training mode (open) and in evaluation mode (filled), joined; floors as bars."""
    runs = first_groups(final(runs).dropna(subset=["kl_train_mode", "kl"]))
    if runs.empty:
        raise NoFigure("no finished run has the KL of both modes.")
    fig, (ax,) = rows_figure(runs, 1)
    for y, (order, group) in enumerate(by_group(runs)):
        color, marker, _ = style_of(order)
        heights = y + spread(len(group), 0.22)
        ax.hlines(heights, group["kl_train_mode"], group["kl"], color=color, linewidth=0.9)
        ax.plot(group["kl_train_mode"], heights, marker, color=color, markerfacecolor="white")
        ax.plot(group["kl"], heights, marker, color=color)
        ax.vlines(group["floor"].dropna().unique(), y - 0.4, y + 0.4, color=GREY, linestyle="--", linewidth=1.1)
    kl_scale(ax, "x")
    ax.set_xlabel("test KL (nats)")
    marks = [
        Line2D([], [], marker="o", color=GREY, markerfacecolor="white", linestyle="", label="training mode"),
        Line2D([], [], marker="o", color=GREY, linestyle="", label="evaluation mode"),
        Line2D([], [], color=GREY, linestyle="--", linewidth=1.1, label="promised floor"),
    ]
    legend_right(fig, marks if runs["floor"].notna().any() else marks[:2])
    return fig


def rate_distortion(runs: pd.DataFrame) -> Figure:
    """rec against KL (nats, test): one point per run, numbered group means, the exact line and lines of equal nelbo."""
    runs = final(runs).dropna(subset=["rec", "kl"])
    if runs.empty:
        raise NoFigure("no finished run has rec and kl.")
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
    number_means(ax, first_groups(runs))
    return fig


def tau_grid(runs: pd.DataFrame) -> Figure:
    """KL, rec and shuffled-z gap (nats, test) against tau; floor -(d/2) ln(1 - tau) beside the KL."""
    series = tau_series(runs)
    fig = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    axes = fig.subplots(1, 3)
    names = {"kl": "KL (nats)", "rec": "rec (nats)", "shuffle_gap": "shuffled-z gap (nats)"}
    for ax, (metric, label) in zip(axes, names.items(), strict=True):
        for i, (_, group) in enumerate(series, 1):
            tau_line(ax, group, metric, i, shift=0.006 * (i - (len(series) + 1) / 2))
        ax.set(xlabel="tau", ylabel=label)
    tau_floor(axes[0], series)
    axes[0].set_ylim(bottom=0)
    handles = [Line2D([], [], **style_of(i)._asdict(), label=name) for i, (name, _) in enumerate(series, 1)]
    handles.append(Line2D([], [], color=GREY, linewidth=1.2, linestyle=FLOOR_DASHES, label="floor: -(d/2) ln(1 - tau)"))
    fig.legend(handles=handles, loc="outside upper center", ncols=3)
    return fig


def moments(runs: pd.DataFrame) -> Figure:
    """Per dimension E[mu], E[mu^2], E[sigma^2] and their sum on test, in both modes; one row of panels per group."""
    shown = moment_runs(runs)
    fig, axes = grid(2 * len(shown), 2, 1.1, sharex=True, sharey="row")
    for i, run in enumerate(shown.to_dict("records")):
        pair = axes[2 * i : 2 * i + 2]
        rank = np.argsort(-np.array(run["moments"]["mu_sq"]), kind="stable")
        for ax, mode in zip(pair, ("moments_train_mode", "moments"), strict=True):
            moment_panel(ax, *(np.array(run[mode][key])[rank] for key in ("mu", "mu_sq", "sigma_sq")))
        pair[0].set_ylim(bottom=min(-0.25, min(ax.dataLim.y0 for ax in pair) - 0.1))
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center", "fontsize": 8}
        pair[1].annotate(wrap(run["group"], 18), (1, 0.5), (6, 0), **place)
    axes[0].set_title("training mode (batch statistics)")
    axes[1].set_title("evaluation mode (population statistics)")
    fig.supxlabel("latent dimension, sorted by E[mu²] in evaluation mode")
    handles = [Line2D([], [], marker=marker, color=color, linestyle="", label=text) for marker, color, text in MOMENTS]
    fig.legend(handles=handles, loc="outside upper center", ncols=4)
    return fig


# ---- parts of several ------------------------------------------------------------------------------------------------


def final(runs: pd.DataFrame) -> pd.DataFrame:
    runs = finished(runs)
    if runs.empty:
        raise NoFigure("no run is finished yet.")
    return runs


def first_groups(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["order"].isin(runs["order"].unique()[:MOST_GROUPS])]


def rows_figure(runs: pd.DataFrame, columns: int) -> tuple[Figure, list[Axes]]:
    """Panels side by side with one labelled line per group, the first on top."""
    labels = [wrap(text, 30) for text in runs.drop_duplicates("order")["group"]]
    fig = Figure(figsize=(WIDTH, 0.8 + 0.36 * max(len(labels), 2)), layout="constrained")
    axes = list(fig.subplots(1, columns, sharey=True, squeeze=False).flat)
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].set_ylim(len(labels) - 0.4, -0.6)
    for ax in axes:
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
    return fig, axes


def dots(ax: Axes, runs: pd.DataFrame, metric: str) -> None:
    for y, (order, group) in enumerate(by_group(runs)):
        color, marker, _ = style_of(order)
        mean, half = t_interval(group[metric])
        heights = y + 0.22 + spread(len(group), 0.1)
        ax.plot(group[metric], heights, marker, color=color, alpha=0.55, markersize=4, markeredgewidth=0)
        ax.errorbar(mean, y - 0.12, xerr=half, color=color, marker="|", markersize=9, capsize=2.5, linewidth=1.3)


def spread(n: int, width: float) -> np.ndarray:
    """[n] offsets between -width and width, so that equal seeds do not hide each other."""
    return np.linspace(-width, width, n) if n > 1 else np.zeros(1)


# ---- parts of the rate-distortion plane ------------------------------------------------------------------------------


def exact(runs: pd.DataFrame) -> tuple[float, str]:
    """The sharpest known -log p (nats) and its name; nan and '' where it is unknown or differs between runs."""
    names = {"oracle_test": "exact: mean -log p of the test split", "entropy": "exact: entropy of the data"}
    for column, name in names.items():
        values = runs[column].unique()
        if len(values) == 1 and np.isfinite(values[0]):
            return float(values[0]), name
    return np.nan, ""


def rd_limits(runs: pd.DataFrame, bound: float) -> tuple[float, float]:
    """All points, the start of the exact line and some air; the line may leave below, so that points fill the plane."""
    low, high = runs["rec"].min(), np.nanmax([runs["rec"].max(), bound])
    air = max(high - low, 1.0)
    return max(low - 0.25 * air, 0), high + 0.1 * air


def iso_lines(ax: Axes, width: float) -> None:
    """Grey lines of equal nelbo = rec + kl, each with its value where it leaves the plane, at the top or on the right."""
    low, high = ax.get_ylim()
    for nelbo in MaxNLocator(12).tick_values(low, high + width):
        ax.plot([0, width], [nelbo, nelbo - width], color="#dcdcdc", linewidth=0.8, zorder=0.5)
        x, y = (nelbo - high, high) if nelbo - high < width else (width, nelbo - width)
        if x >= 0 and y >= low:
            ax.annotate(f"{nelbo:g}", (x, y), (2, 2), textcoords="offset points", fontsize=7, color=GREY)
    ax.grid(False)


def number_means(ax: Axes, runs: pd.DataFrame) -> None:
    """Numbered discs with a line to each group's mean, pushed apart so that they cover neither points nor each other."""
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # the layout must be known before nats become points
    means = runs.groupby("order")[["kl", "rec"]].mean()
    places, obstacles = in_points(ax, means.to_numpy()), in_points(ax, runs[["kl", "rec"]].to_numpy())
    offsets = pushed_apart(places + [9, 14], obstacles) - places
    for i, (order, spot, offset) in enumerate(zip(means.index, means.to_numpy(), offsets, strict=True), 1):
        color = style_of(order).color
        ax.annotate(
            str(i), tuple(spot), tuple(offset), textcoords="offset points", ha="center", va="center", fontsize=7.5,
            bbox={"boxstyle": "circle,pad=0.25", "fc": "white", "ec": color, "lw": 1.2},
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.8, "shrinkB": 0},
        )  # fmt: skip


def in_points(ax: Axes, values: np.ndarray) -> np.ndarray:
    """[N, 2] data coordinates in typographic points from the corner of the axes."""
    box = ax.get_window_extent()
    low, high = np.array([ax.get_xlim(), ax.get_ylim()]).T
    return (values - low) / (high - low) * [box.width, box.height] * 72 / ax.figure.dpi


def pushed_apart(places: np.ndarray, obstacles: np.ndarray) -> np.ndarray:
    """Places [G, 2] moved by many small pushes until they are 18 from each other and 13 from obstacles [N, 2] (points)."""
    places = places + 0.01 * np.arange(len(places))[:, None]  # equal places must know which way to go
    gaps = np.concatenate([np.full(len(places), 18.0), np.full(len(obstacles), 13.0)])
    for _ in range(200):
        apart = places[:, None] - np.concatenate([places, obstacles])
        distance = np.hypot(apart[..., 0], apart[..., 1]) + 1e-9
        places = places + 0.2 * (apart / distance[..., None] * np.clip(gaps - distance, 0, None)[..., None]).sum(1)
    return places


def rd_key(runs: pd.DataFrame, exact_name: str) -> list[Line2D]:
    groups = runs.drop_duplicates("order").head(MOST_GROUPS)
    handles = [
        Line2D([], [], linestyle="", marker=style_of(o).marker, color=style_of(o).color, label=wrap(f"{i}  {text}", 26))
        for i, (o, text) in enumerate(zip(groups["order"], groups["group"], strict=True), 1)
    ]
    handles.append(Line2D([], [], color="#cfcfcf", linewidth=0.8, label=wrap("equal nelbo, its value at the end", 22)))
    if exact_name:
        handles.append(Line2D([], [], color="black", linestyle="--", linewidth=1.2, label=wrap(exact_name, 22)))
    return handles


# ---- parts of the tau grid and of the moments ------------------------------------------------------------------------


def tau_series(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Finished runs of heads with at least two values of tau, apart by label and by the overrides other than tau."""
    runs = final(runs).dropna(subset=["tau"])
    rest = [", ".join(o for o in overrides if not o.startswith("tau=")) for overrides in runs["override_list"]]
    names = [f"{label} ({other})" if other else label for label, other in zip(runs["label"], rest, strict=True)]
    series = [(str(name), group) for name, group in runs.assign(series=names).groupby("series", sort=False)]
    series = [(name, group) for name, group in series if group["tau"].nunique() > 1]
    if not series:
        raise NoFigure("no head has finished runs at two or more values of tau.")
    return series


def tau_line(ax: Axes, runs: pd.DataFrame, metric: str, order: int, shift: float) -> None:
    style = style_of(order)
    points = [(tau, *t_interval(group[metric])) for tau, group in runs.groupby("tau")]
    tau, mean, half = np.array(points, dtype=float).T
    ax.errorbar(tau + shift, mean, half, **style._asdict(), capsize=2.5, linewidth=1.3)
    ax.plot(runs["tau"] + shift, runs[metric], ".", color=style.color, alpha=0.5, markersize=4)


def tau_floor(ax: Axes, series: list[tuple[str, pd.DataFrame]]) -> None:
    runs = pd.concat([group for _, group in series])
    tau = np.linspace(runs["tau"].min(), runs["tau"].max(), 100)
    for dims in runs["latent"].dropna().unique():
        ax.plot(tau, -dims / 2 * np.log1p(-tau), color=GREY, linewidth=1.2, linestyle=FLOOR_DASHES)


def moment_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """The first finished seed of each of the first groups that recorded moments in both modes."""
    runs = final(runs).dropna(subset=["moments", "moments_train_mode"]).drop_duplicates("order")
    if runs.empty:
        raise NoFigure("no finished run has moments of both modes.")
    return runs.head(MOST_MOMENTS)


def moment_panel(ax: Axes, mu: np.ndarray, mu_sq: np.ndarray, sigma_sq: np.ndarray) -> None:
    """Three moments, each [D], and the sum of the last two."""
    for height in (0, 1):
        ax.axhline(height, color=GREY, linewidth=0.8)
    for (marker, color, _), values in zip(MOMENTS, (mu_sq + sigma_sq, mu_sq, sigma_sq, mu), strict=True):
        ax.plot(np.arange(1, len(values) + 1), values, marker, color=color, markersize=3.2, markeredgewidth=0)
