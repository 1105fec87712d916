"""The lower bound of the KL that a head promises, and a warning where training falls below it."""

import warnings
from typing import Any

from uncollapse.models import Model


def promised_floor(model: Model) -> float | None:
    """The lower bound of the batch-mean KL that the head promises, nats; None without a promise."""
    return model.posterior.floor()


def warn_below_floor(row: dict[str, Any]) -> bool:
    """Warn if the training-mode KL of a row is below the floor; whether it is.

    The head's promise is wrong then, or its code.
    """
    floor, above = row["floor"], row["kl_minus_floor"]
    if floor is None or above is None or above >= -1e-3 * (1 + floor):
        return False
    warnings.warn(
        f"step {row['step']}: the training-mode KL of {row['kl']:.4g} nats is below the promised "
        f"floor of {floor:.4g} (later cases are not reported)",
        stacklevel=2,
    )
    return True
