"""Figure: validation KL over training."""

import pandas as pd
from matplotlib.figure import Figure

from uncollapse.report.figures.curve_panels import draw_curve_panels, validation_rows
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.sentences import describe_curves
from uncollapse.report.panels import axis_label, equalise_limits, set_kl_scale


def draw_kl_over_steps(rows: pd.DataFrame) -> Figure:
    """Validation KL in evaluation mode (nats) against step, floors dashed."""
    label = axis_label("kl", "validation ")
    fig, axes = draw_curve_panels(validation_rows(rows, "kl"), "kl", label)
    for ax in axes:
        set_kl_scale(ax, minor=len(axes) == 1)
    equalise_limits(axes)
    return fig


def describe_kl_over_steps(rows: pd.DataFrame) -> str:
    has_floor = rows["floor"].notna().any()
    floors = (
        " Dashed: the lower bound that the remedy promises for the batch-mean KL (floor)."
        if has_floor
        else ""
    )
    curves = describe_curves(validation_rows(rows, "kl"))
    return (
        f"Validation KL in evaluation mode against training step. {curves}{floors} "
        "The axis is linear below 0.1 nats and logarithmic above."
    )


KL_OVER_STEPS_FIGURE = Plot(
    "kl_over_steps", "KL over training", "rows", draw_kl_over_steps, describe_kl_over_steps
)
