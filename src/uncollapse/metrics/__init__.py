"""Metrics: small functions of one evaluation pass, each returning {name: value}; every quantity is in nats per example."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pass:
    """N examples seen once. rec, rec_shuffled [N]; kl [N, G]; mean, variance [N, D]; tokens: how many were predicted, or None."""

    rec: np.ndarray
    rec_shuffled: np.ndarray
    kl: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    tokens: int | None
