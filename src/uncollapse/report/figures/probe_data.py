"""What both figures of the probe share: its rows, its bounds and the caption's frame."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from uncollapse.report.checked import MOST_FACTORS
from uncollapse.report.figures.selection import require_finished, run_labels
from uncollapse.report.figures.sentences import (
    describe_hidden_groups,
    describe_lacking,
    describe_left_out,
)
from uncollapse.report.style import NoFigure

CHANCE_STYLE: dict[str, Any] = {
    "color": "#222222",
    "linestyle": ":",
    "linewidth": 1.3,
    "zorder": 1.5,
}


ORACLE_STYLE: dict[str, Any] = {
    "color": "#222222",
    "linestyle": (0, (5, 3)),
    "linewidth": 1.1,
    "zorder": 1.5,
}


def probe_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run, factor and number of labels (as `step`) with accuracy, chance and oracle, all shares of 1."""
    runs = require_finished(runs)
    pairs = zip(runs["probe_curves"], run_labels(runs), strict=True)
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


def draw_bounds(axes: list[Axes], rows: pd.DataFrame, draw: str) -> None:
    """Chance and the ideal classifier, a line across each factor's panel."""
    for ax, (_, factor) in zip(axes, rows.groupby("factor", sort=False), strict=True):
        for line, style in (("chance", CHANCE_STYLE), ("oracle", ORACLE_STYLE)):
            for value in factor[line].dropna().unique():
                getattr(ax, draw)(value, **style)


def bounds_legend(rows: pd.DataFrame) -> list[Line2D]:
    lines: list[Line2D] = []
    if rows["chance"].notna().any():
        lines.append(Line2D([], [], **CHANCE_STYLE, label="always the commonest class"))
    if rows["oracle"].notna().any():
        lines.append(Line2D([], [], **ORACLE_STYLE, label="best that any classifier of x can do"))
    return lines


def describe_probe_of(runs: pd.DataFrame, shown: str) -> str:
    rows = probe_rows(runs)
    chance = " Dotted: always guessing the commonest class." if rows["chance"].notna().any() else ""
    oracle = (
        " Dashed: the best that any classifier of x can do." if rows["oracle"].notna().any() else ""
    )
    return (
        f"A linear classifier on the posterior mean of test examples, encoder frozen. {shown}{chance}{oracle} "
        "It reads mu without noise: also a code that the decoder ignores may be above chance."
        f"{describe_hidden_groups(rows['order'].nunique())}{describe_lacking(runs, rows, 'probe curves')}{describe_left_out(runs)}"
    )
