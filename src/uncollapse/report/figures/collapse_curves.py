"""Figure: share of collapsed dimensions against the threshold eps."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from uncollapse.report.figures.curve_panels import draw_curves
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import require_finished, run_labels
from uncollapse.report.figures.sentences import describe_curves, describe_lacking, describe_left_out
from uncollapse.report.figures.sheet import Scale, log_scale
from uncollapse.report.style import WIDTH, NoFigure


def draw_collapse_curves(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Share of dimensions whose KL stays below ε (nats) for nearly all x, against ε."""
    rows = collapse_rows(runs)
    steps = rows.loc[rows["step"] > 0, "step"]
    low, high = (steps.min(), steps.max()) if len(steps) else (1e-3, 1.0)
    powers = [10.0**power for power in range(-9, 9)]
    eps = log_scale(low, max(high, 1.01 * low), [tick for tick in powers if low <= tick <= high])
    share = Scale(-0.04, 1.04, (0, 0.5, 1))
    labels = "ε (nats)", "share of collapsed dimensions"
    return draw_curves(rows, "share", (eps, share), labels, width).finish()


def describe_collapse_curves(runs: pd.DataFrame) -> str:
    rows = collapse_rows(runs)
    deltas = rows["delta"].dropna().unique()
    share = f"at least {100 * (1 - deltas[0]):g} %" if len(deltas) == 1 else "nearly all"
    return (
        f"Share of latent dimensions whose KL is below ε for {share} of the test examples. "
        "A curve at 1 from the left edge on: all dimensions have collapsed. A single step from 0 "
        "to 1: the rate is spread evenly over the dimensions. A plateau: the share of dimensions "
        "that are switched off. "
        + describe_curves(rows)
        + describe_lacking(runs, rows, "the curve")
        + describe_left_out(runs)
    )


def collapse_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run and eps (nats, in column `step`) with the share of collapsed dimensions.

    NoFigure if no run has a curve.
    """
    runs = require_finished(runs)
    rows = [
        labels | {"step": eps, "share": share, "delta": curve["delta"]}
        for curve, labels in zip(runs["collapse"], run_labels(runs), strict=True)
        if curve
        for eps, share in zip(curve["eps"], curve["share"], strict=True)
    ]
    if not rows:
        raise NoFigure("no finished run has a collapse curve.")
    return pd.DataFrame(rows)


def set_eps_axis(ax: Axes) -> None:
    """A logarithmic axis for eps."""
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    # labels of minor ticks would overlap
    ax.xaxis.set_minor_formatter(NullFormatter())


COLLAPSE_CURVES_FIGURE = Plot(
    "collapse_curves",
    "Collapsed dimensions",
    "runs",
    draw_collapse_curves,
    describe_collapse_curves,
)
