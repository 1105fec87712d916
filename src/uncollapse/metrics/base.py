"""The data of one pass over a split, and standard errors of what is computed from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from torch import Tensor

from uncollapse.interfaces.posterior import Posterior


@dataclass(frozen=True)
class Pass:
    """N encoded and decoded examples: the argument of every function of the stage "pass".

    rec, rec_shuffled [N] nats: -log p(x|z) with the example's own z, and with that of another one.
    kl [N, G] nats, where G is D, or 1 if the KL is not a sum over dimensions.
    mean, variance [N, D]: moments of q(z|x). z [N, D]: the drawn codes. `posteriors`: the
    distributions they were drawn from, one per batch.
    tokens, chars, bytes [N]: the size of each text; None for other data.
    """

    rec: Annotated[np.ndarray, "N"]  # shapes that `pytest --shapes` checks
    rec_shuffled: Annotated[np.ndarray, "N"]
    kl: Annotated[np.ndarray, "N G"]
    mean: Annotated[np.ndarray, "N D"]
    variance: Annotated[np.ndarray, "N D"]
    tokens: np.ndarray | None
    z: Annotated[Tensor, "N D"]
    posteriors: Sequence[Posterior]
    chars: np.ndarray | None = None
    bytes: np.ndarray | None = None
    floor: float | None = None  # lower bound on the batch-mean KL that the head promises, nats
    loss: float | None = None  # mean of the objective's final loss, nats; None outside training
    mixture: int | None = None  # about how many examples estimate q(z); None: all


def standard_error(values: np.ndarray) -> float:
    """The standard error of the mean of independent values [N], s / sqrt(N); nan if N is 1."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def with_error(name: str, values: np.ndarray) -> dict[str, float]:
    """{name: mean, name_se: its standard error} of values [N]."""
    return {name: float(values.mean()), f"{name}_se": standard_error(values)}
