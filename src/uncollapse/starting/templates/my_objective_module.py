"""FILL IN: what it adds to the ELBO and what it remembers, in one sentence.

FILL IN: authors, "title", venue and year (arXiv number), section, equations.
    rec + (weight - u) KL,   u <- max(0, u + speed (target - KL)) after each step
A multiplier u that lowers the weight of the KL while the KL is below the target; at u = 0 the loss
is the ELBO.
FILL IN: deviations from the paper, and why; what it guarantees, and under which conditions.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from uncollapse.errors import check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss, ObjectiveModule, Schedule
from uncollapse.interfaces.posterior import Posterior
from uncollapse.objectives.elbo import ELBO
from uncollapse.training.schedules import weight_at


class MyObjectiveModule(ObjectiveModule):
    """InputError unless target >= 0 and speed > 0."""

    multiplier: Tensor  # u, a buffer: it is in checkpoints, so a resumed run has it too

    def __init__(self, target: float, speed: float = 0.01, weight: Schedule = 1.0):
        super().__init__()
        self.target = check_number("target", target, 0, closed=True)
        self.speed = check_number("speed", speed, 0)
        self.elbo = ELBO(weight)
        self.register_buffer("multiplier", torch.zeros(()))

    @property
    def weight(self) -> Callable[[float], float]:
        """The weight of a nat of KL, which every row of a run records."""
        u = float(self.multiplier)
        return lambda epoch: weight_at(self.elbo.weight, epoch) - u

    def forward(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        plain = self.elbo(nll, q, z, epoch, batch)
        pull = self.multiplier * plain.terms["kl"]
        # every term is a row of a run, so that one can see what the multiplier does
        terms = {**plain.terms, "pull": pull}
        return Loss(plain.total - pull, terms, self.weight(epoch))

    def final_loss(self, nll: Tensor, q: Posterior, z: Tensor, batch: Batch) -> Tensor:
        """The ELBO: what chooses the best weights must not depend on the multiplier."""
        return self.elbo.final_loss(nll, q, z, batch)

    @torch.no_grad()
    def update(self, loss: Loss) -> None:
        """Move the multiplier after a step with this loss."""
        short = self.target - loss.terms["kl"]
        self.multiplier.add_(self.speed * short.to(self.multiplier)).clamp_min_(0)
