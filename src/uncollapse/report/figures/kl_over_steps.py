"""Figure: validation KL over training."""

import pandas as pd
from matplotlib.figure import Figure

from uncollapse.report.figures.curve_panels import draw_curves, highest_late, validation_rows
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.sentences import describe_curves
from uncollapse.report.figures.sheet import kl_scale, step_scale
from uncollapse.report.panels import axis_label
from uncollapse.report.style import WIDTH


def draw_kl_over_steps(rows: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Validation KL in evaluation mode (nats) against step, floors dotted."""
    rows = validation_rows(rows, "kl")
    highest = highest_late(rows, "kl")
    scales = step_scale(rows["step"]), kl_scale(highest, rows["kl"].min())
    labels = "training step", axis_label("kl", "validation ")
    return draw_curves(rows, "kl", scales, labels, width).finish()


def describe_kl_over_steps(rows: pd.DataFrame) -> str:
    has_floor = rows["floor"].notna().any()
    floors = (
        " Dotted: the lower bound that the remedy promises for the batch-mean KL (floor)."
        if has_floor
        else ""
    )
    curves = describe_curves(validation_rows(rows, "kl"))
    return (
        f"Validation KL in evaluation mode against training step. {curves}{floors} "
        "The axis is linear below 0.1 nats and logarithmic above."
        " Values above it early in training are cut off."
    )


KL_OVER_STEPS_FIGURE = Plot(
    "kl_over_steps",
    "KL over training",
    "rows",
    draw_kl_over_steps,
    describe_kl_over_steps,
    on_page=True,
)
