"""Figures of what the code carries: the parts of the rate, collapsed dimensions, and what a linear probe reads."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from .checked import MOST_FACTORS
from .curves import TOGETHER, curve_panels, draw_group, mean_line
from .finals import dots, edge_value, final, first_groups, measured, ranked, rows_figure, spread
from .stats import by_group, outlying
from .style import (
    NoFigure,
    crowded,
    grid,
    legend_below,
    legend_right,
    short_count,
    slot_key,
    style_of,
    wrap,
)

PARTS = {  # colour and hatch, so that the parts differ on a grey print too
    "mi": ("#0072B2", "", "mi"),
    "total_correlation": ("#E69F00", "////", "total correlation"),
    "dimension_kl": ("#56B4E9", "....", "sum of the dimensions' marginal KL"),
    "marginal_kl": ("#CC79A7", "xxxx", "marginal KL, not split"),
}
SATURATED = " *"
CHANCE: dict[str, Any] = {"color": "#222222", "linestyle": ":", "linewidth": 1.3, "zorder": 1.5}
ORACLE: dict[str, Any] = {
    "color": "#222222",
    "linestyle": (0, (5, 3)),
    "linewidth": 1.1,
    "zorder": 1.5,
}


def rate_parts(runs: pd.DataFrame) -> Figure:
    """kl = mi + total correlation + sum_j KL(q(z_j)||p) (nats, test): stacked means per group, seeds as points."""
    runs = ranked(first_groups(measured(runs, "mi", "marginal_kl", "kl")), "kl")
    fig, (ax,) = rows_figure(starred(runs), 1)
    far = set(runs.loc[outlying(runs, "kl"), "order"])
    for y, (order, group) in enumerate(by_group(runs)):
        if order in far:
            edge_value(ax, y, group["kl"].mean(), True, "black")
            continue
        left = 0.0
        for part, width in parts_of(group).items():
            color, hatch, _ = PARTS[part]
            ax.barh(y, width, 0.6, left, color=color, hatch=hatch, edgecolor="white", linewidth=0)
            left += width
        ax.plot(
            group["kl"],
            y + spread(len(group), 0.18),
            "o",
            color="black",
            mec="white",
            mew=0.7,
            ms=3.4 if crowded(runs) else 4.5,
        )
    ax.set_xlim(left=0)
    ax.set_xlabel("nats per example")
    (legend_below if crowded(runs) else legend_right)(fig, parts_key(runs))
    return fig


def collapse_curves(runs: pd.DataFrame) -> Figure:
    """Share of dimensions whose KL stays below eps (nats) for nearly all x, against eps."""
    rows = collapse_rows(runs)
    fig, axes = curve_panels(rows, "share", "share of collapsed dimensions", "eps (nats)", eps_axis)
    for ax in axes:
        ax.set_ylim(-0.04, 1.04)
    return fig


def probe(runs: pd.DataFrame) -> Figure:
    """Accuracy of a linear classifier on mu against the number of labels, one panel per factor."""
    rows = first_groups(probe_rows(runs))
    if crowded(rows):
        return probe_of_crowd(rows)
    fig, axes = probe_panels(rows)
    bounds(axes, rows, "axhline")
    return fig


def probe_of_crowd(rows: pd.DataFrame) -> Figure:
    """One panel per group with the mean over the factors."""
    rows = rows.groupby(
        ["run", "order", "group", "slot", "crowded", "status", "step"], as_index=False
    )[["accuracy", "chance", "oracle"]].mean()
    budgets = sorted(rows["step"].unique())
    fig, axes = curve_panels(
        rows,
        "accuracy",
        "accuracy, mean over the factors",
        "labelled examples",
        partial(label_axis, budgets=budgets),
    )
    for ax in axes:
        for line, style in (("chance", CHANCE), ("oracle", ORACLE)):
            ax.axhline(rows[line].mean(), **style)
    return fig


def probe_final(runs: pd.DataFrame) -> Figure:
    """The same at the largest number of labels, one column per factor, seeds as points, mean and t-interval."""
    rows = ranked(first_groups(probe_rows(runs)), "accuracy")
    fig, axes = probe_at_most_labels(rows)
    bounds(axes, rows, "axvline")
    return fig


def bounds(axes: list[Axes], rows: pd.DataFrame, draw: str) -> None:
    """Chance and the ideal classifier, a line across each factor's panel."""
    for ax, (_, factor) in zip(axes, rows.groupby("factor", sort=False), strict=True):
        for line, style in (("chance", CHANCE), ("oracle", ORACLE)):
            for value in factor[line].dropna().unique():
                getattr(ax, draw)(value, **style)


# ---- parts of the rate -----------------------------------------------------------------------------------------------


def parts_of(runs: pd.DataFrame) -> dict[str, float]:
    """Means (nats) of the parts of one group's kl, negative ones as 0; marginal_kl whole where a run lacks parts."""
    split = runs[["total_correlation", "dimension_kl"]].notna().all(axis=None)
    names = ("mi", "total_correlation", "dimension_kl") if split else ("mi", "marginal_kl")
    return {name: max(float(runs[name].mean()), 0.0) for name in names}


def starred(runs: pd.DataFrame) -> pd.DataFrame:
    """Group names with a star where the mi of a seed is saturated."""
    saturated = runs["order"].isin(runs.loc[runs["mi_saturated"] == 1, "order"])
    return runs.assign(group=runs["group"] + np.where(saturated, SATURATED, ""))


def parts_key(runs: pd.DataFrame) -> list[Any]:
    used = {part for _, group in by_group(runs) for part in parts_of(group)}
    bars = [
        Patch(facecolor=color, hatch=hatch, edgecolor="white", linewidth=0, label=wrap(label, 22))
        for part, (color, hatch, label) in PARTS.items()
        if part in used
    ]
    return [
        *bars,
        Line2D(
            [], [], marker="o", color="black", mec="white", ls="", label=wrap("kl of each seed", 22)
        ),
    ]


# ---- parts of the collapse curves ------------------------------------------------------------------------------------


def collapse_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run and eps (as `step`, nats) with the share of collapsed dimensions, for `curve_panels`."""
    runs = final(runs)
    rows = [
        labels | {"step": eps, "share": share, "delta": curve["delta"]}
        for curve, labels in zip(runs["collapse"], labels_of(runs), strict=True)
        if curve
        for eps, share in zip(curve["eps"], curve["share"], strict=True)
    ]
    if not rows:
        raise NoFigure("no finished run has a collapse curve.")
    return pd.DataFrame(rows)


def labels_of(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """What every row of a run repeats."""
    return runs[["run", "order", "group", "slot", "crowded", "seed", "status"]].to_dict("records")  # type: ignore[return-value]


def eps_axis(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


# ---- parts of the probe ----------------------------------------------------------------------------------------------


def probe_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run, factor and number of labels (as `step`) with accuracy, chance and oracle, all shares of 1."""
    runs = final(runs)
    pairs = zip(runs["probe_curves"], labels_of(runs), strict=True)
    rows = [
        labels
        | {
            "step": budget,
            "accuracy": accuracy,
            "factor": factor,
            "chance": curve["chance"],
            "oracle": curve["oracle"],
        }
        for curves, labels in pairs
        for factor, curve in curves.items()
        for budget, accuracy in curve["points"]
    ]
    if not rows:
        raise NoFigure(
            "no finished run has probe curves (scripts/evaluate.py makes them where factors are known)."
        )
    frame = pd.DataFrame(rows)
    return frame[frame["factor"].isin(frame["factor"].drop_duplicates()[:MOST_FACTORS])]


def probe_panels(rows: pd.DataFrame) -> tuple[Figure, list[Axes]]:
    """Accuracy against labels (log), one panel per factor, one line per group."""
    factors = rows.groupby("factor", sort=False)
    fig, axes = grid(len(factors), 3, 1.7, sharex=True, sharey=True)
    many = rows["order"].nunique() > TOGETHER
    for ax, (name, factor) in zip(axes, factors, strict=True):
        for _, group in by_group(factor):
            style = style_of(group)
            if many:  # thin lines of seeds would hide each other
                line = mean_line(group, "accuracy")
                ax.plot(line.index, line, **style._asdict(), linewidth=1.1, markersize=3)
            else:
                draw_group(ax, group, "accuracy", style)
            ax.plot(
                group["step"], group["accuracy"], ".", color=style.color, markersize=3, alpha=0.6
            )
        ax.set_title(wrap(str(name), 24))
        label_axis(ax, sorted(rows["step"].unique()))
    for ax in axes[-3:]:  # no supxlabel: the legend would cover it
        ax.set_xlabel("labelled examples")
    for ax in axes[::3]:
        ax.set_ylabel("accuracy")
    legend_below(fig, [*group_key(rows), *line_key(rows)])
    return fig, axes


def probe_at_most_labels(rows: pd.DataFrame) -> tuple[Figure, list[Axes]]:
    """Accuracy at each run's largest number of labels, one column per factor, one line of points per group."""
    rows = rows[rows["step"] == rows.groupby(["run", "factor"])["step"].transform("max")]
    factors = rows.groupby("factor", sort=False)
    fig, axes = rows_figure(rows, len(factors))
    lines = {order: y for y, (order, _) in enumerate(by_group(rows))}
    for ax, (name, factor) in zip(axes, factors, strict=True):
        dots(ax, factor, "accuracy", lines=lines)
        ax.set_title(wrap(str(name), 14))
        ax.set_xlabel("accuracy")
        ax.margins(x=0.1)
        ax.xaxis.set_major_locator(MaxNLocator(3))
    legend_below(fig, [*(slot_key(rows) if crowded(rows) else []), *line_key(rows)])
    return fig, axes


def label_axis(ax: Axes, budgets: list[float]) -> None:
    """Logarithmic, with a tick at every budget and a number at powers of ten, or at the ends where few are there."""
    named = [budget for budget in budgets if np.isclose(np.log10(budget) % 1, 0)]
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(named if len(named) > 1 else [budgets[0], budgets[-1]]))
    ax.xaxis.set_minor_locator(FixedLocator(budgets))
    ax.xaxis.set_major_formatter(FuncFormatter(short_count))
    ax.xaxis.set_minor_formatter(NullFormatter())


def group_key(rows: pd.DataFrame) -> list[Line2D]:
    return [
        Line2D([], [], **style_of(group)._asdict(), label=wrap(group["group"].iloc[0]))
        for _, group in by_group(rows)
    ]


def line_key(rows: pd.DataFrame) -> list[Line2D]:
    lines: list[Line2D] = []
    if rows["chance"].notna().any():
        lines.append(Line2D([], [], **CHANCE, label="always the commonest class"))
    if rows["oracle"].notna().any():
        lines.append(Line2D([], [], **ORACLE, label="best that any classifier of x can do"))
    return lines
