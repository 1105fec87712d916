"""A warning where training falls below the lower bound of the KL that a head promises."""

import warnings

from uncollapse.json_types import JsonObject


def warn_below_floor(row: JsonObject) -> bool:
    """Warn and return True if the training-mode KL of a row is below the promised floor.

    Then either the bound that the head declares is wrong, or its code is.
    """
    floor, above = row["floor"], row["kl_minus_floor"]
    # with a tolerance of 0.1 % for rounding; both are null if the head promises no floor
    if floor is None or above is None or above >= -1e-3 * (1 + floor):
        return False
    warnings.warn(
        f"step {row['step']}: the training-mode KL of {row['kl']:.4g} nats is below the promised "
        f"floor of {floor:.4g} (later cases are not reported)",
        stacklevel=2,
    )
    return True
