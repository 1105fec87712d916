"""Figure: validation nelbo over training."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from uncollapse.report.figures.curve_panels import draw_curves, validation_rows
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.sentences import describe_curves
from uncollapse.report.figures.sheet import linear_scale, step_scale
from uncollapse.report.panels import axis_label, legend_entry
from uncollapse.report.stats import outlying
from uncollapse.report.style import MOST_GROUPS, WIDTH

ORACLE_COLOUR = "#555555"
ORACLE_DOTS = {"linestyle": (0, (1, 1.5)), "linewidth": 1.1}


def draw_learning_curves(rows: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Validation nelbo (nats) against step; early values and runs far above the rest are cut."""
    rows = validation_rows(rows, "nelbo")
    above = groups_far_above(rows)
    # runs far above the others would compress all curves
    low, high = nelbo_limits(rows[~rows["order"].isin(above)])
    # the exact value, if all runs are on the same data
    oracle = rows["oracle_valid"].dropna().unique()
    exact = [legend_entry("exact", color=ORACLE_COLOUR, **ORACLE_DOTS)] if len(oracle) == 1 else []
    scales = step_scale(rows["step"]), linear_scale(low, high)
    labels = "training step", axis_label("nelbo", "validation ")
    sheet = draw_curves(rows, "nelbo", scales, labels, width, exact)
    if exact:
        sheet.add_line_across(oracle[0], colors=ORACLE_COLOUR, **ORACLE_DOTS)
    orders = sorted(rows["order"].unique())[:MOST_GROUPS]
    for order in above.keys() & {*orders}:
        sheet.add_text(orders.index(order), f"↑ {above[order]:,.4g}")
    return sheet.finish()


def describe_learning_curves(rows: pd.DataFrame) -> str:
    rows = validation_rows(rows, "nelbo")
    oracle = rows["oracle_valid"].dropna().unique()
    exact = far = ""
    if len(oracle) == 1:
        exact = f" Dotted: the exact mean -log p of the validation split, {oracle[0]:.2f} nats."
    if groups_far_above(rows):
        far = (
            " ↑: runs far above all others are cut off too; "
            "the number is the mean of their last values."
        )
    return (
        "Validation nelbo (rec + kl, weight 1) against training step. "
        f"{describe_curves(rows)}{exact} "
        f"Values above the axis in the first fifth of training are cut off.{far}"
    )


def nelbo_limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Limits around every value after the first fifth of training, and around the oracle."""
    # early values are far above the rest, and of no interest
    late = rows[rows["step"] > 0.2 * rows["step"].max()]["nelbo"]
    low = np.nanmin([rows["nelbo"].min(), rows["oracle_valid"].min()])
    high = late.max() if len(late) else rows["nelbo"].max()
    margin = 0.06 * max(high - low, 0.1)
    return low - margin, high + margin


def groups_far_above(rows: pd.DataFrame) -> dict[int, float]:
    """Mean of the last nelbo (nats) of each group with a run that ends far above all others."""
    last = rows.drop_duplicates("run", keep="last")
    # only runs far above: a run far below is good and must be seen
    far = outlying(last, "nelbo") & (last["nelbo"] > last["nelbo"].median())
    means = last.groupby("order")["nelbo"].mean()
    return {int(order): float(means[order]) for order in sorted(last.loc[far, "order"].unique())}


LEARNING_CURVES_FIGURE = Plot(
    "learning_curves",
    "Learning curves",
    "rows",
    draw_learning_curves,
    describe_learning_curves,
    on_page=True,
)
