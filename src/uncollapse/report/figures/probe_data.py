"""Rows, bounds and caption that the figures of the linear probe share."""

from typing import Any

import pandas as pd
from matplotlib.lines import Line2D

from uncollapse.report.checked import MOST_FACTORS
from uncollapse.report.figures.selection import require_finished, run_labels
from uncollapse.report.figures.sentences import (
    describe_hidden_groups,
    describe_lacking,
    describe_left_out,
)
from uncollapse.report.panels import legend_entry
from uncollapse.report.style import NoFigure

BOUND_COLOUR = "#222222"
CHANCE_STYLE: dict[str, Any] = {"linestyle": (0, (1, 1.5)), "linewidth": 1.1, "zorder": 1.5}
ORACLE_STYLE: dict[str, Any] = {"linestyle": (0, (7, 2)), "linewidth": 0.9, "zorder": 1.5}


def probe_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run, factor and number of labels (in column `step`).

    With accuracy, chance and oracle as shares. NoFigure if no run has probe curves.
    """
    runs = require_finished(runs)
    rows = []
    for curves, labels in zip(runs["probe_curves"], run_labels(runs), strict=True):
        for factor, curve in curves.items():
            bounds = {"factor": factor, "chance": curve["chance"], "oracle": curve["oracle"]}
            for budget, accuracy in curve["points"]:
                rows.append({**labels, "step": budget, "accuracy": accuracy, **bounds})
    if not rows:
        raise NoFigure(
            "no finished run has probe curves "
            "(`uncollapse evaluate` computes them where factors are known)."
        )
    frame = pd.DataFrame(rows)
    # in the order of the first run, at most as many as fit on a page
    return frame[frame["factor"].isin(frame["factor"].drop_duplicates()[:MOST_FACTORS])]


def bounds_legend(rows: pd.DataFrame) -> list[Line2D]:
    """Legend entries for chance and the ideal classifier, where known."""
    entries: list[Line2D] = []
    if rows["chance"].notna().any():
        entries.append(
            legend_entry("always the most common class", color=BOUND_COLOUR, **CHANCE_STYLE)
        )
    if rows["oracle"].notna().any():
        entries.append(
            legend_entry("best that any classifier of x can do", color=BOUND_COLOUR, **ORACLE_STYLE)
        )
    return entries


def describe_probe_of(runs: pd.DataFrame, shown: str) -> str:
    """The caption of a figure of the probe, around the sentences `shown` about that figure."""
    rows = probe_rows(runs)
    chance = oracle = ""
    if rows["chance"].notna().any():
        chance = " Dotted: always guessing the most common class."
    if rows["oracle"].notna().any():
        oracle = " Dashed: the best that any classifier of x can do."
    return (
        "Linear classifiers on the posterior means of test examples, with the encoder frozen. "
        f"{shown}{chance}{oracle} They read μ without noise, so even a code that the decoder "
        "ignores may be above chance."
        + describe_hidden_groups(rows["order"].nunique())
        + describe_lacking(runs, rows, "probe curves")
        + describe_left_out(runs)
    )
