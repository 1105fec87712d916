"""Figure: KL, rec and shuffled-z gap against tau."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import require_finished
from uncollapse.report.figures.sentences import INTERVAL_TEXT, describe_left_out, format_range
from uncollapse.report.panels import add_legend_above
from uncollapse.report.stats import t_interval
from uncollapse.report.style import GREY, WIDTH, NoFigure, style_by_order, wrap_text

FLOOR_DASHES = (0, (4, 3))


def draw_tau_grid(runs: pd.DataFrame) -> Figure:
    """KL, rec and shuffled-z gap (nats, test) against tau; floor -(d/2) ln(1 - tau) beside the KL."""
    series = group_tau_series(runs)
    fig = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    axes = fig.subplots(1, 3)
    names = {"kl": "KL (nats)", "rec": "rec (nats)", "shuffle_gap": "shuffled-z gap (nats)"}
    for ax, (metric, label) in zip(axes, names.items(), strict=True):
        for i, (_, group) in enumerate(series, 1):
            draw_tau_line(ax, group, metric, i, shift=0.006 * (i - (len(series) + 1) / 2))
        ax.set(xlabel="tau", ylabel=label)
    draw_tau_floor(axes[0], series)
    axes[0].set_ylim(bottom=0)
    handles = [
        Line2D([], [], **style_by_order(i)._asdict(), label=wrap_text(name, 40))
        for i, (name, _) in enumerate(series, 1)
    ]
    handles.append(
        Line2D(
            [],
            [],
            color=GREY,
            linewidth=1.2,
            linestyle=FLOOR_DASHES,
            label="floor: -(d/2) ln(1 - tau)",
        )
    )
    add_legend_above(fig, handles, columns=3)
    return fig


def describe_tau_grid(runs: pd.DataFrame) -> str:
    series = pd.concat([group for _, group in group_tau_series(runs)])
    counts = series.groupby("order").size()
    return (
        f"Test KL, rec and shuffled-z gap against tau. Points: seeds (n = {format_range(counts)} per setting); bars: mean and "
        f"{INTERVAL_TEXT}. Grey dashes: the floor that holds for every theta. Heads are shifted sideways a little so that "
        "bars do not overlap." + describe_left_out(runs)
    )


def group_tau_series(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Finished runs of heads with at least two values of tau, apart by label and by the overrides other than tau."""
    runs = require_finished(runs).dropna(subset=["tau"])
    rest = [
        ", ".join(o for o in overrides if not o.startswith("tau="))
        for overrides in runs["override_list"]
    ]
    names = [
        f"{label} ({other})" if other else label
        for label, other in zip(runs["label"], rest, strict=True)
    ]
    parts = [
        group for _, group in runs.assign(series=names).groupby(["head", "series"], sort=False)
    ]
    series = [(str(part["series"].iloc[0]), part) for part in parts if part["tau"].nunique() > 1]
    if not series:
        raise NoFigure("no head has finished runs at two or more values of tau.")
    return series


def draw_tau_line(ax: Axes, runs: pd.DataFrame, metric: str, order: int, shift: float) -> None:
    style = style_by_order(order)
    points = [(tau, *t_interval(group[metric])) for tau, group in runs.groupby("tau")]
    tau, mean, half = np.array(points, dtype=float).T
    ax.errorbar(tau + shift, mean, half, **style._asdict(), capsize=2.5, linewidth=1.3)
    ax.plot(
        runs["tau"] + shift,
        runs[metric],
        "o",
        color=style.color,
        mec="white",
        mew=0.5,
        ms=4,
        zorder=3,
    )


def draw_tau_floor(ax: Axes, series: list[tuple[str, pd.DataFrame]]) -> None:
    runs = pd.concat([group for _, group in series])
    tau = np.linspace(runs["tau"].min(), runs["tau"].max(), 100)
    tau = tau[tau < 1]  # above it nothing is promised
    for dims in runs["latent"].dropna().unique():
        ax.plot(tau, -dims / 2 * np.log1p(-tau), color=GREY, linewidth=1.2, linestyle=FLOOR_DASHES)


TAU_GRID_FIGURE = Plot("tau_grid", "The tau grid", "runs", draw_tau_grid, describe_tau_grid)
