"""Figure: moments of the aggregate posterior per latent dimension."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uncollapse.report.checked import MOMENT_KEYS
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import require_finished
from uncollapse.report.figures.sentences import describe_left_out
from uncollapse.report.figures.sheet import Sheet, linear_scale
from uncollapse.report.panels import legend_entry
from uncollapse.report.stats import finished
from uncollapse.report.style import GREY, MOST_GROUPS, SLOT_STYLES, WIDTH, NoFigure, names_of

LOWEST, HIGHEST = -0.4, 2.4  # limits of the panels
TRAINING_COLOUR = "#D55E00"
MOMENT_STYLES = (
    ("D", "#000000", "E[μ²] + E[σ²], wants 1"),
    ("o", "#0072B2", "E[μ²]"),
    ("s", "#E69F00", "E[σ²]"),
    ("^", "#009E73", "E[μ], wants 0"),
)


def draw_moments(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """E[mu], E[mu²], E[sigma²] and the sum of the last two, per dimension, on test.

    One panel per group: evaluation mode, and the sum in training mode as a line.
    """
    shown = select_moment_runs(runs)
    records = shown.to_dict("records")
    dims = max(len(run["moments"]["mu"]) for run in records)
    legend = [*moment_legend(), legend_entry("the sum in training mode", color=TRAINING_COLOUR)]
    scales = linear_scale(0.4, dims + 0.6, integer=True), linear_scale(LOWEST, HIGHEST)
    colors = [SLOT_STYLES[run["slot"]].color for run in records]
    labels = "latent dimension, sorted by E[μ²]", "moment of the aggregate posterior"
    sheet = Sheet(
        names_of([run for _, run in shown.groupby("order")]),
        scales,
        labels,
        width,
        colors=colors,
        legend=legend,
    )
    for height in (0.0, 1.0):
        sheet.add_line_across(height, colors=GREY, linewidths=0.7, zorder=1)
    for panel, run in enumerate(records):
        evaluation = moment_arrays(run["moments"])
        training = moment_arrays(run["moments_train_mode"])
        rank = np.argsort(-evaluation["mu_sq"], kind="stable")
        places = np.arange(1, len(rank) + 1)
        if len(training["mu_sq"]) == len(rank):
            total = (training["mu_sq"] + training["sigma_sq"])[rank]
            sheet.add_lines(panel, [(places, total)], colors=TRAINING_COLOUR, linewidths=0.8)
        columns = list_moments(*(evaluation[key][rank] for key in MOMENT_KEYS))
        for (marker, color, _), values in zip(MOMENT_STYLES, columns, strict=True):
            sheet.add_dots(panel, places, values, marker, color=color, markersize=2, zorder=3)
        # values above the limits are named
        if (top := columns[0].max()) > HIGHEST:
            sheet.add_text(panel, f"↑ to {top:,.3g}")
    return sheet.finish()


def moment_legend() -> list[Line2D]:
    return [
        legend_entry(text, marker=marker, color=color, linestyle="", markersize=3)
        for marker, color, text in MOMENT_STYLES
    ]


def moment_arrays(moments: dict[str, list[float]]) -> dict[str, np.ndarray]:
    """Each moment by its key, [D]."""
    return {key: np.array(moments[key], dtype=float) for key in MOMENT_KEYS}


def describe_moments(runs: pd.DataFrame) -> str:
    shown, groups = select_moment_runs(runs), finished(runs)["order"].nunique()
    hidden = ""
    if len(shown) < groups:
        hidden = (
            f" {len(shown)} of {groups} groups are shown: those with moments of both modes, "
            f"at most the first {MOST_GROUPS}."
        )
    seeds = ", ".join(map(str, sorted(shown["seed"].unique())))
    return (
        "Moments of the posterior over the test split, per latent dimension. Where the aggregate "
        "posterior matches N(0, 1), E[μ] is 0 and E[μ²] + E[σ²] is 1; the tau heads satisfy both "
        "by construction in training mode. Marks: evaluation mode; line: the sum in training mode; "
        "↑: values above the axis. Colours of titles show which slot of the config a head "
        "changes. "
        f"First finished seed of each group (n = 1 run per group, seed {seeds}), so no interval."
        f"{hidden}{describe_left_out(runs)}"
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


def list_moments(mu: np.ndarray, mu_sq: np.ndarray, sigma_sq: np.ndarray) -> tuple[np.ndarray, ...]:
    """What MOMENT_STYLES are of, each [D]."""
    return mu_sq + sigma_sq, mu_sq, sigma_sq, mu


def draw_moment_panel(
    ax: Axes, mu: np.ndarray, mu_sq: np.ndarray, sigma_sq: np.ndarray, *, size: float = 3.2
) -> None:
    """Three moments, each [D], and the sum of the last two."""
    for height in (0, 1):
        ax.axhline(height, color=GREY, linewidth=0.8)
    dimensions = np.arange(1, len(mu) + 1)
    columns = list_moments(mu, mu_sq, sigma_sq)
    for (marker, color, _), values in zip(MOMENT_STYLES, columns, strict=True):
        ax.plot(dimensions, values, marker, color=color, markersize=size, markeredgewidth=0)


MOMENTS_FIGURE = Plot(
    "moments", "Moments of the aggregate posterior", "runs", draw_moments, describe_moments
)
