"""What one pass over a split has seen, and the standard errors of numbers computed from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from uncollapse.interfaces.posterior import Posterior


@dataclass(frozen=True)
class Pass:
    """N examples seen once: what every function of the stage "pass" receives.

    rec, rec_shuffled [N] nats: -log p(x|z) with the example's own z, and with that of another one.
    kl [N, G] nats; mean, variance [N, D]; tokens, chars, bytes [N], the counts of each example,
    None where there is no text. z [N, D] are the codes drawn, and `posteriors`, batch by batch,
    the distributions they were drawn from.
    """

    rec: np.ndarray
    rec_shuffled: np.ndarray
    kl: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    tokens: np.ndarray | None
    z: Tensor
    posteriors: Sequence[Posterior]
    chars: np.ndarray | None = None
    bytes: np.ndarray | None = None
    floor: float | None = None  # the batch-mean KL that the head promises, nats
    mixture: int | None = None  # about how many examples form q(z); None: all


def standard_error(values: np.ndarray) -> float:
    """The standard error of the mean of independent values [N]: s / sqrt(N); nan for one value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def with_error(name: str, values: np.ndarray) -> dict[str, float]:
    """{name: mean, name_se: its standard error} of values [N]."""
    return {name: float(values.mean()), f"{name}_se": standard_error(values)}
