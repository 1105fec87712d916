"""Figure: accuracy of a linear probe against the number of labels."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uncollapse.report.figures.curve_panels import draw_curves
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.probe_data import (
    BOUND_COLOUR,
    CHANCE_STYLE,
    ORACLE_STYLE,
    bounds_legend,
    describe_probe_of,
    probe_rows,
)
from uncollapse.report.figures.selection import limit_groups
from uncollapse.report.figures.sentences import count_seeds
from uncollapse.report.figures.sheet import Scale, linear_scale, log_scale
from uncollapse.report.style import WIDTH

KEYS = ["run", "order", "group", "short", "slot", "crowded", "status", "step"]


def draw_probe(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Accuracy of a linear classifier on mu against the number of labels, one panel per group."""
    rows = limit_groups(probe_rows(runs))
    rows = rows.groupby(KEYS, as_index=False)[["accuracy", "chance", "oracle"]].mean()
    values = rows[["accuracy", "chance", "oracle"]].to_numpy()
    margin = 0.05 * max(float(np.nanmax(values) - np.nanmin(values)), 0.02)
    low, high = float(np.nanmin(values)) - margin, float(np.nanmax(values)) + margin
    scales = label_scale(sorted(rows["step"].unique())), linear_scale(low, high)
    labels = "labelled examples", "accuracy, mean over the factors"
    sheet = draw_curves(rows, "accuracy", scales, labels, width, bounds_legend(rows))
    for line, style in (("chance", CHANCE_STYLE), ("oracle", ORACLE_STYLE)):
        if rows[line].notna().any():
            sheet.add_line_across(rows[line].mean(), colors=BOUND_COLOUR, **style)
    return sheet.finish()


def describe_probe(runs: pd.DataFrame) -> str:
    seeds = count_seeds(probe_rows(runs).drop_duplicates("run"))
    return describe_probe_of(
        runs,
        "Accuracy, mean over the factors, against the number of labelled examples. "
        f"Thick: means over the finished seeds ({seeds}); thin: every seed, so no interval is "
        "drawn. Grey: the means of the other groups; black dashes: that of plain.",
    )


def label_scale(budgets: list[float]) -> Scale:
    """A logarithmic scale with numbers at powers of ten, or at both ends."""
    named = [budget for budget in budgets if np.isclose(np.log10(budget) % 1, 0)]
    low, high = budgets[0], max(budgets[-1], 1.01 * budgets[0])
    return log_scale(low, high, named if len(named) > 1 else [budgets[0], budgets[-1]])


PROBE_FIGURE = Plot(
    "probe", "What a linear probe reads from the code", "runs", draw_probe, describe_probe
)
