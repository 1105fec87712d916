"""Figure: mutual information against rate."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uncollapse.report.figures.planes import create_plane, describe_names, draw_runs, name_groups
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import runs_with_metrics
from uncollapse.report.figures.sentences import (
    count_seeds,
    describe_edges,
    describe_lacking,
    describe_left_out,
    describe_slots,
)
from uncollapse.report.panels import axis_label, legend_entry, set_label
from uncollapse.report.stats import outlying
from uncollapse.report.style import GREY, WIDTH, style_of

CEILING_STYLE: dict[str, Any] = {"color": GREY, "linestyle": (0, (5, 3)), "linewidth": 1.2}


def draw_mi_vs_kl(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """mi against KL (nats, test): a point per run with 1.96 standard errors, and each ceiling."""
    runs = runs_with_metrics(runs, "mi", "kl")
    far = outlying(runs, "kl")
    near = runs[~far]
    fig, ax = create_plane(runs, width, mi_legend(runs))
    # the limits of the plane are those of the near points
    right = max(near["kl"].max() * 1.08, 0.5)
    set_label(ax, "x", axis_label("kl", after=", the rate"))
    set_label(ax, "y", axis_label("mi", after=", information of z about x"))
    ax.set(xlim=(-0.02 * right, right), ylim=mi_limits(runs))
    ax.plot([0, right], [0, right], color="black", linewidth=1.0)
    draw_ceilings(ax, example_ceilings(runs))
    for _, slot in near.groupby("slot", sort=False):
        # 1.96 standard errors over examples: there is no interval over seeds of one run
        error = 1.96 * slot["mi_se"].fillna(0)
        bar: dict[str, Any] = {"colors": style_of(slot).color, "linewidth": 0.7, "alpha": 0.75}
        ax.vlines(slot["kl"], slot["mi"] - error, slot["mi"] + error, **bar)
    draw_runs(ax, near, "kl", "mi")
    name_groups(ax, runs, far, "kl", "mi")
    return fig


def describe_mi_vs_kl(runs: pd.DataFrame) -> str:
    shown = runs_with_metrics(runs, "mi", "kl")
    ceiling = ""
    if example_ceilings(shown):
        ceiling = (
            " Grey dashes: the ceiling ln N of an estimate from N examples (an arrow if it is far "
            "above all points); a point within 0.5 nats of it is only a lower bound."
        )
    return (
        "Mutual information of x and z against rate on test. "
        f"One point per run ({count_seeds(shown)}), so no interval over seeds; "
        f"thin bars: 1.96 standard errors over examples. Black "
        f"line: mi = kl; no model lies above it, except by estimation noise.{ceiling} The distance "
        "below the line is the KL of the aggregate posterior from the prior: rate that carries no "
        "information about x."
        + describe_names(shown, "kl", "mi")
        + describe_slots(runs)
        + describe_edges(shown, "kl")
        + describe_lacking(runs, shown, "mi")
        + describe_left_out(runs)
    )


def mi_limits(runs: pd.DataFrame) -> tuple[float, float]:
    """Limits from below 0 (Monte Carlo noise) to above the highest point or a ceiling near it."""
    error = 1.96 * runs["mi_se"].fillna(0)
    points = max(float((runs["mi"] + error).max()), 0.4)
    # ceilings near the points are drawn, and others named at the top
    near = [ceiling for _, ceiling in example_ceilings(runs) if ceiling < 2 * points]
    top = 1.1 * max([points, *near])
    return min(float((runs["mi"] - error).min()), 0) - 0.03 * top, top


def example_ceilings(runs: pd.DataFrame) -> list[tuple[int, float]]:
    """Each number N of examples that mi was estimated with, and ln N (nats)."""
    return [(int(n), float(np.log(n))) for n in sorted(runs["mi_n"].dropna().unique()) if n > 0]


def draw_ceilings(ax: Axes, ceilings: list[tuple[int, float]]) -> None:
    """Dashes at each ceiling (N, nats); ceilings far above all points are named at the top."""
    names = {ceiling: f"ln {n:,} = {ceiling:.2f}" for n, ceiling in ceilings}
    inside = [ceiling for ceiling in names if ceiling < ax.get_ylim()[1]]
    text: dict[str, Any] = {"textcoords": "offset points", "color": "#555555"}
    for ceiling in inside:
        ax.axhline(ceiling, **CEILING_STYLE)
        place = ("axes fraction", "data")
        ax.annotate(names[ceiling], (0, ceiling), (3, 2), xycoords=place, **text)
    above = [name for ceiling, name in names.items() if ceiling not in inside]
    if above:
        named = f"↑ ceiling {', '.join(above)}"
        ax.annotate(named, (0, 1), (3, -9), xycoords="axes fraction", **text)


def mi_legend(runs: pd.DataFrame) -> list[Line2D]:
    entries = [legend_entry("mi = kl", color="black", linewidth=1.0)]
    if any(ceiling < mi_limits(runs)[1] for _, ceiling in example_ceilings(runs)):
        entries.append(legend_entry("ceiling ln N of an estimate", **CEILING_STYLE))
    return entries


MI_VS_KL_FIGURE = Plot("mi_vs_kl", "Information and rate", "runs", draw_mi_vs_kl, describe_mi_vs_kl)
