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

from .stats import by_group, outlying
from .style import (
    COLOURS,
    GREY,
    MOST_GROUPS,
    MOST_LARGE,
    PLAIN,
    WIDTH,
    NoFigure,
    Style,
    alike,
    crowded,
    grid,
    kl_scale,
    legend_above,
    legend_right,
    panel_title,
    slot_key,
    step_axis,
    style_of,
    wrap,
)

TOGETHER = 8  # groups that one panel can carry; more get a panel each


def kl_over_steps(rows: pd.DataFrame) -> Figure:
    """Validation KL in evaluation mode (nats) against step, floors dashed."""
    fig, axes = curve_panels(validation(rows, "kl"), "kl", "validation KL (nats)")
    for ax in axes:
        kl_scale(ax, minor=len(axes) == 1)
    alike(axes)
    return fig


def learning_curves(rows: pd.DataFrame) -> Figure:
    """Validation nelbo (nats) against step; the axis leaves out the steep first steps, and runs far above all others."""
    rows = validation(rows, "nelbo")
    fig, axes = curve_panels(rows, "nelbo", "validation nelbo (nats)")
    above = far_above(rows)
    low, high = nelbo_limits(rows[~rows["order"].isin(above)])
    for order, value in above.items():
        name = (
            f"{wrap(rows.loc[rows['order'] == order, 'group'].iloc[0])} " if len(axes) == 1 else ""
        )
        ax = axes[0] if len(axes) == 1 else axes[sorted(rows["order"].unique()).index(order)]
        ax.text(
            0.98,
            0.96,
            f"{name}↑ {value:,.4g}",
            transform=ax.transAxes,
            ha="right",
            va="top",
            fontsize=8,
        )
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
    top, above = map_top(
        [
            (int(run["order"].iloc[0]), np.nanmax(values))
            for run, (_, values) in zip(shown, maps, strict=True)
        ]
    )
    norm = PowerNorm(0.5, 0, top)  # square root: 0.05 nats differ from 0 beside a dimension with 3
    same = len({len(values) for _, values in maps}) == 1
    fig, axes = grid(len(maps), 4, 1.8, outer="y" * same, key=0.0)
    for ax, run, (edges, values) in zip(axes, shown, maps, strict=True):
        image = ax.pcolormesh(
            edges, np.arange(len(values) + 1), values, norm=norm, cmap="viridis", rasterized=True
        )
        panel_title(ax, run["group"].iloc[0], len(maps))
        ax.set_ylim(len(values), 0)
        ax.grid(False)
        step_axis(ax, 5 if len(maps) <= MOST_LARGE else 3)
    fig.supxlabel("training step")
    fig.supylabel("latent dimension, sorted by last KL")
    shrink = min(1.0, 3.6 / fig.get_figheight())
    place = {"fraction": 0.1, "pad": 0.03} if len(maps) > MOST_LARGE else {}
    bar: dict[str, Any] = {"aspect": 25, "shrink": shrink, "anchor": (0, 1), **place}
    fig.colorbar(
        image,
        ax=axes,
        label="KL of the dimension (nats)",
        extend="max" if above else "neither",
        **bar,
    )
    return fig


# ---- parts --------------------------------------------------------------------------------------------------------

END_MARKERS = {"unfinished": "o", "failed": "x"}
FLOOR: dict[str, Any] = {
    "color": "#222222",
    "linestyle": (0, (4, 3)),
    "linewidth": 1.0,
    "zorder": 5,
}


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
        for _, group in groups:
            draw_group(ax, group, column, style_of(group))
        ax.set(xlabel=xlabel, ylabel=ylabel)
        x_axis(ax)
        legend_right(fig, list(legend_lines(rows, column)))
        return fig, [ax]
    panels = min(len(groups), MOST_GROUPS)
    fig, axes = grid(panels, 4, 1.45, outer="xy")
    lines = [mean_line(group, column) for _, group in groups[:MOST_GROUPS]]
    means = [np.column_stack([line.index, line]) for line in lines if len(line)]
    for ax, line, (_, group) in zip(axes, lines, groups, strict=False):
        ax.add_collection(LineCollection(means, colors="#cfcfcf", linewidths=0.6))
        color = style_of(group).color if crowded(group) else COLOURS[0]
        draw_group(ax, group, column, Style(color, "", "-"), line)
        panel_title(ax, group["group"].iloc[0], panels, color if crowded(group) else PLAIN)
        x_axis(ax)
    alike(axes)
    fig.supxlabel(xlabel)
    fig.supylabel(ylabel)
    if crowded(rows):
        keys = [
            Line2D([], [], color=key.get_color(), label=key.get_label()) for key in slot_key(rows)
        ]
        legend_above(fig, keys, columns=6)
    return fig, axes


def draw_group(
    ax: Axes, rows: pd.DataFrame, column: str, style: Style, line: pd.Series | None = None
) -> None:
    """Every seed, their mean (`line` where it is known already), and the floor beside a KL."""
    for _, run in rows.groupby("run"):
        draw_seed(ax, run, column, style.color)
    line = mean_line(rows, column) if line is None else line
    ax.plot(line.index, line, **style._asdict(), markevery=max(1, len(line) // 7))
    floor = (
        rows.groupby("step")["floor"].mean().dropna() if column == "kl" else pd.Series(dtype=float)
    )
    ax.plot(
        floor.index, floor, **FLOOR
    )  # on top: a head that keeps its promise exactly must not hide it


def draw_seed(ax: Axes, run: pd.DataFrame, column: str, color: str) -> None:
    """[T] evaluations of one run; dashed with a mark at its end unless it is finished."""
    status = run["status"].iloc[0]
    ax.plot(
        run["step"],
        run[column],
        color=color,
        linewidth=0.7,
        alpha=0.6,
        linestyle="-" if status == "done" else "--",
    )
    if status != "done":
        end = run.iloc[-1]
        ax.plot(
            end["step"],
            end[column],
            END_MARKERS[status],
            color=color,
            mfc="white",
            ms=6,
            mew=1.4,
            zorder=4,
        )


def mean_line(rows: pd.DataFrame, column: str) -> pd.Series:
    """Mean over the finished seeds, at the steps where each of them has a row: its n never changes along the line."""
    wide = rows[rows["status"] == "done"].pivot(index="step", columns="run", values=column)
    return wide.dropna().mean(axis=1)


def legend_lines(rows: pd.DataFrame, column: str) -> Iterable[Line2D]:
    for _, group in by_group(rows):
        yield Line2D([], [], **style_of(group)._asdict(), label=wrap(group["group"].iloc[0]))
    if column == "kl" and rows["floor"].notna().any():
        yield Line2D([], [], **FLOOR, label="promised floor")
    for status, marker in END_MARKERS.items():
        if status in rows["status"].values:
            yield Line2D(
                [],
                [],
                color=GREY,
                ls="--",
                lw=0.7,
                marker=marker,
                mfc="white",
                label=f"{status} run",
            )


def nelbo_limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Limits that hold every value after the first fifth of training, with the oracle below them."""
    late = rows[rows["step"] > 0.2 * rows["step"].max()]["nelbo"]
    low = np.nanmin([rows["nelbo"].min(), rows["oracle_valid"].min()])
    high = late.max() if len(late) else rows["nelbo"].max()
    margin = 0.06 * max(high - low, 0.1)
    return low - margin, high + margin


def far_above(rows: pd.DataFrame) -> dict[int, float]:
    """Group -> mean of its runs' last nelbo (nats), for groups with a run that ends far above all others."""
    last = rows.drop_duplicates("run", keep="last")
    far = outlying(last, "nelbo") & (last["nelbo"] > last["nelbo"].median())
    means = last.groupby("order")["nelbo"].mean()
    return {int(order): float(means[order]) for order in sorted(last.loc[far, "order"].unique())}


def map_top(tops: list[tuple[int, float]]) -> tuple[float, bool]:
    """End of the colour scale (nats) from each group's highest KL of a dimension, and whether some lie beyond it."""
    frame = pd.DataFrame(tops, columns=["order", "top"])
    far = outlying(frame, "top")
    return max(float(frame.loc[~far, "top"].max()), 1e-3), bool(far.any())


def mapped_runs(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Validation rows of one run for each of the first groups whose KL splits: its first seed, finished ones first."""
    rows = validation(rows, "kl")
    rows = rows[
        rows["kl_per_dim"].map(lambda values: len(values) > 1 and bool(np.isfinite(values).any()))
    ]
    rows = rows.assign(late=rows["status"] != "done").sort_values(["order", "late", "seed", "step"])
    first = rows.drop_duplicates("order")["run"].head(MOST_GROUPS)
    return [rows[rows["run"] == run] for run in first]


def heat_map(run: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Edges between evaluations [T+1] in steps and KL [D, T] in nats, sorted by the last column."""
    run = run[run["kl_per_dim"].map(len) == len(run["kl_per_dim"].iloc[-1])]
    values = np.stack(run["kl_per_dim"].tolist(), axis=1)
    steps = run["step"].to_numpy(dtype=float)
    middles = (steps[1:] + steps[:-1]) / 2
    edges = (
        np.concatenate([steps[:1], middles, steps[-1:]])
        if len(steps) > 1
        else np.array([0.0, max(steps[0], 1.0)])
    )
    return edges, values[np.argsort(-values[:, -1], kind="stable")]
