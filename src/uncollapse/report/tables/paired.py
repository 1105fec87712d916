"""The table of differences from plain, paired by seed."""

from typing import Any

import pandas as pd

from uncollapse.metrics import catalogue
from uncollapse.metrics.catalogue import METRICS
from uncollapse.metrics.metric import NLL
from uncollapse.report.notes import BIASED, CUT, cut_off
from uncollapse.report.stats import (
    SAMPLED_BY,
    by_group,
    finished,
    has_saturated_mi,
    paired_difference,
    plain_of,
    same_samples,
)
from uncollapse.report.tables import Table
from uncollapse.report.tables.cells import drop_empty_columns, format_column, mark_cells
from uncollapse.report.tables.marks import is_biased
from uncollapse.report.tables.titles import describe_units

STATISTICS = ("n", "mean", "half")


def paired_table(runs: pd.DataFrame) -> Table:
    """Differences from plain on shared seeds; empty if there is no plain or no shared seed."""
    metrics = catalogue.paired_columns()
    # slices of few columns are fast
    needed = runs[list(dict.fromkeys(["order", "group", "seed", "status", *SAMPLED_BY, *metrics]))]
    done = {order: group.set_index("seed") for order, group in by_group(finished(needed))}
    # plain is not compared with itself, and both groups must have finished seeds
    pairs = [
        pair for pair in plain_of(runs).items() if pair[0] != pair[1] and done.keys() >= set(pair)
    ]
    columns = [f"d_{metric}_{part}" for metric in metrics for part in STATISTICS]
    numbers = pd.DataFrame(
        [paired_row(done[order], done[plain], metrics) for order, plain in pairs],
        columns=["group", "against", "n", *columns],
    )
    # groups that share no seed with plain
    numbers = numbers[numbers["n"] > 0]
    text = numbers[["group", "against", "n"]].astype(str)
    cut = text["group"].isin(runs.loc[cut_off(runs), "group"])
    text["group"] = mark_cells(text["group"], cut, after=f" {CUT}")
    for name in metrics:
        metric = METRICS[name]
        text[metric.header] = format_column(numbers, f"d_{name}", metric.digits, sign="+")
    text["nll"] = mark_cells(text["nll"], is_biased(numbers), after=f" {BIASED}")
    title = paired_title(runs, text, cut_marked=bool(cut.any()))
    return Table("paired", title, numbers, drop_empty_columns(text))


def paired_title(runs: pd.DataFrame, text: pd.DataFrame, cut_marked: bool) -> str:
    """What the cells are, and the meaning of every mark in one of them."""
    title = (
        "Test metrics minus those of plain on shared seeds, mean ± half-width of the paired 95 % "
        f"t-interval; {describe_units(list(drop_empty_columns(text).columns))}."
    )
    if has_saturated_mi(finished(runs)):
        title += (
            " A saturated mi (≥ in the summary) is only a lower bound, so its differences are "
            "unreliable."
        )
    if cut_marked:
        title += f" {CUT}: training was cut off, see the summary."
    if any(BIASED in cell for cell in text["nll"]):
        title += (
            f" {BIASED}: the part of the difference that would vanish with more samples (the "
            "difference in nll_bias) is at least half of the interval's half-width."
        )
    return title


def paired_row(group: pd.DataFrame, plain: pd.DataFrame, metrics: list[str]) -> dict[str, Any]:
    """One row of the table, from the runs of two groups indexed by seed."""
    row: dict[str, Any] = {"group": group["group"].iloc[0], "against": plain["group"].iloc[0]}
    row["n"] = len(group.index.intersection(plain.index))
    sampled = plain[list(SAMPLED_BY)].reindex(group.index)
    alike = same_samples(group, sampled)
    for metric in metrics:
        # an nll from other numbers of samples is left out of the pair
        values = group[metric].where(alike) if METRICS[metric].stage == NLL else group[metric]
        statistics = paired_difference(values, plain[metric])
        row |= dict(zip((f"d_{metric}_{part}" for part in STATISTICS), statistics, strict=True))
    return row
