"""Figures of final test metrics: each takes the runs of a study (one row each) and returns a Figure."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .checked import MOMENT_KEYS
from .stats import against_plain, by_group, finished, outlying, relative_time, t_interval
from .style import (
    GREY,
    MOST_GROUPS,
    WIDTH,
    NoFigure,
    alike,
    crowded,
    cut,
    grid,
    kl_scale,
    legend_above,
    legend_below,
    legend_right,
    panel_title,
    slot_key,
    style_by_order,
    style_of,
    wrap,
)

MOST_MOMENTS = 8  # groups with a row of two panels each; more have one panel each
MOST_ROOMY = 20  # groups on lines with room for two rows of text; more are set tighter, so that they fit a page
TRAINING: dict[str, Any] = {"color": "#D55E00", "linewidth": 0.9}
FLOOR_DASHES = (0, (4, 3))
MOMENTS = (
    ("D", "#000000", "E[mu²] + E[sigma²], wants 1"),
    ("o", "#0072B2", "E[mu²]"),
    ("s", "#E69F00", "E[sigma²]"),
    ("^", "#009E73", "E[mu], wants 0"),
)


def usage(runs: pd.DataFrame) -> Figure:
    """Active units and shuffled-z gap (nats) per group: seeds as points, mean and t-interval."""
    runs = ranked(first_groups(final(runs)), "shuffle_gap")
    fig, axes = rows_figure(runs, 2)
    dots(axes[0], runs, "au")
    dots(axes[1], runs, "shuffle_gap", outlying(runs, "shuffle_gap"))
    for ax, label in zip(axes, ("active units", "shuffled-z gap (nats)"), strict=True):
        ax.set_xlabel(label)
        ax.axvline(0, color=GREY, linewidth=0.8)
    dims = runs["latent"].dropna().unique()
    if len(dims) == 1:
        axes[0].axvline(dims[0], color=GREY, linestyle=":", linewidth=1.2)
        axes[0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    slots_below(fig, runs)
    return fig


def cost(runs: pd.DataFrame) -> Figure:
    """nll minus plain's (nats, test, paired by seed) and seconds per step relative to plain's, per group."""
    runs = ranked(first_groups(costs(runs)), "d_nll", ascending=True)
    fig, axes = rows_figure(runs, 2)
    dots(axes[0], runs, "d_nll", outlying(runs, "d_nll"))
    axes[0].axvline(0, color=GREY, linewidth=0.8)
    axes[0].set_xlabel("nll - plain's (nats)")
    axes[1].axvline(1, color=GREY, linewidth=0.8)
    axes[1].set_xlabel("seconds per step / plain's")
    wide = runs["relative_time"].max() > 3 * runs["relative_time"].min() > 0
    axes[1].set_xscale("log" if wide else "linear")
    dots(axes[1], runs, "relative_time")
    if wide:
        axes[1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes[1].xaxis.set_minor_formatter(NullFormatter())
    slots_below(fig, runs)
    return fig


def costs(runs: pd.DataFrame) -> pd.DataFrame:
    """Finished runs with `d_nll`, nll minus plain's at the same seed (nats), and `relative_time`; plain itself left out."""
    both = final(runs).assign(d_nll=against_plain(runs, "nll"), relative_time=relative_time(runs))
    both = both[both["head"] != "plain"].dropna(subset=["d_nll"])
    if both.empty:
        raise NoFigure(
            "no finished run has an nll beside plain's at the same seed (scripts/evaluate.py makes nll)."
        )
    return both


def train_vs_eval(runs: pd.DataFrame) -> Figure:
    """Test KL (nats) of every run in training mode (open) and in evaluation mode (filled), joined; floors as bars."""
    runs = first_groups(final(runs).dropna(subset=["kl_train_mode", "kl"]))
    if runs.empty:
        raise NoFigure("no finished run has the KL of both modes.")
    runs = ranked(runs, "kl")
    fig, (ax,) = rows_figure(runs, 1)
    size = 3.2 if crowded(runs) else 4.5
    for y, (_, group) in enumerate(by_group(runs)):
        color, marker, _ = style_of(group)
        heights = y + spread(len(group), 0.22)
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
    kl_scale(ax, "x")
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
        legend_below(fig, [*marks, *slot_key(runs)])
    else:
        legend_right(fig, marks)
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
    handles = [
        Line2D([], [], **style_by_order(i)._asdict(), label=wrap(name, 40))
        for i, (name, _) in enumerate(series, 1)
    ]
    handles.append(
        Line2D(
            [],
            [],
            color=GREY,
            linewidth=1.2,
            linestyle=FLOOR_DASHES,
            label="floor: -(d/2) ln(1 - tau)",
        )
    )
    legend_above(fig, handles, columns=3)
    return fig


def moments(runs: pd.DataFrame) -> Figure:
    """Per dimension E[mu], E[mu^2], E[sigma^2] and their sum on test, in both modes; a row of two panels or one per group."""
    shown = moment_runs(runs)
    if len(shown) > MOST_MOMENTS:
        return small_moments(shown)
    fig, axes = grid(2 * len(shown), 2, 1.1, sharex=True, sharey="row")
    for i, run in enumerate(shown.to_dict("records")):
        pair = axes[2 * i : 2 * i + 2]
        rank = np.argsort(-np.array(run["moments"]["mu_sq"]), kind="stable")
        for ax, mode in zip(pair, ("moments_train_mode", "moments"), strict=True):
            moment_panel(ax, *(np.array(run[mode][key], dtype=float)[rank] for key in MOMENT_KEYS))
        pair[0].set_ylim(bottom=min(-0.25, min(ax.dataLim.y0 for ax in pair) - 0.1))
        pair[1].text(
            1.02, 0.5, wrap(run["group"], 18), transform=pair[1].transAxes, va="center", fontsize=8
        )
    axes[0].xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes[0].set_title("training mode (batch statistics)")
    axes[1].set_title("evaluation mode (population statistics)")
    fig.supxlabel("latent dimension, sorted by E[mu²] in evaluation mode")
    handles = [
        Line2D([], [], marker=marker, color=color, linestyle="", label=text)
        for marker, color, text in MOMENTS
    ]
    legend_above(fig, handles, columns=4)
    return fig


# ---- parts of several ------------------------------------------------------------------------------------------------


def final(runs: pd.DataFrame) -> pd.DataFrame:
    runs = finished(runs)
    if runs.empty:
        raise NoFigure("no run is finished yet.")
    return runs


def measured(runs: pd.DataFrame, *metrics: str) -> pd.DataFrame:
    """The finished runs that have all of the metrics."""
    runs = final(runs).dropna(subset=list(metrics))
    if runs.empty:
        raise NoFigure(f"no finished run has {', '.join(metrics[:-1])} and {metrics[-1]}.")
    return runs


def first_groups(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["order"].isin(runs["order"].unique()[:MOST_GROUPS])]


def rows_figure(runs: pd.DataFrame, columns: int) -> tuple[Figure, list[Axes]]:
    """Panels side by side with one labelled line per group, the first on top."""
    names = [group["group"].iloc[0] for _, group in by_group(runs)]
    roomy = len(names) <= MOST_ROOMY
    height = 0.36 * max(len(names), 2) if roomy else 0.19 * len(names)
    fig = Figure(figsize=(WIDTH, 0.8 + height), layout="constrained")
    axes = list(fig.subplots(1, columns, sharey=True, squeeze=False).flat)
    axes[0].set_yticks(
        range(len(names)), [wrap(name, 30, lines=3) if roomy else cut(name, 48) for name in names]
    )
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    if not roomy:
        axes[0].tick_params(axis="y", labelsize=7)
    for ax in axes:
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
    return fig, axes


def dots(
    ax: Axes,
    runs: pd.DataFrame,
    metric: str,
    far: pd.Series | None = None,
    lines: dict[int, int] | None = None,
) -> None:
    """Seeds, mean and t-interval of each group; a group with a seed that is `far` is an arrow at the edge with its mean.

    lines: group -> its height, where not each group is in runs.
    """
    groups = by_group(runs)
    size = 1.0 if len(lines or groups) <= MOST_ROOMY else 0.65
    outside = set(runs.loc[far, "order"]) if far is not None else set()
    inside = runs.loc[~runs["order"].isin(outside), metric].dropna()
    for y, (order, group) in enumerate(groups):
        y = lines[order] if lines else y
        color, marker, _ = style_of(group)
        mean, half = t_interval(group[metric])
        if order in outside:
            edge_value(ax, y, mean, mean > inside.median(), color)
            continue
        heights = y + 0.22 + spread(len(group), 0.1)
        ax.plot(
            group[metric],
            heights,
            marker,
            color=color,
            alpha=0.55,
            markersize=4 * size,
            markeredgewidth=0,
        )
        bar: dict[str, Any] = {"markersize": 9 * size, "capsize": 2.5 * size, "linewidth": 1.3}
        ax.errorbar(mean, y - 0.12, xerr=half, color=color, marker="|", **bar)
    trim(ax, inside)


def trim(ax: Axes, values: pd.Series) -> None:
    """No more than 0.6 of the span of [N] values beside them: two seeds alone have bars of 13 times their distance."""
    room = 0.6 * np.ptp(values) if len(values) else 0
    (low, high), (first, last) = ax.get_xlim(), (values.min() - room, values.max() + room)
    if room and (low < first or high > last):
        ax.set_xlim(max(low, first), min(high, last))


def edge_value(ax: Axes, y: float, value: float, right: bool, color: str) -> None:
    """An arrow at the right or left edge, with the value that lies beyond it."""
    text = f"{value:,.4g} →" if right else f"← {value:,.4g}"
    place: dict[str, Any] = {
        "transform": ax.get_yaxis_transform(),
        "ha": "right" if right else "left",
    }
    ax.text(0.995 if right else 0.005, y, text, va="center", fontsize=7, color=color, **place)


def ranked(runs: pd.DataFrame, metric: str, ascending: bool = False) -> pd.DataFrame:
    """In a crowd, the groups in the order of their means; few groups stay where they are in every figure."""
    if not crowded(runs):
        return runs
    means = runs.groupby("order")[metric].mean().sort_values(ascending=ascending, kind="stable")
    return runs.assign(order=runs["order"].map({order: i for i, order in enumerate(means.index)}))


def slots_below(fig: Figure, runs: pd.DataFrame) -> None:
    if crowded(runs):
        legend_below(fig, slot_key(runs), columns=6)


def spread(n: int, width: float) -> np.ndarray:
    """[n] offsets between -width and width, so that equal seeds do not hide each other."""
    return np.linspace(-width, width, n) if n > 1 else np.zeros(1)


# ---- parts of the tau grid and of the moments ------------------------------------------------------------------------


def tau_series(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Finished runs of heads with at least two values of tau, apart by label and by the overrides other than tau."""
    runs = final(runs).dropna(subset=["tau"])
    rest = [
        ", ".join(o for o in overrides if not o.startswith("tau="))
        for overrides in runs["override_list"]
    ]
    names = [
        f"{label} ({other})" if other else label
        for label, other in zip(runs["label"], rest, strict=True)
    ]
    parts = [
        group for _, group in runs.assign(series=names).groupby(["head", "series"], sort=False)
    ]
    series = [(str(part["series"].iloc[0]), part) for part in parts if part["tau"].nunique() > 1]
    if not series:
        raise NoFigure("no head has finished runs at two or more values of tau.")
    return series


def tau_line(ax: Axes, runs: pd.DataFrame, metric: str, order: int, shift: float) -> None:
    style = style_by_order(order)
    points = [(tau, *t_interval(group[metric])) for tau, group in runs.groupby("tau")]
    tau, mean, half = np.array(points, dtype=float).T
    ax.errorbar(tau + shift, mean, half, **style._asdict(), capsize=2.5, linewidth=1.3)
    ax.plot(
        runs["tau"] + shift,
        runs[metric],
        "o",
        color=style.color,
        mec="white",
        mew=0.5,
        ms=4,
        zorder=3,
    )


def tau_floor(ax: Axes, series: list[tuple[str, pd.DataFrame]]) -> None:
    runs = pd.concat([group for _, group in series])
    tau = np.linspace(runs["tau"].min(), runs["tau"].max(), 100)
    tau = tau[tau < 1]  # above it nothing is promised
    for dims in runs["latent"].dropna().unique():
        ax.plot(tau, -dims / 2 * np.log1p(-tau), color=GREY, linewidth=1.2, linestyle=FLOOR_DASHES)


def moment_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """The first finished seed of each of the first groups that recorded moments in both modes."""
    runs = final(runs)
    runs = runs[runs["moments"].notna() & runs["moments_train_mode"].notna()].drop_duplicates(
        "order"
    )
    if runs.empty:
        raise NoFigure("no finished run has moments of both modes.")
    return runs.head(MOST_GROUPS)


def small_moments(shown: pd.DataFrame) -> Figure:
    """One panel per run: evaluation mode, and the sum of training mode as a line; one axis from -0.4 to 2.4 for all."""
    fig, axes = grid(len(shown), 4, 1.3, outer="xy")
    for ax, run in zip(axes, shown.to_dict("records"), strict=True):
        evaluation, training = (
            {key: np.array(run[mode][key], dtype=float) for key in MOMENT_KEYS}
            for mode in ("moments", "moments_train_mode")
        )
        rank = np.argsort(-evaluation["mu_sq"], kind="stable")
        total = (training["mu_sq"] + training["sigma_sq"])[rank]
        ax.plot(np.arange(1, len(rank) + 1), total, **TRAINING)
        moment_panel(ax, *(evaluation[key][rank] for key in MOMENT_KEYS), size=1.9)
        if (top := (evaluation["mu_sq"] + evaluation["sigma_sq"]).max()) > 2.4:
            ax.text(
                0.98,
                0.97,
                f"↑ to {top:,.3g}",
                transform=ax.transAxes,
                ha="right",
                va="top",
                fontsize=7,
            )
        panel_title(ax, run["group"], len(shown))
        ax.set_ylim(-0.4, 2.4)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    alike(axes)
    fig.supxlabel("latent dimension, sorted by E[mu²]")
    handles = [
        Line2D([], [], marker=marker, color=color, linestyle="", label=text)
        for marker, color, text in MOMENTS
    ]
    handles.append(Line2D([], [], **TRAINING, label="E[mu²] + E[sigma²], training mode"))
    legend_above(fig, handles, columns=3)
    return fig


def moment_panel(
    ax: Axes, mu: np.ndarray, mu_sq: np.ndarray, sigma_sq: np.ndarray, *, size: float = 3.2
) -> None:
    """Three moments, each [D], and the sum of the last two."""
    for height in (0, 1):
        ax.axhline(height, color=GREY, linewidth=0.8)
    for (marker, color, _), values in zip(
        MOMENTS, (mu_sq + sigma_sq, mu_sq, sigma_sq, mu), strict=True
    ):
        ax.plot(
            np.arange(1, len(values) + 1),
            values,
            marker,
            color=color,
            markersize=size,
            markeredgewidth=0,
        )
