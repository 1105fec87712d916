"""Figure: accuracy of a linear probe at the largest number of labels."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from uncollapse.report.figures.group_lines import create_group_lines, draw_seeds, rank_groups
from uncollapse.report.figures.plot import Plot
from uncollapse.report.figures.probe_data import (
    bounds_legend,
    describe_probe_of,
    factor_bounds,
    probe_rows,
)
from uncollapse.report.figures.selection import limit_groups
from uncollapse.report.figures.sentences import (
    INTERVAL_TEXT,
    count_seeds,
    describe_slots,
    format_counts,
)
from uncollapse.report.panels import add_legend_below, slot_legend
from uncollapse.report.stats import by_group
from uncollapse.report.style import is_crowded, wrap_text


def draw_probe_final(runs: pd.DataFrame) -> Figure:
    """Accuracy of a linear classifier on mu: a column per factor, seeds, mean and t-interval."""
    rows = rank_groups(limit_groups(probe_rows(runs)), "accuracy")
    fig, axes = draw_probe_at_most_labels(rows)
    for ax, values, style in factor_bounds(axes, rows):
        for value in values:
            ax.axvline(value, **style)
    return fig


def describe_probe_final(runs: pd.DataFrame) -> str:
    rows = probe_rows(runs)
    most = format_counts(rows["step"].max() for _, rows in rows.groupby("run"))
    seeds = count_seeds(rows.drop_duplicates("run"))
    return describe_probe_of(
        runs,
        f"Accuracy at the largest number of labels ({most}), one column per factor. "
        f"Points: seeds ({seeds}); bar: mean and {INTERVAL_TEXT}."
        + describe_slots(rows, "the mean over factors"),
    )


def draw_probe_at_most_labels(rows: pd.DataFrame) -> tuple[Figure, list[Axes]]:
    """One column per factor and a line per group, at each run's largest number of labels."""
    # runs may have been probed at different numbers of labels
    rows = rows[rows["step"] == rows.groupby(["run", "factor"])["step"].transform("max")]
    factors = rows.groupby("factor", sort=False)
    fig, axes = create_group_lines(rows, len(factors))
    # heights of all groups, as a factor may lack some
    lines = {order: y for y, (order, _) in enumerate(by_group(rows))}
    for ax, (name, factor) in zip(axes, factors, strict=True):
        draw_seeds(ax, factor, "accuracy", lines=lines)
        ax.set_title(wrap_text(str(name), 14))
        ax.set_xlabel("accuracy")
        ax.margins(x=0.1)
        ax.xaxis.set_major_locator(MaxNLocator(3))
    add_legend_below(fig, [*(slot_legend(rows) if is_crowded(rows) else []), *bounds_legend(rows)])
    return fig, axes


PROBE_FINAL_FIGURE = Plot(
    "probe_final", "The probe at most labels", "runs", draw_probe_final, describe_probe_final
)
