"""The summary table: one row per group of runs."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from uncollapse.metrics import catalogue
from uncollapse.metrics.catalogue import METRICS, MISSING
from uncollapse.metrics.metric import REPORT
from uncollapse.report.notes import BIASED, BOUND
from uncollapse.report.stats import find_prices, once_per_frame, relative_time, summarise
from uncollapse.report.tables import Table
from uncollapse.report.tables.cells import (
    add_chance,
    describe_chance,
    drop_empty_columns,
    format_column,
    format_seeds,
    mark_cells,
    mark_training,
)
from uncollapse.report.tables.marks import (
    count_warned,
    is_biased,
    levels_differ,
    mi_ceilings,
    samples_used,
    shared_ceiling,
    shared_chance,
)
from uncollapse.report.tables.titles import summary_title

GROUP_NAMES = ["group", "head", "label", "overrides", "changes"]
STATUSES = {"done": "n", "failed": "failed", "unfinished": "unfinished"}


class Summary(NamedTuple):
    """The summary as numbers (index `order`), and its cells and headers as text, by metric."""

    numbers: pd.DataFrame
    cells: dict[str, list[str]]
    headers: dict[str, str]


def summary_table(runs: pd.DataFrame) -> Table:
    """One row per group: mean and half-width of the t-interval over its finished seeds."""
    numbers, cells, headers = summarise_groups(runs)
    text = pd.DataFrame(
        {
            "group": mark_names(numbers),
            "changes": numbers["changes"],
            "n": count_runs(numbers),
            **{headers[name]: column for name, column in cells.items()},
        }
    )
    title = summary_title(runs, text)
    return Table("summary", title, numbers.reset_index(drop=True), drop_empty_columns(text))


@once_per_frame
def summarise_groups(runs: pd.DataFrame) -> Summary:
    """The numbers of the summary, and the cells and headers of the metrics that its text has."""
    columns = shown_columns(runs)
    numbers = summary_numbers(runs, columns)
    ceiling, chance = shared_ceiling(numbers), shared_chance(numbers)
    headers = {name: METRICS[name].header for name in columns}
    # a value that all groups share stands in the header instead of every cell
    if ceiling:
        shown = catalogue.format_metric_value("mi_ceiling", ceiling)
        headers["mi"] = f"{METRICS['mi'].header} (ceiling {shown})"
    if not np.isnan(chance):
        headers["probe"] = f"{METRICS['probe'].header} {describe_chance(chance)}"
    special = special_columns(numbers, with_ceiling=not ceiling, with_chance=np.isnan(chance))
    cells = {
        name: special.get(name) or format_column(numbers, name, METRICS[name].digits)
        for name in columns
    }
    return Summary(numbers, cells, headers)


def mark_names(numbers: pd.DataFrame) -> list[str]:
    """The names of the groups, with marks of a training that was cut off or had not converged."""
    return mark_training(numbers["group"], numbers["cut_off"] > 0, numbers["unconverged"] > 0)


def count_runs(numbers: pd.DataFrame) -> list[str]:
    """The number of runs of each group, as text."""
    return [format_seeds(*row) for row in numbers[[*STATUSES.values()]].itertuples(index=False)]


def shown_columns(runs: pd.DataFrame) -> list[str]:
    """The metrics in the text of the summary, from left to right."""
    metrics = [METRICS[name] for name in catalogue.summary_columns()]
    across = levels_differ(runs)
    return [m.name for m in metrics if m.in_text and (across or not m.across_levels)]


def summary_numbers(runs: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """The columns of the csv, and the number of runs of each status, per group."""
    derived = runs.assign(**derive_metrics(runs))
    only_csv = [name for name in catalogue.summary_columns() if not METRICS[name].in_text]
    last = [f"last_{name}" for name in catalogue.compared_columns()]
    statistics = summarise(derived, [*columns, *only_csv, *last])
    counts = runs.groupby("order")["status"].value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=[*STATUSES], fill_value=0).rename(columns=STATUSES)
    names = runs.drop_duplicates("order").set_index("order")[GROUP_NAMES]
    # joined by `order`, the index of all of them
    parts = (counts, statistics, mi_ceilings(runs), count_warned(runs), samples_used(runs))
    for part in parts:
        names = names.join(part)
    return names


def derive_metrics(runs: pd.DataFrame) -> dict[str, pd.Series]:
    """The metrics of the stage "report" of each run. InputError for a row without a value."""
    derived = {
        "kl_train_mode": runs["kl_train_mode"],
        "relative_time": relative_time(runs),
        **find_prices(runs),
    }
    of_report = [metric for metric in METRICS.values() if metric.stage == REPORT]
    catalogue.check_returned("the report", derived, of_report)
    return derived


def special_columns(
    numbers: pd.DataFrame, with_ceiling: bool, with_chance: bool
) -> dict[str, list[str]]:
    """The cells of metrics that get marks, or are shown with another number."""
    bound = numbers["few_samples"] > 0
    bounds = {
        name: mark_cells(format_column(numbers, name, METRICS[name].digits), bound, f"{BOUND} ")
        for name in catalogue.bound_columns()
    }
    d_nll = format_column(numbers, "d_nll", sign="+")
    return {
        **bounds,
        "d_nll": mark_cells(d_nll, is_biased(numbers), after=f" {BIASED}"),
        "ppl": format_ppl(numbers),
        "mi": format_mi(numbers, with_ceiling),
        "probe": format_probe(numbers, with_chance),
    }


def format_ppl(numbers: pd.DataFrame) -> list[str]:
    """Perplexities from nll or, if no seed of the group has one, from nelbo, marked as bounds."""
    from_nelbo = mark_cells(format_column(numbers, "ppl"), numbers["nll_ppl_n"] == 0, "≤ ")
    from_nll = mark_cells(format_column(numbers, "nll_ppl"), numbers["few_samples"] > 0, "≤ ")
    pairs = zip(from_nll, from_nelbo, strict=True)
    return [loose if exact == MISSING else exact for exact, loose in pairs]


def format_mi(numbers: pd.DataFrame, with_ceiling: bool) -> list[str]:
    """'≥ 6.92 ± 0.10 (7.60)': a lower bound, as a seed is saturated; in parentheses the ceiling, if
    groups differ in it."""
    texts = mark_cells(format_column(numbers, "mi"), numbers["mi_saturated"] > 0, "≥ ")
    if not with_ceiling:
        return texts
    ends = numbers[["mi_ceiling_low", "mi_ceiling_high"]].to_numpy(dtype=float).tolist()
    return [
        text
        if text == MISSING or np.isnan(low)
        # one number if both ends are equal
        else f"{text} ({'–'.join(dict.fromkeys((f'{low:.2f}', f'{high:.2f}')))})"
        for text, (low, high) in zip(texts, ends, strict=True)
    ]


def format_probe(numbers: pd.DataFrame, with_chance: bool) -> list[str]:
    """'0.913 ± 0.010 (chance 0.367)', with chance if groups differ in it."""
    texts = format_column(numbers, "probe", METRICS["probe"].digits)
    if not with_chance:
        return texts
    pairs = zip(texts, numbers["probe_chance_mean"], strict=True)
    return [add_chance(text, chance) for text, chance in pairs]
