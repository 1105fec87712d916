"""Figure: the means of q(z|x) and of the model's own posterior p(z|x), at steps of training.

He et al., "Lagging Inference Networks and Posterior Collapse in Variational Autoencoders", ICLR
2019, figures 2 and 3: the same axes, with one row per head; the last panel of a row has the paths
of single examples.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncollapse.metrics.catalogue import MISSING, format_metric_value
from uncollapse.report.figures.plot import Plot
from uncollapse.report.panels import format_count
from uncollapse.report.stats import by_group
from uncollapse.report.style import COLUMN_WIDTH, GREY, WIDTH, NoFigure, fit_text, name_of, style_of

SNAPSHOTS = 4  # steps that are shown of each run, the first and the last among them
MOST_ROWS = 6  # groups, so that the figure fits on a page
SHOWN_SHARE = 0.99  # of the points, inside the limits
SMALLEST_LIMIT = 0.5
PATHS = (0.1, 0.9)  # examples with these quantiles of the last mean of p(z|x)


def draw_posterior_means(rows: pd.DataFrame, width: float = WIDTH) -> Figure:
    """A row of panels per group, one per step: a point per example of the group's first run."""
    runs = runs_with_means(rows)
    if not runs:
        raise NoFigure(
            "no run has recorded the means of q(z|x) and p(z|x); "
            "trainer.posterior_means=200 records them at each evaluation"
        )
    if width <= COLUMN_WIDTH:
        raise NoFigure(f"{SNAPSHOTS + 1} panels beside each other are not legible in one column.")
    runs = runs[:MOST_ROWS]
    shown = [snapshots(run) for run in runs]
    limit = choose_limit(shown)
    columns = max(map(len, shown)) + 1
    side = width / (SNAPSHOTS + 1)
    fig = Figure(figsize=(width, 0.55 + side * len(shown)), layout="constrained")
    grid = fig.subplots(len(shown), columns, sharex=True, sharey=True, squeeze=False)
    for axes, run, every in zip(grid, shown, runs, strict=True):
        dimension, color = most_active(run), style_of(run).color
        for ax in axes:
            prepare_plane(ax, limit)
        for ax, (_, row) in zip(axes, run.iterrows(), strict=False):
            draw_plane(ax, row, dimension, color)
        for ax in axes[len(run) : -1]:
            ax.set_axis_off()
        draw_paths(axes[-1], every, dimension, color)
        name = fit_text(name_of(run), 1.2, 2)
        several = len(run["posterior_means"].iloc[0]["q"]) > 1
        axes[0].set_ylabel(f"{name}\ndimension {dimension + 1}" if several else name)
    fig.supxlabel("mean of p(z|x)")
    fig.supylabel("mean of q(z|x)")
    return fig


def runs_with_means(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The validation rows with means, of the first run of each group that has some."""
    kept = rows[rows["posterior_means"].notna()]
    return [group[group["run"] == group["run"].iloc[0]] for _, group in by_group(kept)]


def snapshots(run: pd.DataFrame) -> pd.DataFrame:
    """At most SNAPSHOTS rows of a run, evenly spaced."""
    places = np.linspace(0, len(run) - 1, min(SNAPSHOTS, len(run))).round().astype(int)
    return run.iloc[places]


def most_active(run: pd.DataFrame) -> int:
    """The dimension whose means vary most over examples, in the sum over the steps shown."""
    spread = [
        np.nanvar(means["q"], 1) + np.nanvar(means["p"], 1) for means in run["posterior_means"]
    ]
    return int(np.sum(spread, 0).argmax())


def choose_limit(shown: list[pd.DataFrame]) -> float:
    """A limit for both axes that shows all but the most distant points."""
    values = [
        np.abs(np.concatenate([means["q"][d], means["p"][d]]))
        for run in shown
        for d in [most_active(run)]
        for means in run["posterior_means"]
    ]
    return max(1.1 * float(np.nanquantile(np.concatenate(values), SHOWN_SHARE)), SMALLEST_LIMIT)


def prepare_plane(ax: Axes, limit: float) -> None:
    """Both axes and the diagonal."""
    line: dict[str, Any] = {"color": GREY, "linewidth": 0.7, "zorder": 1}
    ax.axhline(0, **line)
    ax.axvline(0, **line)
    ax.plot([-limit, limit], [-limit, limit], "--", color="black", linewidth=0.8, zorder=2)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    ax.grid(False)


def draw_plane(ax: Axes, row: pd.Series, dimension: int, color: str) -> None:
    """The examples of one evaluation as points."""
    means = row["posterior_means"]
    x, y = means["p"][dimension], means["q"][dimension]
    ax.plot(x, y, ".", color=color, markersize=3, markeredgewidth=0, alpha=0.6, zorder=3)
    relative = format_metric_value("inference_lag_relative", row["inference_lag_relative"])
    lag = f"lag {row['inference_lag']:.2f} ({relative})".replace("nan", MISSING)
    ax.set_title(f"step {format_count(row['step'])}")
    place: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "va": "bottom"}
    box = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8}
    ax.text(0.98, 0.02, lag, zorder=4, bbox=box, **place)


def draw_paths(ax: Axes, run: pd.DataFrame, dimension: int, color: str) -> None:
    """A few examples through all evaluations, from a ring at the first to a disc at the last."""
    table = np.array([[m["p"][dimension], m["q"][dimension]] for m in run["posterior_means"]])
    known = np.flatnonzero(np.isfinite(table).all((0, 1)))
    order = known[np.argsort(table[-1, 0, known], kind="stable")]
    for share in PATHS if len(order) else ():
        x, y = table[:, :, order[round(share * (len(order) - 1))]].T
        ax.plot(x, y, color=color, linewidth=0.7, alpha=0.8, zorder=3)
        ax.plot(x[0], y[0], "o", color=color, markerfacecolor="white", markersize=3.5, zorder=4)
        ax.plot(x[-1], y[-1], "o", color=color, markersize=3.5, zorder=5)
    ax.set_title(f"{len(PATHS)} examples, all steps")


def describe_posterior_means(rows: pd.DataFrame) -> str:
    runs = runs_with_means(rows)
    counts = sorted({means["q"].shape[1] for run in runs for means in run["posterior_means"]})
    left_out = [row["lag_left_out"] for run in runs for _, row in snapshots(run).iterrows()]
    several = any(means["q"].shape[0] > 1 for run in runs for means in run["posterior_means"])
    return (
        "The plane of posterior means of He et al. 2019 (their figures 2 and 3): each point is a "
        f"validation example ({', '.join(map(str, counts)) or 'no'} examples of the first run of "
        f"each group, n = {1 if runs else 0}, so no interval), at steps of training. Dashes: the "
        "encoder's mean equals that of the model's own posterior. Points on the horizontal axis: "
        "the model's posterior depends on x and the encoder lags behind; points at the origin: "
        "both have collapsed; points on the vertical axis: the encoder writes a code that the "
        "model does not use. Lag: the mean squared distance of the two means; in parentheses the "
        "variance of their difference relative to that of the mean of p(z|x), 1 for an encoder "
        "that ignores x. Up to 1 % of the points may lie outside the frame. Last panel: two "
        "examples through all evaluations, from ring to disc."
        + (" Of several dimensions, the one whose means vary most." if several else "")
        + (f" Only the first {MOST_ROWS} of {len(runs)} groups." if len(runs) > MOST_ROWS else "")
        + (
            f" Left out: up to {100 * max(left_out):.0f} % of the examples of a panel, for which "
            "the mean of p(z|x) is not known well enough."
            if left_out and max(left_out) > 0
            else ""
        )
    )


POSTERIOR_MEANS_FIGURE = Plot(
    "posterior_means",
    "Does the encoder lag behind?",
    "rows",
    draw_posterior_means,
    describe_posterior_means,
)
