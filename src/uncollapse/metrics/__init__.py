"""Metrics: small functions of one evaluation pass, each returning {name: value}; every quantity is in nats per example.

`<name>_se` is the standard error over examples of the Monte-Carlo number `<name>`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from uncollapse.distributions.normal import Posterior


@dataclass(frozen=True)
class Pass:
    """N examples seen once. rec, rec_shuffled [N]; kl [N, G]; mean, variance [N, D]; tokens [N] predicted in each, or None.

    z [N, D] are the codes drawn and `posteriors` what they were drawn from, batch by batch. chars, bytes [N] of text, or None.
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


def standard_error(values: np.ndarray) -> float:
    """Of the mean of independent values [N]: s / sqrt(N); nan for one value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def with_error(name: str, values: np.ndarray) -> dict:
    """{name: mean, name_se: its standard error} of values [N]."""
    return {name: float(values.mean()), f"{name}_se": standard_error(values)}
