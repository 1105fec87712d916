"""Figure: accuracy of a linear probe against the number of labels."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from uncollapse.report.figures.curve_panels import (
    TOGETHER,
    draw_curve_panels,
    draw_group_curves,
    mean_curve,
)
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.probe_data import (
    CHANCE_STYLE,
    ORACLE_STYLE,
    bounds_legend,
    describe_probe_of,
    factor_bounds,
    probe_rows,
)
from uncollapse.report.figures.selection import limit_groups
from uncollapse.report.figures.sentences import count_seeds
from uncollapse.report.panels import add_legend_below, create_grid, format_count, legend_entry
from uncollapse.report.stats import by_group
from uncollapse.report.style import is_crowded, style_of, wrap_text


def draw_probe(runs: pd.DataFrame) -> Figure:
    """Accuracy of a linear classifier on mu against the number of labels, one panel per factor."""
    rows = limit_groups(probe_rows(runs))
    if is_crowded(rows):
        return draw_probe_of_crowd(rows)
    fig, axes = draw_probe_panels(rows)
    for ax, values, style in factor_bounds(axes, rows):
        for value in values:
            ax.axhline(value, **style)
    return fig


def describe_probe(runs: pd.DataFrame) -> str:
    rows = probe_rows(runs)
    seeds = count_seeds(rows.drop_duplicates("run"))
    if is_crowded(rows):
        return describe_probe_of(
            runs,
            "Accuracy, mean over the factors, against the number of labelled examples. "
            f"Thick: means over the finished seeds ({seeds}); thin: every seed, so no interval is "
            "drawn. Grey: the means of the other groups.",
        )
    thin = "points" if rows["order"].nunique() > TOGETHER else "thin, with points"
    return describe_probe_of(
        runs,
        "Accuracy against the number of labelled examples. "
        f"Lines: means over the finished seeds ({seeds}); {thin}: every seed, so no interval is "
        "drawn.",
    )


def draw_probe_of_crowd(rows: pd.DataFrame) -> Figure:
    """One panel per group with the mean over the factors."""
    keys = ["run", "order", "group", "slot", "crowded", "status", "step"]
    # with many groups, one line each: the mean over the factors
    rows = rows.groupby(keys, as_index=False)[["accuracy", "chance", "oracle"]].mean()
    budgets = sorted(rows["step"].unique())
    fig, axes = draw_curve_panels(
        rows,
        "accuracy",
        "accuracy, mean over the factors",
        "labelled examples",
        partial(set_label_axis, budgets=budgets),
    )
    for ax in axes:
        for line, style in (("chance", CHANCE_STYLE), ("oracle", ORACLE_STYLE)):
            ax.axhline(rows[line].mean(), **style)
    return fig


def draw_probe_panels(rows: pd.DataFrame) -> tuple[Figure, list[Axes]]:
    """Accuracy against labels (log), one panel per factor, one line per group."""
    factors = rows.groupby("factor", sort=False)
    fig, axes = create_grid(len(factors), 3, 1.7, sharex=True, sharey=True)
    many = rows["order"].nunique() > TOGETHER
    for ax, (name, factor) in zip(axes, factors, strict=True):
        for _, group in by_group(factor):
            style = style_of(group)
            if many:  # thin lines of seeds would hide each other
                line = mean_curve(group, "accuracy")
                ax.plot(line.index, line, **style._asdict(), linewidth=1.1, markersize=3)
            else:
                draw_group_curves(ax, group, "accuracy", style)
            dot: dict[str, Any] = {"color": style.color, "markersize": 3, "alpha": 0.6}
            ax.plot(group["step"], group["accuracy"], ".", **dot)
        ax.set_title(wrap_text(str(name), 24))
        set_label_axis(ax, sorted(rows["step"].unique()))
    for ax in axes[-3:]:  # no supxlabel: the legend would cover it
        ax.set_xlabel("labelled examples")
    for ax in axes[::3]:
        ax.set_ylabel("accuracy")
    add_legend_below(fig, [*group_legend(rows), *bounds_legend(rows)])
    return fig, axes


def set_label_axis(ax: Axes, budgets: list[float]) -> None:
    """A logarithmic axis with a tick at every budget, and numbers at powers of ten or both ends."""
    named = [budget for budget in budgets if np.isclose(np.log10(budget) % 1, 0)]
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(named if len(named) > 1 else [budgets[0], budgets[-1]]))
    ax.xaxis.set_minor_locator(FixedLocator(budgets))
    ax.xaxis.set_major_formatter(FuncFormatter(format_count))
    ax.xaxis.set_minor_formatter(NullFormatter())


def group_legend(rows: pd.DataFrame) -> list[Line2D]:
    """Legend entries for the groups."""
    return [
        legend_entry(wrap_text(group["group"].iloc[0]), **style_of(group)._asdict())
        for _, group in by_group(rows)
    ]


PROBE_FIGURE = Plot(
    "probe", "What a linear probe reads from the code", "runs", draw_probe, describe_probe
)
