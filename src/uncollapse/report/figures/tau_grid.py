"""Figure: KL, rec and shuffled-z gap against tau."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import require_finished
from uncollapse.report.figures.sentences import INTERVAL_TEXT, describe_left_out
from uncollapse.report.panels import axis_label, create_framed, legend_entry, set_label
from uncollapse.report.stats import t_interval
from uncollapse.report.style import (
    COLUMN_WIDTH,
    GREY,
    SLOT_STYLES,
    WIDTH,
    NoFigure,
    Style,
    fit_text,
    vary_dashes,
)
from uncollapse.report.tables.titles import format_range

TAU_FLOOR_STYLE: dict[str, Any] = {"color": GREY, "linewidth": 1.2, "linestyle": (0, (4, 3))}


def draw_tau_grid(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """KL, rec and shuffled-z gap (nats, test) against tau, and the floor of the KL."""
    series = group_tau_series(runs)
    if width <= COLUMN_WIDTH:
        raise NoFigure("three panels beside each other are not legible in one column.")
    slots = [group["slot"].iloc[0] for _, group in series]
    styles = [
        SLOT_STYLES[slot]._replace(linestyle=dashes)
        for slot, dashes in zip(slots, vary_dashes(slots), strict=True)
    ]
    entries = [
        legend_entry(fit_text(name, width / 2, 2), **style._asdict())
        for (name, _), style in zip(series, styles, strict=True)
    ]
    entries.append(legend_entry("floor: −(d/2) ln(1 − τ)", **TAU_FLOOR_STYLE))
    fig, axes = create_framed(width, 2.0, entries, 0.5, columns=3, shared=False)
    fig.subplots_adjust(wspace=0.32)
    words = {"kl": "", "rec": "", "shuffle_gap": "shuffled-z "}
    for ax, (metric, before) in zip(axes, words.items(), strict=True):
        for i, ((_, group), style) in enumerate(zip(series, styles, strict=True), 1):
            # shifted sideways, so that intervals of different heads do not overlap
            draw_tau_line(ax, group, metric, style, shift=0.006 * (i - (len(series) + 1) / 2))
        ax.set_xlabel("τ")
        set_label(ax, "y", axis_label(metric, before))
    draw_tau_floor(axes[0], series)
    axes[0].set_ylim(bottom=0)
    return fig


def describe_tau_grid(runs: pd.DataFrame) -> str:
    series = pd.concat([group for _, group in group_tau_series(runs)])
    counts = series.groupby("order").size()
    return (
        "Test KL, rec and shuffled-z gap against τ. "
        f"Points: seeds (n = {format_range(counts)} per setting); bars: mean and {INTERVAL_TEXT}. "
        "Grey dashes: the floor of the KL, which holds for every value of the learned theta. "
        f"Heads are shifted slightly so that bars do not overlap; "
        f"colours show which slot of the config a head changes.{describe_left_out(runs)}"
    )


def group_tau_series(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Finished runs by label and overrides other than tau, if they have two or more values of tau.

    NoFigure if there is no such series.
    """
    runs = require_finished(runs).dropna(subset=["tau"])
    names = []
    for label, overrides in zip(runs["label"], runs["override_list"], strict=True):
        # runs that differ in tau alone are one series
        others = ", ".join(word for word in overrides if not word.startswith("tau="))
        names.append(f"{label} ({others})" if others else label)
    groups = [g for _, g in runs.assign(series=names).groupby(["head", "series"], sort=False)]
    series = [(str(g["series"].iloc[0]), g) for g in groups if g["tau"].nunique() > 1]
    if not series:
        raise NoFigure("no head has finished runs at two or more values of tau.")
    return series


def draw_tau_line(ax: Axes, runs: pd.DataFrame, metric: str, style: Style, shift: float) -> None:
    """Seeds, means and t-intervals of one series, shifted to the right by `shift`."""
    points = [(tau, *t_interval(group[metric])) for tau, group in runs.groupby("tau")]
    # one point per value of tau, with the interval over its seeds
    tau, mean, half = np.array(points, dtype=float).T
    ax.errorbar(tau + shift, mean, half, **style._asdict(), capsize=2.5, linewidth=1.3)
    dot: dict[str, Any] = {"color": style.color, "mec": "white", "mew": 0.5, "ms": 4, "zorder": 3}
    ax.plot(runs["tau"] + shift, runs[metric], "o", **dot)


def draw_tau_floor(ax: Axes, series: list[tuple[str, pd.DataFrame]]) -> None:
    """-(d/2) ln(1 - tau) for each number d of dimensions and tau < 1, where it is finite."""
    runs = pd.concat([group for _, group in series])
    tau = np.linspace(runs["tau"].min(), runs["tau"].max(), 100)
    # the floor is infinite at tau = 1
    tau = tau[tau < 1]
    for dims in runs["latent"].dropna().unique():
        ax.plot(tau, -dims / 2 * np.log1p(-tau), **TAU_FLOOR_STYLE)


TAU_GRID_FIGURE = Plot("tau_grid", "The tau grid", "runs", draw_tau_grid, describe_tau_grid)
