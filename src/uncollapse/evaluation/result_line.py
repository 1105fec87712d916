"""A result of an evaluation as one line for the terminal."""

import math

from uncollapse.json_types import JsonMapping
from uncollapse.metrics.catalogue import METRICS, result_line_names

USUAL_DIGITS = 3  # after the point, for metrics whose row leaves them open


def format_result(result: JsonMapping) -> str:
    """'nll 25.310 ± 0.120 (bias about 0.150, ess 18.3), nll_ppl 5.210'."""
    names = [name for name in result_line_names() if isinstance(result.get(name), float)]
    return ", ".join(f"{name} {format_number(result, name)}" for name in names)


def format_number(result: JsonMapping, name: str) -> str:
    """'25.310 ± 0.120 (bias about 0.150, ess 18.3)'; ± is one standard error."""
    digits = choose_digits(name)
    error = f" ± {result[f'{name}_se']:.{digits}f}" if is_finite(result, f"{name}_se") else ""
    beside = ", ".join(
        f"{other.label} {result[other.name]:.{choose_digits(other.name)}f}"
        for other in METRICS[name].beside
        if is_finite(result, other.name)
    )
    return f"{result[name]:.{digits}f}{error}" + (f" ({beside})" if beside else "")


def choose_digits(name: str) -> int:
    digits = METRICS[name].digits
    return USUAL_DIGITS if digits is None else digits


def is_finite(result: JsonMapping, name: str) -> bool:
    value = result.get(name)
    return isinstance(value, float) and math.isfinite(value)
