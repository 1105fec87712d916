"""Figure: moments of the aggregate posterior per latent dimension."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from uncollapse.report.checked import MOMENT_KEYS
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import require_finished
from uncollapse.report.figures.sentences import describe_left_out
from uncollapse.report.panels import (
    add_legend_above,
    create_grid,
    equalise_limits,
    legend_entry,
    set_panel_title,
)
from uncollapse.report.stats import finished
from uncollapse.report.style import GREY, MOST_GROUPS, NoFigure, wrap_text

MOST_MOMENTS = 8  # groups that get a row of two panels each; more get one panel each
SMALL_LIMITS = (-0.4, 2.4)  # of the panels of many groups
TRAINING_STYLE: dict[str, Any] = {"color": "#D55E00", "linewidth": 0.9}
MOMENT_STYLES = (
    ("D", "#000000", "E[mu²] + E[sigma²], wants 1"),
    ("o", "#0072B2", "E[mu²]"),
    ("s", "#E69F00", "E[sigma²]"),
    ("^", "#009E73", "E[mu], wants 0"),
)


def draw_moments(runs: pd.DataFrame) -> Figure:
    """E[mu], E[mu²], E[sigma²] and the sum of the last two, per dimension, on test.

    Few groups get a panel for each mode, more groups one panel each.
    """
    shown = select_moment_runs(runs)
    if len(shown) > MOST_MOMENTS:
        return draw_small_moments(shown)
    fig, axes = create_grid(2 * len(shown), 2, 1.1, sharex=True, sharey="row")
    for i, run in enumerate(shown.to_dict("records")):
        pair = axes[2 * i : 2 * i + 2]
        # sorted by evaluation mode in both panels, so that dimensions are aligned
        rank = np.argsort(-np.array(run["moments"]["mu_sq"]), kind="stable")
        for ax, mode in zip(pair, ("moments_train_mode", "moments"), strict=True):
            values = moment_arrays(run[mode])
            draw_moment_panel(ax, *(values[key][rank] for key in MOMENT_KEYS))
        # 0 and negative means are in view
        pair[0].set_ylim(bottom=min(-0.25, min(ax.dataLim.y0 for ax in pair) - 0.1))
        place: dict[str, Any] = {"transform": pair[1].transAxes, "va": "center"}
        pair[1].text(1.02, 0.5, wrap_text(run["group"], 18), fontsize=8, **place)
    axes[0].xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes[0].set_title("training mode (batch statistics)")
    axes[1].set_title("evaluation mode (population statistics)")
    fig.supxlabel("latent dimension, sorted by E[mu²] in evaluation mode")
    add_legend_above(fig, moment_legend(), columns=4)
    return fig


def moment_legend() -> list[Line2D]:
    return [
        legend_entry(text, marker=marker, color=color, linestyle="")
        for marker, color, text in MOMENT_STYLES
    ]


def moment_arrays(moments: dict[str, list[float]]) -> dict[str, np.ndarray]:
    """Each moment by its key, [D]."""
    return {key: np.array(moments[key], dtype=float) for key in MOMENT_KEYS}


def describe_moments(runs: pd.DataFrame) -> str:
    shown, groups = select_moment_runs(runs), finished(runs)["order"].nunique()
    small = hidden = ""
    if len(shown) > MOST_MOMENTS:
        small = (
            " One panel per group: moments in evaluation mode, and as a line the sum in training "
            "mode; ↑: values above the axis."
        )
    if len(shown) < groups:
        hidden = (
            f" {len(shown)} of {groups} groups are shown: those with moments of both modes, "
            f"at most the first {MOST_GROUPS}."
        )
    seeds = ", ".join(map(str, sorted(shown["seed"].unique())))
    return (
        "Moments of the posterior over the test split, per latent dimension. Where the aggregate "
        "posterior matches N(0, 1), E[mu] is 0 and E[mu²] + E[sigma²] is 1; the tau heads satisfy "
        "both by construction in training mode. "
        f"First finished seed of each group (n = 1 run per group, seed {seeds}), so no interval."
        f"{small}{hidden}{describe_left_out(runs)}"
    )


def select_moment_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """The first finished run with moments in both modes of each group, for at most MOST_GROUPS.

    NoFigure if there is none.
    """
    runs = require_finished(runs)
    has_both = runs["moments"].notna() & runs["moments_train_mode"].notna()
    # runs are sorted by seed, so this is the first seed of each group
    runs = runs[has_both].drop_duplicates("order")
    if runs.empty:
        raise NoFigure("no finished run has moments of both modes.")
    return runs.head(MOST_GROUPS)


def draw_small_moments(shown: pd.DataFrame) -> Figure:
    """One panel per run: evaluation mode, and the sum in training mode as a line."""
    fig, axes = create_grid(len(shown), 4, 1.3, outer="xy")
    for ax, run in zip(axes, shown.to_dict("records"), strict=True):
        evaluation, training = (
            moment_arrays(run["moments"]),
            moment_arrays(run["moments_train_mode"]),
        )
        rank = np.argsort(-evaluation["mu_sq"], kind="stable")
        total = (training["mu_sq"] + training["sigma_sq"])[rank]
        ax.plot(np.arange(1, len(rank) + 1), total, **TRAINING_STYLE)
        draw_moment_panel(ax, *(evaluation[key][rank] for key in MOMENT_KEYS), size=1.9)
        # values above the fixed limits are named
        if (top := (evaluation["mu_sq"] + evaluation["sigma_sq"]).max()) > SMALL_LIMITS[1]:
            place: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "top"}
            ax.text(0.98, 0.97, f"↑ to {top:,.3g}", fontsize=7, **place)
        set_panel_title(ax, run["group"], len(shown))
        ax.set_ylim(*SMALL_LIMITS)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    equalise_limits(axes)
    fig.supxlabel("latent dimension, sorted by E[mu²]")
    sum_in_training = legend_entry("E[mu²] + E[sigma²], training mode", **TRAINING_STYLE)
    add_legend_above(fig, [*moment_legend(), sum_in_training], columns=3)
    return fig


def draw_moment_panel(
    ax: Axes, mu: np.ndarray, mu_sq: np.ndarray, sigma_sq: np.ndarray, *, size: float = 3.2
) -> None:
    """Three moments, each [D], and the sum of the last two."""
    for height in (0, 1):
        ax.axhline(height, color=GREY, linewidth=0.8)
    dimensions = np.arange(1, len(mu) + 1)
    columns = (mu_sq + sigma_sq, mu_sq, sigma_sq, mu)
    for (marker, color, _), values in zip(MOMENT_STYLES, columns, strict=True):
        ax.plot(dimensions, values, marker, color=color, markersize=size, markeredgewidth=0)


MOMENTS_FIGURE = Plot(
    "moments", "Moments of the aggregate posterior", "runs", draw_moments, describe_moments
)
