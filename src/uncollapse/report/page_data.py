"""What the scripts of the page know: groups and runs, with numbers to sort by and text to print.

All text is formatted in Python, so that a number reads the same in the table, in tips and copies.
"""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from uncollapse.json_types import JsonObject
from uncollapse.metrics.catalogue import METRICS
from uncollapse.metrics.metric import NLL
from uncollapse.report.curve_data import encode_curves
from uncollapse.report.dimension_data import encode_dimensions
from uncollapse.report.front import front_direction
from uncollapse.report.frontier_data import encode_frontiers
from uncollapse.report.heads import Head, HeadTable
from uncollapse.report.knob_data import encode_knob_sets
from uncollapse.report.page_numbers import round_number
from uncollapse.report.results import Study
from uncollapse.report.stats import CONFIDENCE, SAMPLED_BY, plain_of
from uncollapse.report.tables.files import FORMULA_STARTS, LATEX
from uncollapse.report.tables.summary import derive_metrics
from uncollapse.report.text import typeset
from uncollapse.report.tokens import SLOT_TOKENS

AXES = (("mi", "d_nll"), ("mi", "shuffle_gap"))  # the first pair that a study has is shown
MOST_PLAIN = 1_000_000  # characters of JSON that readers may want to search
COMPARED = ("nll", "mi", "shuffle_gap", "kl", "probe")  # between two heads, seed by seed


def make_page_data(study: Study, table: HeadTable) -> JsonObject:
    """The data of the page as JSON values."""
    runs = study.runs
    names = [*table.columns, *table.others]
    place = {head.order: i for i, head in enumerate(table.heads)}
    curves = encode_curves(study.rows, runs, place)
    return {
        "metrics": {name: describe_metric(name) for name in names},
        "axes": choose_axes(names),
        "compared": [name for name in COMPARED if name in names],
        "quantiles": find_quantiles(runs),
        "slots": {slot: token._asdict() for slot, token in SLOT_TOKENS.items()},
        "groups": describe_groups(runs, table, place),
        "runs": describe_runs(runs.assign(**derive_metrics(runs)), place, names),
        "curves": curves
        | {"metrics": {name: describe_metric(name) for name in curves.get("names", [])}},
        "dimensions": encode_dimensions(study.rows, runs),
        "frontiers": encode_frontiers(runs, place),
        "knobs": encode_knob_sets(runs, place, names),
        "latex": LATEX,
        "formulas": "".join(FORMULA_STARTS),
    }


def describe_metric(name: str) -> JsonObject:
    """What axes and tips say of a metric; `front`: 1 if more is better there, -1 if less is."""
    metric = METRICS[name]
    header = typeset(metric.header)
    return {
        "header": header,
        "unit": metric.unit,
        "better": metric.better,
        "front": front_direction(name),
        "digits": metric.digits,
        "sampled": metric.stage == NLL,
    }


def choose_axes(names: Iterable[str]) -> list[str]:
    """The metrics of the two axes at first; [] if no two metrics are known."""
    known = list(names)
    usual = (list(pair) for pair in AXES if {*pair} <= {*known})
    return next(usual, known[:2] if len(known) > 1 else [])


def find_quantiles(runs: pd.DataFrame) -> list[float | None]:
    """The factor of a standard error in a t-interval, by the number of seeds."""
    most = int(runs.groupby("order").size().max())
    factors = (float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) for n in range(2, most + 1))
    return [None, None, *map(round_number, factors)]


def describe_groups(
    runs: pd.DataFrame, table: HeadTable, place: Mapping[int, int]
) -> list[JsonObject]:
    """The rows of the table, each with its settings and the plain group it is compared with."""
    first = {record["order"]: record for record in runs.drop_duplicates("order").to_dict("records")}
    plain = plain_of(runs)
    return [
        describe_head(head)
        | {
            "group": first[head.order]["group"],
            "head": first[head.order]["head"],
            "settings": ", ".join(first[head.order]["override_list"]),
            "plain": place.get(plain.get(head.order, -1)),
        }
        for head in table.heads
    ]


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


def describe_runs(
    runs: pd.DataFrame, place: Mapping[int, int], metrics: Iterable[str]
) -> JsonObject:
    """The columns of all runs: `group` is the place of a run's group in the table.

    `command` numbers the commands of the page. nll may be compared between runs with the same
    `sampling`. Of columns that few runs have, only these runs, by their position.
    """
    commands = {command: i for i, command in enumerate(dict.fromkeys(runs["command"]))}
    sampling = pd.factorize(pd.MultiIndex.from_frame(runs[list(SAMPLED_BY)]))[0]
    lacking = runs[list(SAMPLED_BY)].isna().any(axis=1)
    return {
        "group": [place[order] for order in runs["order"].tolist()],
        "seed": runs["seed"].tolist(),
        "step": runs["step"].astype(int).tolist(),
        "folder": runs["folder"].tolist(),
        "command": [commands[command] for command in runs["command"]],
        "sampling": [
            None if is_lacking else int(code)
            for code, is_lacking in zip(sampling, lacking, strict=True)
        ],
        "status": list_present(runs["status"].where(runs["status"] != "done")),
        "message": list_present(runs["message"].where(runs["message"] != "", runs["unfinished"])),
        "saturated": [int(i) for i in np.flatnonzero(runs["mi_saturated"] == 1)],
        "unconverged": [int(i) for i in np.flatnonzero(runs["converged"] == 0)],
        "m": {
            name: [round_number(value) for value in runs[name].astype(float).tolist()]
            for name in metrics
        },
    }


def list_present(values: pd.Series) -> dict[str, Any]:
    """Position -> value of a column, without empty ones."""
    present = values.reset_index(drop=True).dropna()
    return {str(i): value for i, value in present.items() if value != ""}


def encode_page_data(data: JsonObject) -> tuple[str, str]:
    """The data as text that cannot end the element that contains it, and its type.

    Much JSON is compressed, and then written as base64.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c")
    if len(text) <= MOST_PLAIN:
        return text, "application/json"
    # without the time, so that equal data are equal files
    packed = gzip.compress(text.encode(), mtime=0)
    return base64.b64encode(packed).decode(), "application/gzip"
