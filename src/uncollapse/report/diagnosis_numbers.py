"""Numbers of a diagnosis as text, and the order of its dimensions."""

import math

import numpy as np

from uncollapse.json_types import JsonMapping


def format_found(found: JsonMapping, name: str) -> str:
    """A number of the diagnosis, with its standard error if it has one."""
    value = found[name]
    if value is None or value != value:  # nan
        return "not known"
    # bool first: True is an int in Python
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return format_with_error(value, found.get(f"{name}_se"))


def format_with_error(value: float, error: float | None = None) -> str:
    """'12.34 ± 0.21', with two significant digits of the error but two to five decimal places."""
    small = error if error else abs(value)
    places = 2 if not small or small != small else min(max(1 - math.floor(math.log10(small)), 2), 5)
    text = f"{value:.{places}f}"
    return text if error is None or error != error else f"{text} ± {error:.{places}f}"


def rank_dimensions(found: JsonMapping) -> np.ndarray:
    """Dimensions by decreasing KL, or by E[mu²] if the KL is not a sum over dimensions, [D]."""
    mu_sq = found["moments"]["mu_sq"]
    # stable, so that equal dimensions keep their order
    by = found["kl_per_dim"] if len(found["kl_per_dim"]) == len(mu_sq) else mu_sq
    return np.argsort(-np.array(by), kind="stable")
