"""The table of every run."""

import pandas as pd

from uncollapse.metrics import catalogue
from uncollapse.metrics.catalogue import METRICS
from uncollapse.metrics.metric import END, EVALUATED, REPORT, TRAINING
from uncollapse.metrics.rows_evaluation import FEW_SAMPLES
from uncollapse.report.notes import BOUND, CUT, OPEN, cut_off, few_samples, unconverged
from uncollapse.report.runs import rule_columns
from uncollapse.report.tables import Table
from uncollapse.report.tables.cells import (
    add_chance,
    drop_empty_columns,
    format_single,
    mark_cells,
    mark_training,
)
from uncollapse.report.tables.marks import levels_differ

RUN_PLACE = ("group", "seed", "status", "step")
OTHERS = (TRAINING, REPORT)  # stages of which runs.csv has few metrics
RUN_TEXTS = ("weights", "unfinished", "commit", "tree_changed", "message", "command")


def runs_table(runs: pd.DataFrame) -> Table:
    """Every run: all its numbers in the csv, and those that readers compare in the text."""
    exact, bound = runs["nll_ppl"].notna(), few_samples(runs)
    columns = [*RUN_PLACE, *run_columns(runs), *catalogue.csv_columns(*OTHERS), "message"]
    text = pd.DataFrame(
        {name: [format_single(value, name) for value in runs[name]] for name in columns}
    )
    for name in catalogue.bound_columns():
        text[name] = mark_cells(text[name], bound, f"{BOUND} ")
    ppl = [format_single(value) for value in runs["nll_ppl"].where(exact, runs["ppl"])]
    text["ppl"] = mark_cells(ppl, ~exact | bound, f"{BOUND} ")
    chances = zip(text["probe"], runs["probe_chance"], strict=True)
    text["probe"] = [add_chance(cell, chance) for cell, chance in chances]
    text["group"] = mark_training(text["group"], cut_off(runs), unconverged(runs))
    # a failed run has a message, and an unfinished schedule a reason
    text["message"] = text["message"].where(text["message"] != "", runs["unfinished"])
    text["mi"] = mark_cells(text["mi"], runs["mi_saturated"] == 1, "≥ ")
    headers = {name: metric.header for name, metric in METRICS.items()}
    title = (
        "Every run, with test metrics of the finished ones (≤: an upper bound, from nelbo or from "
        f"fewer than {FEW_SAMPLES} effective samples; ≥: saturated, a lower bound; {CUT}: training "
        f"was cut off, see the message; {OPEN}: not converged). The csv has standard errors over "
        "examples."
    )
    return Table(
        "runs", title, runs[run_csv_columns()], drop_empty_columns(text.rename(columns=headers))
    )


def run_columns(runs: pd.DataFrame) -> list[str]:
    """The metrics that the text of the table shows."""
    metrics = [METRICS[name] for name in catalogue.summary_columns()]
    shown = [m for m in metrics if m.in_text and m.stage != REPORT]
    across = [m.name for m in shown if m.across_levels] if levels_differ(runs) else []
    return [*(m.name for m in shown if not m.across_levels), *across]


def run_csv_columns() -> list[str]:
    """The columns of runs.csv."""
    return [
        "folder",
        "head",
        *RUN_PLACE,
        *catalogue.row_columns(),
        *catalogue.test_columns(),
        *catalogue.csv_columns(*EVALUATED),
        *catalogue.csv_columns(*OTHERS),
        *catalogue.csv_columns(END),
        *rule_columns("last"),
        *RUN_TEXTS,
    ]
