"""Figure: what a remedy costs in likelihood and in time."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from uncollapse.report.figures.group_lines import (
    create_group_lines,
    draw_seeds,
    rank_groups,
)
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.selection import limit_groups, require_finished
from uncollapse.report.figures.sentences import (
    INTERVAL_TEXT,
    count_seeds,
    describe_edges,
    describe_hidden_groups,
    describe_lacking,
    describe_left_out,
    describe_slots,
)
from uncollapse.report.notes import bound_note
from uncollapse.report.panels import axis_label, set_label, slot_legend
from uncollapse.report.stats import against_plain, finished, outlying, relative_time
from uncollapse.report.style import GREY, WIDTH, NoFigure

NEVER_FAR = 1.0  # nats of a difference from the median


def draw_cost(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """nll minus plain's (nats, test, paired by seed), and seconds per step relative to plain's."""
    runs = rank_groups(limit_groups(compute_costs(runs)), "d_nll", ascending=True)
    fig, axes = create_group_lines(runs, 2, width, slot_legend(runs), label_lines=2)
    draw_seeds(axes[0], runs, "d_nll", outlying(runs, "d_nll", NEVER_FAR))
    axes[0].axvline(0, color=GREY, linewidth=0.8)
    set_label(axes[0], "x", axis_label("d_nll"))
    axes[1].axvline(1, color=GREY, linewidth=0.8)
    set_label(axes[1], "x", "seconds per step / plain's")
    # linear unless times differ by more than a factor of three
    wide = runs["relative_time"].max() > 3 * runs["relative_time"].min() > 0
    axes[1].set_xscale("log" if wide else "linear")
    draw_seeds(axes[1], runs, "relative_time")
    if wide:
        axes[1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes[1].xaxis.set_minor_formatter(NullFormatter())
    return fig


def describe_cost(runs: pd.DataFrame) -> str:
    shown = compute_costs(runs)
    return (
        "What a remedy costs. Left: test nll minus that of plain with the same seed; below 0 the "
        "remedy models the data better. Right: seconds per step relative to the mean of plain. "
        f"Points: seeds ({count_seeds(shown)}); bar: mean and {INTERVAL_TEXT}; on the left, the "
        "interval of the paired differences. Runs that share a machine slow each other down, and "
        "not all equally."
        + describe_slots(shown, "the difference, lowest on top")
        + describe_edges(shown, "d_nll", never=NEVER_FAR)
        + describe_hidden_groups(shown["order"].nunique())
        + describe_without_plain(runs, shown)
        + bound_note(finished(runs))
        + describe_left_out(runs)
    )


def describe_without_plain(runs: pd.DataFrame, shown: pd.DataFrame) -> str:
    """How many runs are not shown because they have no plain run to be compared with."""
    others = runs[runs["head"] != "plain"]
    return describe_lacking(others, shown, "a plain run with nll and the same seed")


def compute_costs(runs: pd.DataFrame) -> pd.DataFrame:
    """Finished runs of heads other than plain, with `d_nll` (nats) and `relative_time`.

    Both compare a run with plain: nll at the same seed, and seconds per step with the mean.
    NoFigure if no run has a plain run to be compared with.
    """
    both = require_finished(runs).assign(
        d_nll=against_plain(runs, "nll"), relative_time=relative_time(runs)
    )
    # plain itself has the difference 0 by definition
    both = both[both["head"] != "plain"].dropna(subset=["d_nll"])
    if both.empty:
        raise NoFigure(
            "no finished run has an nll to compare with that of plain at the same seed "
            "(`uncollapse evaluate` computes nll)."
        )
    return both


COST_FIGURE = Plot("cost", "What it costs", "runs", draw_cost, describe_cost)
