"""Figures over training: each takes the rows of a study (one per evaluation) and returns a Figure."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .stats import by_group
from .style import (
    COLOURS,
    GREY,
    MOST_GROUPS,
    WIDTH,
    NoFigure,
    Style,
    grid,
    kl_scale,
    legend_right,
    step_axis,
    style_of,
    wrap,
)

TOGETHER = 8  # groups that one panel can carry; more get a panel each
MOST_MAPS = 16


def kl_over_steps(rows: pd.DataFrame) -> Figure:
    """Validation KL in evaluation mode (nats) against step, floors dashed."""
    fig, axes = curve_panels(validation(rows, "kl"), "kl", "validation KL (nats)")
    for ax in axes:
        kl_scale(ax, minor=len(axes) == 1)
    return fig


def learning_curves(rows: pd.DataFrame) -> Figure:
    """Validation nelbo (nats) against step; the axis leaves out the steep first steps."""
    rows = validation(rows, "nelbo")
    fig, axes = curve_panels(rows, "nelbo", "validation nelbo (nats)")
    low, high = nelbo_limits(rows)
    oracle = rows["oracle_valid"].dropna().unique()
    for ax in axes:
        if len(oracle) == 1:
            ax.axhline(oracle[0], color=GREY, linestyle=":", linewidth=1.2)
        ax.set_ylim(low, high)
    return fig


def kl_per_dim(rows: pd.DataFrame) -> Figure:
    """Heat maps [D, evaluations] of validation KL per dimension (nats), dimensions sorted by their last KL."""
    shown = mapped_runs(rows)
    if not shown:
        raise NoFigure("no run has a KL that splits over dimensions.")
    maps = [heat_map(run) for run in shown]
    top = max(max(values.max() for _, values in maps), 1e-3)
    norm = PowerNorm(0.5, 0, top)  # square root: 0.05 nats differ from 0 beside a dimension with 3
    alike = len({len(values) for _, values in maps}) == 1
    fig, axes = grid(len(maps), 4, 1.8, sharey=alike)
    for ax, run, (edges, values) in zip(axes, shown, maps, strict=True):
        image = ax.pcolormesh(edges, np.arange(len(values) + 1), values, norm=norm, cmap="viridis", rasterized=True)
        ax.set_title(wrap(run["group"].iloc[0], 20), fontsize=8)
        ax.set_ylim(len(values), 0)
        ax.grid(False)
        step_axis(ax)
    fig.supxlabel("training step")
    fig.supylabel("latent dimension, sorted by last KL")
    rows_of_panels = -(-len(maps) // 4)
    shrink = min(1.0, 2 / rows_of_panels)
    fig.colorbar(image, ax=axes, label="KL of the dimension (nats)", aspect=25, shrink=shrink, anchor=(0, 1))
    return fig


# ---- parts --------------------------------------------------------------------------------------------------------

END_MARKERS = {"unfinished": "o", "failed": "x"}
FLOOR: dict[str, Any] = {"color": "#222222", "linestyle": (0, (4, 3)), "linewidth": 1.0, "zorder": 5}


def validation(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Evaluation-mode validation rows that have the column."""
    rows = rows[(rows["split"] == "valid") & (rows["mode"] == "eval")].dropna(subset=[column])
    if rows.empty:
        raise NoFigure(f"no validation row has {column} yet.")
    return rows


def curve_panels(
    rows: pd.DataFrame,
    column: str,
    ylabel: str,
    xlabel: str = "training step",
    x_axis: Callable[[Axes], None] = step_axis,
) -> tuple[Figure, list[Axes]]:
    """One panel with a legend for few groups; else one panel per group before the grey means of all.

    Rows have the abscissa in `step`, whatever it is.
    """
    groups = by_group(rows)
    if len(groups) <= TOGETHER:
        fig = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        ax = fig.subplots()
        for order, group in groups:
            draw_group(ax, group, column, style_of(order))
        ax.set(xlabel=xlabel, ylabel=ylabel)
        x_axis(ax)
        legend_right(fig, list(legend_lines(rows, column)))
        return fig, [ax]
    fig, axes = grid(len(groups[:MOST_GROUPS]), 4, 1.45, sharex=True, sharey=True)
    means = [
        np.column_stack([line.index, line])
        for _, group in groups[:MOST_GROUPS]
        if len(line := mean_line(group, column))
    ]
    for ax, (_, group) in zip(axes, groups, strict=False):
        ax.add_collection(LineCollection(means, colors="#cfcfcf", linewidths=0.6))
        draw_group(ax, group, column, Style(COLOURS[0], "", "-"))
        ax.set_title(wrap(group["group"].iloc[0], 24), fontsize=8)
        x_axis(ax)
    fig.supxlabel(xlabel)
    fig.supylabel(ylabel)
    return fig, axes


def draw_group(ax: Axes, rows: pd.DataFrame, column: str, style: Style) -> None:
    for _, run in rows.groupby("run"):
        draw_seed(ax, run, column, style.color)
    line = mean_line(rows, column)
    ax.plot(line.index, line, **style._asdict(), markevery=max(1, len(line) // 7))
    floor = rows.groupby("step")["floor"].mean().dropna() if column == "kl" else pd.Series(dtype=float)
    ax.plot(floor.index, floor, **FLOOR)  # on top: a head that keeps its promise exactly must not hide it


def draw_seed(ax: Axes, run: pd.DataFrame, column: str, color: str) -> None:
    """[T] evaluations of one run; dashed with a mark at its end unless it is finished."""
    status = run["status"].iloc[0]
    ax.plot(
        run["step"], run[column], color=color, linewidth=0.7, alpha=0.6, linestyle="-" if status == "done" else "--"
    )
    if status != "done":
        end = run.iloc[-1]
        ax.plot(end["step"], end[column], END_MARKERS[status], color=color, mfc="white", ms=6, mew=1.4, zorder=4)


def mean_line(rows: pd.DataFrame, column: str) -> pd.Series:
    """Mean over the finished seeds, at the steps where each of them has a row: its n never changes along the line."""
    wide = rows[rows["status"] == "done"].pivot(index="step", columns="run", values=column)
    return wide.dropna().mean(axis=1)


def legend_lines(rows: pd.DataFrame, column: str) -> Iterable[Line2D]:
    for order, group in by_group(rows):
        yield Line2D([], [], **style_of(order)._asdict(), label=wrap(group["group"].iloc[0]))
    if column == "kl" and rows["floor"].notna().any():
        yield Line2D([], [], **FLOOR, label="promised floor")
    for status, marker in END_MARKERS.items():
        if status in rows["status"].values:
            yield Line2D([], [], color=GREY, ls="--", lw=0.7, marker=marker, mfc="white", label=f"{status} run")


def nelbo_limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Limits that hold every value after the first fifth of training, with the oracle below them."""
    late = rows[rows["step"] >= 0.2 * rows["step"].max()]["nelbo"]
    low = np.nanmin([rows["nelbo"].min(), rows["oracle_valid"].min()])
    high = late.max() if len(late) else rows["nelbo"].max()
    margin = 0.06 * max(high - low, 0.1)
    return low - margin, high + margin


def mapped_runs(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Validation rows of one run for each of the first groups whose KL splits: its first seed, finished ones first."""
    rows = validation(rows, "kl")
    rows = rows[rows["kl_per_dim"].map(len) > 1]
    rows = rows.assign(late=rows["status"] != "done").sort_values(["order", "late", "seed", "step"])
    first = rows.drop_duplicates("order")["run"].head(MOST_MAPS)
    return [rows[rows["run"] == run] for run in first]


def heat_map(run: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Edges between evaluations [T+1] in steps and KL [D, T] in nats, sorted by the last column."""
    values = np.stack([v for v in run["kl_per_dim"] if len(v) == len(run["kl_per_dim"].iloc[-1])], axis=1)
    steps = run["step"].to_numpy(dtype=float)[-values.shape[1] :]
    middles = (steps[1:] + steps[:-1]) / 2
    edges = np.concatenate([steps[:1], middles, steps[-1:]]) if len(steps) > 1 else np.array([0.0, max(steps[0], 1.0)])
    return edges, values[np.argsort(-values[:, -1], kind="stable")]
