"""What the scripts of the page know: groups and runs, with numbers to sort by and text to print.

All text is formatted in Python, so that a number reads the same in the table, in tips and copies.
"""

import json
import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from uncollapse.json_types import JsonObject
from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.heads import Head, HeadTable, typeset
from uncollapse.report.tables.files import FORMULA_STARTS, LATEX
from uncollapse.report.tables.summary import derive_metrics
from uncollapse.report.tokens import SLOT_TOKENS

AXES = (("mi", "d_nll"), ("mi", "shuffle_gap"))  # the first pair that a study has is shown
KEPT_INFORMATION = ("mi", "shuffle_gap")  # more of it is what a price is paid for
DIGITS = 7  # significant ones, of numbers to draw and sort by


def make_page_data(runs: pd.DataFrame, table: HeadTable) -> JsonObject:
    """The data of the page as JSON values."""
    names = [*table.columns, *table.others]
    place = {head.order: i for i, head in enumerate(table.heads)}
    return {
        "metrics": {name: describe_metric(name) for name in names},
        "axes": choose_axes(names),
        "slots": {slot: token._asdict() for slot, token in SLOT_TOKENS.items()},
        "groups": [describe_head(head) for head in table.heads],
        "runs": describe_runs(runs.assign(**derive_metrics(runs)), place, names),
        "latex": LATEX,
        "formulas": "".join(FORMULA_STARTS),
    }


def describe_metric(name: str) -> JsonObject:
    """What axes and tips say of a metric; `front`: 1 if more is better there, -1 if less is."""
    metric = METRICS[name]
    front = {"higher": 1, "lower": -1}.get(metric.better or "", int(name in KEPT_INFORMATION))
    header = typeset(metric.header)
    return {"header": header, "unit": metric.unit, "better": metric.better, "front": front}


def choose_axes(names: Iterable[str]) -> list[str]:
    """The metrics of the two axes at first; [] if no two metrics are known."""
    known = list(names)
    usual = (list(pair) for pair in AXES if {*pair} <= {*known})
    return next(usual, known[:2] if len(known) > 1 else [])


def describe_head(head: Head) -> JsonObject:
    """A row of the table; its metrics as [mean, half-width, text]."""
    return {
        "key": head.key,
        "name": head.name,
        "short": head.short,
        "slot": head.slot,
        "data": head.data,
        "changes": head.changes,
        "n": head.runs,
        "state": head.state,
        "m": {
            name: [round_number(cell.mean), round_number(cell.half), cell.text]
            for name, cell in head.cells.items()
            if np.isfinite(cell.mean)
        },
    }


def describe_runs(runs: pd.DataFrame, place: dict[int, int], metrics: Iterable[str]) -> JsonObject:
    """The columns of all runs: `group` is the place of a run's group in the table."""
    return {
        "group": [place[order] for order in runs["order"].tolist()],
        "seed": runs["seed"].tolist(),
        "status": runs["status"].tolist(),
        "folder": runs["folder"].tolist(),
        "command": runs["command"].tolist(),
        "m": {
            name: [round_number(value) for value in runs[name].astype(float).tolist()]
            for name in metrics
        },
    }


def round_number(value: float) -> float | None:
    """The number with DIGITS significant digits; None if it is not finite."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def encode_page_data(data: JsonObject) -> str:
    """The JSON text, which cannot end the element that contains it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
