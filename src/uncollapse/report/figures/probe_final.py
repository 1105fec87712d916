"""Figure: accuracy of a linear probe at the largest number of labels."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from uncollapse.report.figures.group_lines import create_group_lines, draw_seeds, rank_groups
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
from uncollapse.report.figures.sentences import (
    INTERVAL_TEXT,
    count_seeds,
    describe_slots,
    format_counts,
)
from uncollapse.report.panels import slot_legend
from uncollapse.report.stats import by_group
from uncollapse.report.style import WIDTH, fit_text


def draw_probe_final(runs: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Accuracy of a linear classifier on mu: a column per factor, seeds, mean and t-interval."""
    rows = rank_groups(limit_groups(probe_rows(runs)), "accuracy")
    # runs may have been probed at different numbers of labels
    rows = rows[rows["step"] == rows.groupby(["run", "factor"])["step"].transform("max")]
    factors = rows.groupby("factor", sort=False)
    # the names of heads take about a third of the width
    titles = [fit_text(str(name), 0.6 * width / len(factors), 2) for name, _ in factors]
    legend = [*slot_legend(rows), *bounds_legend(rows)]
    fig, axes = create_group_lines(rows, len(factors), width, legend, titles)
    # heights of all groups, as a factor may lack some
    lines = {order: y for y, (order, _) in enumerate(by_group(rows))}
    for ax, (_, factor) in zip(axes, factors, strict=True):
        draw_seeds(ax, factor, "accuracy", lines=lines)
        ax.set_xlabel("accuracy")
        ax.margins(x=0.1)
        ax.xaxis.set_major_locator(MaxNLocator(2 if len(axes) > 2 else 3))
        for column, style in (("chance", CHANCE_STYLE), ("oracle", ORACLE_STYLE)):
            for value in factor[column].dropna().unique():
                ax.axvline(value, color=BOUND_COLOUR, **style)
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


PROBE_FINAL_FIGURE = Plot(
    "probe_final", "The probe at most labels", "runs", draw_probe_final, describe_probe_final
)
