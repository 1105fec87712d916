"""The catalogue of metrics: one row per metric, from which everything else is derived.

Table columns, terminal lines, the legend of the page, differences from plain, keys of results on
disk and docs/metrics.md all follow from these rows. To add a metric, write a function and a row:
docs/add_a_metric.md. Importing this module loads neither torch nor pandas.
"""

import json
import math
from collections.abc import Iterable
from functools import cache
from importlib import import_module

from uncollapse.errors import InputError
from uncollapse.json_types import JsonMapping, JsonObject
from uncollapse.metrics.metric import EVALUATED, PASS, Function, Metric
from uncollapse.metrics.rows_evaluation import EVALUATION_ROWS
from uncollapse.metrics.rows_pass import PASS_ROWS
from uncollapse.metrics.rows_run import RUN_ROWS
from uncollapse.metrics.rows_samples import SAMPLE_ROWS
from uncollapse.metrics.rows_text import TEXT_ROWS

METRICS: dict[str, Metric] = {}  # by name, in the order of the documentation and of files
MISSING = "–"  # a cell without a value


def add(*rows: Metric) -> None:
    """Add your own metrics, before a run or a report starts. InputError for a name in use."""
    for metric in rows:
        if not isinstance(metric, Metric):
            raise InputError(f"a row of the catalogue is a Metric, not a {type(metric).__name__}")
        keys = {key for other in METRICS.values() for key in other.keys}
        # standard errors count too: `x_se` must not be a metric of its own beside `x`
        if taken := keys.intersection(metric.keys):
            raise InputError(f"metric {min(taken)}: the catalogue has a row for it already")
        METRICS[metric.name] = metric


def list_added() -> list[Metric]:
    """The rows that are not the package's own."""
    return [metric for name, metric in METRICS.items() if name not in PACKAGE_NAMES]


def restore_added(rows: Iterable[Metric]) -> None:
    """Add the rows of another process that this one does not have."""
    add(*(metric for metric in rows if metric.name not in METRICS))


# ---- selections of rows --------------------------------------------------------------------------


def csv_columns(*stages: str) -> list[str]:
    """The columns of runs.csv from these stages: metrics, each followed by its standard error."""
    return [key for m in METRICS.values() if m.stage in stages for key in _csv_keys(m)]


def row_columns() -> list[str]:
    """Metrics of a pass that reports read from every row of metrics.jsonl."""
    of_rows = [m for m in METRICS.values() if m.stage == PASS and m.every_row]
    return [m.name for m in of_rows if m.name in _csv_keys(m)]


def test_columns() -> list[str]:
    """Metrics and errors of a pass that reports read from test rows only.

    Errors of metrics that are read from every row come first.
    """
    on_rows = row_columns()
    keys = [key for key in csv_columns(PASS) if key not in on_rows]
    return sorted(keys, key=lambda key: key.removesuffix("_se") not in on_rows)


def test_only_keys() -> set[str]:
    """The keys of a pass that reports read from no row but those of the test split."""
    of_pass = [m for m in METRICS.values() if m.stage == PASS]
    read = {m.name for m in of_pass if m.every_row}
    return {key for m in of_pass for key in m.keys} - read


def summary_columns() -> list[str]:
    """Columns of the summary table from left to right, including those that only its csv has."""
    shown = [m for m in METRICS.values() if m.column is not None]
    return [m.name for m in sorted(shown, key=lambda m: m.column or 0)]


def paired_columns() -> list[str]:
    """Metrics that are compared with plain, seed by seed."""
    return [name for name in summary_columns() if METRICS[name].paired]


def bound_columns() -> list[str]:
    """Metrics that few effective samples make a bound rather than an estimate."""
    return [name for name in summary_columns() if METRICS[name].bound]


def compared_columns() -> list[str]:
    """Test metrics that are compared between the last and the best weights."""
    return [m.name for m in METRICS.values() if m.compare_last]


def line_names() -> list[str]:
    """Metrics in the line that a run prints at each evaluation."""
    return [m.name for m in METRICS.values() if m.line]


def result_line_names() -> list[str]:
    """Metrics in the line that `evaluate` prints about a result."""
    return [m.name for m in METRICS.values() if m.result_line]


def evaluated_keys() -> set[str]:
    """The keys of a summary that only evaluations write, never training."""
    return {key for m in METRICS.values() if m.stage in EVALUATED for key in m.keys}


def size_names() -> list[str]:
    """Metrics that say which of several results is the largest, in the order of comparison."""
    sizes = [m for m in METRICS.values() if m.size_rank is not None]
    return [m.name for m in sorted(sizes, key=lambda m: m.size_rank or 0)]


def _csv_keys(metric: Metric) -> tuple[str, ...]:
    if metric.kind != "number" or not metric.in_csv:
        return ()
    return metric.keys if metric.error == "csv" else (metric.name,)


# ---- values --------------------------------------------------------------------------------------


def choose_decimals(value: float, half: float = math.nan) -> int:
    """Digits after the point: two, three for a value near 0, and up to five where the half-width
    of its interval would otherwise read 0."""
    usual = 3 if 0 < abs(value) < 0.1 else 2
    if not half > 0:
        return usual
    # a half-width that reads 0 with five digits too is rounding, and needs none of them
    return next((digits for digits in range(usual, 6) if round(half, digits)), usual)


def format_metric_value(name: str, value: float) -> str:
    """A value of a metric with the digits of its row."""
    digits = METRICS[name].digits
    return f"{value:.{choose_decimals(value) if digits is None else digits}f}"


# ---- functions -----------------------------------------------------------------------------------


def compute(stage: str, *arguments: object) -> JsonObject:
    """Call every function of a stage with these arguments, in the catalogue's order.

    A function returns every metric of its rows that is not optional, or {} if none applies.
    InputError if it does not.
    """
    found: JsonObject = {}
    # a function shared by several metrics is called once
    for function, metrics in group_by_function(stage).items():
        values = load_function(function)(*arguments)
        check_returned(function, values, metrics)
        for key, value in values.items():
            check_value(key, value)
        found |= values
    return found


def group_by_function(stage: str) -> dict[str | Function, list[Metric]]:
    """The functions of a stage, each with the metrics that it computes."""
    found: dict[str | Function, list[Metric]] = {}
    for metric in METRICS.values():
        if metric.stage == stage:
            found.setdefault(metric.function, []).append(metric)
    return found


def require_functions(*stages: str) -> None:
    """InputError for a row of these stages whose function cannot be imported."""
    for stage in stages:
        for function in group_by_function(stage):
            load_function(function)


@cache
def load_function(function: str | Function) -> Function:
    """The function that a reference such as "package.module:name" names. InputError if none."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    try:
        loaded: Function = getattr(import_module(module), name)
    # whatever the user's own code raises
    except Exception as error:
        from uncollapse.raised import describe_raised

        reason = describe_raised(error)
        raise InputError(f"metric function {function}: cannot be imported ({reason})") from error
    if not callable(loaded):
        raise InputError(f"metric function {function}: it is a {type(loaded).__name__}")
    return loaded


def check_returned(
    function: str | Function, values: JsonMapping, metrics: Iterable[Metric]
) -> None:
    """InputError for a key without a row in the catalogue, and for a row without a value."""
    name = function if isinstance(function, str) else function.__qualname__
    if not isinstance(values, dict):
        raise InputError(f"{name} returned a {type(values).__name__}; it must return a dict")
    by_key = {key: metric for metric in metrics for key in metric.keys}
    if unknown := sorted(values.keys() - by_key):
        base = by_key.get(unknown[0].removesuffix("_se"))
        advice = f"; set error='csv' in the row of {base.name}" if base else ""
        raise InputError(
            f"{name} returned {unknown[0]!r}, which has no row in the catalogue{advice}"
        )
    needed = {key for metric in metrics if not metric.optional for key in metric.keys}
    # {} means that the function does not apply to these data
    if values and (lacking := sorted(needed - values.keys())):
        raise InputError(f"{name} did not return {lacking[0]!r}, which has a row")


def check_value(key: str, value: object) -> None:
    """InputError unless JSON can hold the value of a key, and that of a "number" is one number."""
    metric = METRICS.get(key) or METRICS[key.removesuffix("_se")]
    if metric.kind == "number":
        fits = value is None or isinstance(value, int | float)
    else:
        fits = is_json(value)
    if not fits:
        wanted = "a float" if metric.kind == "number" else "a list or dict of Python numbers"
        raise InputError(
            f"metric {key}: its function returned a {type(value).__name__}; "
            f"it must be {wanted}, or None"
        )


def is_json(value: object) -> bool:
    """Whether JSON can hold a value."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


# ---- documentation -------------------------------------------------------------------------------


def format_documentation() -> str:
    """The text of docs/metrics.md: a table of every metric."""
    lines = [
        "# Metrics",
        "",
        "Generated from the catalogue by `python -m uncollapse.metrics.catalogue`; do not edit.",
        "`<name>_se` is the standard error of a metric over examples.",
        "",
        "| name | column | unit | better | stage | meaning | pitfall |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_format_documentation_row, METRICS.values())]) + "\n"


def _format_documentation_row(metric: Metric) -> str:
    name = f"`{metric.name}`" + (", `_se`" if metric.error != "none" else "")
    column = "" if metric.header == metric.name else metric.header
    facts = (metric.unit, metric.better or "", metric.stage)
    cells = (name, column, *facts, metric.meaning, metric.pitfall)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


add(*PASS_ROWS, *EVALUATION_ROWS, *SAMPLE_ROWS, *TEXT_ROWS, *RUN_ROWS)
PACKAGE_NAMES = frozenset(METRICS)

if __name__ == "__main__":
    from pathlib import Path

    Path("docs/metrics.md").write_text(format_documentation(), encoding="utf-8")
