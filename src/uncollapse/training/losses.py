"""Means of the training loss and its terms between two evaluations."""

import torch
from torch import Tensor

from uncollapse.interfaces.objective import Loss


class LossMeans:
    """Sums over training steps, read and cleared at each evaluation.

    They are empty whenever a checkpoint is written, so a resumed run has the same rows.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.steps = 0
        self.total: Tensor | float = 0.0
        self.terms: dict[str, Tensor | float] = {}

    def add(self, loss: Loss) -> None:
        # tensors are not read back here: that would make a GPU wait at every step
        self.steps += 1
        self.total = self.total + loss.total.detach()
        for name, term in loss.terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + torch.as_tensor(term).detach()

    def read(self) -> tuple[float, dict[str, float]] | None:
        """The mean loss and the means of its terms; None without a step. Clears the sums."""
        if not self.steps:
            return None
        means = (
            float(self.total) / self.steps,
            {name: float(total) / self.steps for name, total in self.terms.items()},
        )
        self.clear()
        return means
