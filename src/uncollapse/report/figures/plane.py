"""Figure: any two metrics of the catalogue against each other, or differences from plain."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncollapse.errors import InputError, check_choice
from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.figures.cost import NEVER_FAR
from uncollapse.report.figures.planes import create_plane, describe_names, draw_runs, name_groups
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import require_finished
from uncollapse.report.figures.sentences import (
    count_seeds,
    describe_edges,
    describe_lacking,
    describe_left_out,
    describe_slots,
)
from uncollapse.report.panels import axis_label, legend_entry, set_label
from uncollapse.report.stats import (
    MINUS_PLAIN,
    NEVER_OUTLYING,
    against_plain,
    by_group,
    finished,
    outlying,
    t_interval,
)
from uncollapse.report.style import GREY, WIDTH, NoFigure, is_crowded, style_of
from uncollapse.report.tables.summary import derive_metrics

PLANE = "plane"
SAME = {"nll_minus_plain": "d_nll"}  # a difference that has a row of the catalogue


def list_axes() -> list[str]:
    """The metrics of the catalogue that are one number per run."""
    return [name for name, metric in METRICS.items() if metric.kind == "number"]


def check_axis(option: str, name: str) -> str:
    """The name, if it is a metric or a metric with MINUS_PLAIN. InputError otherwise."""
    base = name.removesuffix(MINUS_PLAIN)
    try:
        check_choice(option, base, list_axes())
    except InputError as error:
        raise InputError(f"{error}; each also with {MINUS_PLAIN} (paired by seed)") from None
    return SAME.get(name, name)


def add_axis(runs: pd.DataFrame, name: str) -> pd.DataFrame:
    """The runs with a column `name`. InputError if no finished run has it."""
    base = name.removesuffix(MINUS_PLAIN)
    runs = runs.assign(**derive_metrics(runs))
    numbers = runs.reindex(columns=[*runs.columns, *({base} - {*runs.columns})])
    numbers[base] = pd.to_numeric(numbers[base], errors="coerce")
    if name != base:
        numbers[name] = against_plain(numbers, base)
    if not finished(numbers)[name].notna().any():
        known = [n for n in list_axes() if n in runs and finished(runs)[n].notna().any()]
        lack = "has it" if name == base else "has it and a plain run with the same seed"
        raise InputError(f"{name}: no finished run {lack}; known here are {', '.join(known)}")
    return numbers


def label_axis(name: str) -> str:
    """The header of a metric with its unit, and with its direction where it has one."""
    base = name.removesuffix(MINUS_PLAIN)
    text = axis_label(base, after=" − plain" if name != base else "")
    better = METRICS[base].better
    return f"{text}, {better} is better" if better else text


def make_plane(x: str, y: str) -> Plot:
    """The figure of two metrics, as checked by `check_axis`."""
    return Plot(
        f"{PLANE}-{x}-{y}",
        f"{x} and {y}",
        "runs",
        partial(draw_plane, x=x, y=y),
        partial(describe_plane, x=x, y=y),
        on_page=True,
    )


def draw_plane(runs: pd.DataFrame, width: float = WIDTH, *, x: str, y: str) -> Figure:
    """A mark per run; means and t-intervals of groups, unless there are many."""
    runs = select_runs(runs, x, y)
    far = outlying(runs, x, far_from(x)) | outlying(runs, y, far_from(y))
    near = runs[~far]
    entries = [] if is_crowded(runs) else [legend_entry("mean, 95 % interval", color=GREY)]
    fig, ax = create_plane(runs, width, entries)
    set_label(ax, "x", label_axis(x))
    set_label(ax, "y", label_axis(y))
    draw_runs(ax, near, x, y)
    set_limits(ax, near, x, y)
    for name, draw_line in ((x, ax.axvline), (y, ax.axhline)):
        if is_difference(name):
            draw_line(0, color="black", linewidth=0.8)
    if not is_crowded(runs):
        draw_crosses(ax, near, x, y)
    name_groups(ax, runs, far, x, y)
    return fig


def select_runs(runs: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The finished runs that have both. NoFigure if there are none."""
    shown = require_finished(add_axis(add_axis(runs, x), y)).dropna(subset=[x, y])
    if shown.empty:
        raise NoFigure(f"no finished run has {x} and {y}.")
    return shown


def far_from(name: str) -> float:
    """How far from the median a run must be to stand outside the axis."""
    return NEVER_FAR if is_difference(name) else NEVER_OUTLYING


def is_difference(name: str) -> bool:
    """Whether 0 means as good as plain."""
    return name.endswith(MINUS_PLAIN) or name in SAME.values()


def set_limits(ax: Axes, runs: pd.DataFrame, x: str, y: str) -> None:
    """Limits around all runs and, for differences, 0, with room for names."""
    for name, set_limit in ((x, ax.set_xlim), (y, ax.set_ylim)):
        values = [*runs[name], *([0.0] if is_difference(name) else [])]
        margin = 0.1 * float(np.ptp(values)) or 0.1 * abs(values[0]) or 0.1
        set_limit(min(values) - margin, max(values) + margin)


def draw_crosses(ax: Axes, runs: pd.DataFrame, x: str, y: str) -> None:
    """Mean and t-interval of each group on both axes, cut at the frame."""
    limits = ax.get_xlim(), ax.get_ylim()
    for _, group in by_group(runs):
        (across, wide), (up, high) = t_interval(group[x]), t_interval(group[y])
        style: dict[str, Any] = {"color": style_of(group).color, "linewidth": 0.9, "zorder": 1.5}
        ax.hlines(up, across - np.nan_to_num(wide), across + np.nan_to_num(wide), **style)
        ax.vlines(across, up - np.nan_to_num(high), up + np.nan_to_num(high), **style)
    ax.set(xlim=limits[0], ylim=limits[1])


def describe_plane(runs: pd.DataFrame, x: str, y: str) -> str:
    """The caption: the meaning of both metrics, and what is drawn."""
    shown = select_runs(runs, x, y)
    meanings = [
        f"{axis}: {METRICS[name.removesuffix(MINUS_PLAIN)].meaning}"
        + (" Minus that of plain with the same seed." if name.endswith(MINUS_PLAIN) else "")
        for axis, name in (("Across", x), ("Upwards", y))
    ]
    crosses = "" if is_crowded(shown) else "; crosses: means and 95 % t-intervals (none at n = 1)"
    return (
        f"{' '.join(meanings)} Points: seeds ({count_seeds(shown)}){crosses}."
        + describe_names(shown, x, y)
        + describe_slots(shown)
        + (
            describe_edges(shown, x, never=far_from(x))
            or describe_edges(shown, y, never=far_from(y))
        )
        + describe_lacking(runs, shown, f"{x} and {y}")
        + describe_left_out(runs)
    )
