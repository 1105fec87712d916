"""The table of test metrics under each rule that chooses weights."""

import numpy as np
import pandas as pd

from uncollapse.metrics import catalogue
from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.notes import differs_between
from uncollapse.report.runs import WEIGHTS_OF, rule_columns
from uncollapse.report.stats import by_group, finished, t_interval
from uncollapse.report.tables import Table
from uncollapse.report.tables.cells import drop_empty_columns, format_column, mark_cells
from uncollapse.runs.rules import DEFAULT_RULE

CHANGED = "*"
RULES_TITLE = (
    "Test metrics of the weights that each rule chooses, mean ± half-width of the 95 % t-interval "
    "over seeds. best_objective: the lowest validation objective since the schedules ended; last: "
    "the end of training; best_nelbo and best_nll: the lowest validation nelbo or nll of all "
    f"evaluations. {CHANGED}: another number than under best_objective, by more than the paired "
    "interval over seeds or 1.96 standard errors over examples in any seed."
)


def rules_table(runs: pd.DataFrame) -> Table:
    """The metrics of each group under each rule; empty if no rule chose other weights."""
    names = catalogue.compared_columns()
    # slices of few columns are fast
    needed = ["order", "group", "status", *(key for w in WEIGHTS_OF for key in rule_columns(w))]
    rows = [
        rule_row(group, weights, names)
        for _, group in by_group(finished(runs[needed]))
        for weights in WEIGHTS_OF
        if group[f"{weights}_step"].notna().any()
    ]
    statistics = [f"{name}_{part}" for name in names for part in ("mean", "half", "n")]
    changes = [f"{name}_changed" for name in names]
    frame = pd.DataFrame(rows, columns=["group", "rule", "n", "step", *statistics, *changes])
    if not frame[changes].any(axis=None):
        frame = frame.iloc[:0]
    text = frame[["group", "rule"]].astype(str)
    text["step"] = [f"{step:.0f}" for step in frame["step"]]
    for name in names:
        cells = format_column(frame, name, METRICS[name].digits)
        text[METRICS[name].header] = mark_cells(cells, frame[f"{name}_changed"], after=CHANGED)
    # a group is named in its first row only
    text["group"] = text["group"].where(~text["group"].duplicated(), "")
    return Table("rules", RULES_TITLE, frame, drop_empty_columns(text), optional=True)


def rule_row(group: pd.DataFrame, weights: str, names: list[str]) -> dict[str, object]:
    """One row: a group's metrics of these weights, from the columns `<weights>_...`."""
    row: dict[str, object] = {
        "group": group["group"].iloc[0],
        "rule": DEFAULT_RULE if weights == "best" else weights,
        "n": len(group),
        "step": group[f"{weights}_step"].mean(),
    }
    for name in names:
        values = group[f"{weights}_{name}"].to_numpy(dtype=float)
        mean, half = t_interval(values)
        count = int(np.isfinite(values).sum())
        changed = differs_between(group, f"{weights}_{name}", f"best_{name}")
        row |= {f"{name}_mean": mean, f"{name}_half": half, f"{name}_n": count}
        row[f"{name}_changed"] = changed
    return row
