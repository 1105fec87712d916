"""Format numbers as cells of tables."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from uncollapse.metrics.catalogue import METRICS, MISSING, choose_decimals, format_metric_value
from uncollapse.report.notes import CUT, OPEN

MOST_FIXED = 1e15  # larger numbers are written with an exponent


def format_column(
    numbers: pd.DataFrame, metric: str, digits: int | None = None, sign: str = ""
) -> list[str]:
    """The cells of one metric, from its mean, half-width and number of seeds in each group."""
    columns = numbers[[f"{metric}_mean", f"{metric}_half", f"{metric}_n", "n"]]
    rows = columns.to_numpy(dtype=float).tolist()
    # plain Python lists, as indexing frames cell by cell is slow
    return [format_cell(mean, half, count, n, digits, sign) for mean, half, count, n in rows]


def format_cell(
    mean: float, half: float, count: float, n: float, digits: int | None = None, sign: str = ""
) -> str:
    """'9.12 ± 0.30'; no interval for one seed; with '(n=2)' if some seeds lack the metric."""
    if not np.isfinite(mean):
        return MISSING
    digits = digits if digits is not None else choose_decimals(mean, half)
    # no sign before a mean that rounds to 0
    value = f"{mean:{sign}.{digits}f}" if round(mean, digits) else f"{0:.{digits}f}"
    value = value if abs(mean) < MOST_FIXED else f"{mean:{sign}.4g}"
    interval = ""
    if np.isfinite(half):
        interval = f" ± {half:.{digits}f}" if half < MOST_FIXED else f" ± {half:.4g}"
    return f"{value}{interval}" + (f" (n={count:.0f})" if count < n else "")


def format_single(value: object, metric: str = "") -> str:
    """The cell of one run: a value of a metric, or text."""
    if not isinstance(value, float):
        return str(value)
    digits = METRICS[metric].digits if metric in METRICS else None
    return format_cell(value, np.nan, 1, 1, digits)


def format_seeds(done: int, failed: int, unfinished: int) -> str:
    """'3', or '1 (+ 1 failed, 1 unfinished)'."""
    others = ((failed, "failed"), (unfinished, "unfinished"))
    rest = ", ".join(f"{count} {name}" for count, name in others if count)
    return f"{done} (+ {rest})" if rest else str(done)


def add_chance(text: str, chance: float) -> str:
    """'0.913 (chance 0.367)'; the text alone if it is empty or chance is unknown."""
    return text if text == MISSING or np.isnan(chance) else f"{text} {describe_chance(chance)}"


def describe_chance(chance: float) -> str:
    """'(chance 0.367)'."""
    return f"(chance {format_metric_value('probe_chance', chance)})"


def mark_cells(
    texts: Iterable[str], where: Iterable[bool], before: str = "", after: str = ""
) -> list[str]:
    """The cells with a mark before or after those selected by `where`, except empty ones."""
    return [
        before + text + after if marked and text != MISSING else text
        for text, marked in zip(texts, where, strict=True)
    ]


def drop_empty_columns(text: pd.DataFrame) -> pd.DataFrame:
    """The table without columns that are empty in every row."""
    kept = [text.empty or not text[name].isin([MISSING, ""]).all() for name in text.columns]
    return text.loc[:, kept]


def mark_training(
    names: Iterable[str], cut: Iterable[bool], unconverged: Iterable[bool]
) -> list[str]:
    """Names of groups with the marks of a training that was cut off, or had not converged."""
    return mark_cells(mark_cells(names, cut, after=f" {CUT}"), unconverged, after=f" {OPEN}")
