"""Numbers of a diagnosis as text, and the order of its dimensions."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def format_found(found: Mapping[str, Any], name: str) -> str:
    """A number of the diagnosis with its error, if it has one."""
    value = found[name]
    if value is None or value != value:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return format_with_error(value, found.get(f"{name}_se"))


def format_with_error(value: float, error: float | None = None) -> str:
    """'12.34 ± 0.21': two digits of the error, at least two places and at most five."""
    small = error if error else abs(value)
    places = 2 if not small or small != small else min(max(1 - math.floor(math.log10(small)), 2), 5)
    text = f"{value:.{places}f}"
    return text if error is None or error != error else f"{text} ± {error:.{places}f}"


def rank_dimensions(found: Mapping[str, Any]) -> np.ndarray:
    """Dimensions by decreasing KL, or by E[mu²] where the KL does not split, [D]."""
    mu_sq = found["moments"]["mu_sq"]
    by = found["kl_per_dim"] if len(found["kl_per_dim"]) == len(mu_sq) else mu_sq
    return np.argsort(-np.array(by), kind="stable")
