"""Minimum desired rate: the ELBO under the constraint E KL >= rate, by a Lagrange multiplier.

Pelsmaeker & Aziz, "Effective Estimation of Deep Generative Language Models", ACL 2020 (arXiv
1904.08194), on the minimum desired rate:

    min over the model, max over u >= 0 of   rec + KL + u (rate - KL).

Unlike free bits, whose gradient stops at lambda, the multiplier settles where the KL is the rate:
at u = 1 the KL has no weight at all. As in the authors' code, u starts a little above 1, so that
the decoder learns to use z before the KL weighs anything, and ascends its gradient g = rate - KL by
RMSprop at 1e-3:

    v <- 0.99 v + 0.01 g^2,   u <- max(0, u + multiplier_lr g / (sqrt(v) + 1e-8)).

A step is about multiplier_lr whether the KL is off by a nat or by thirty. Plain gradient ascent,
u + multiplier_lr g, oscillates forever: a KL far above the rate drives u down until the code has
collapsed, and a collapsed one drives it up again.

Deviations: their code takes |u|, so u is reflected at 0, whereas here it stops there; and because
of a wrong variable name their Adam updates u as well.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from uncollapse.distributions.precision import wide
from uncollapse.errors import check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss, ObjectiveModule, Schedule
from uncollapse.interfaces.phases import Phase, TrainingRows
from uncollapse.interfaces.posterior import Posterior
from uncollapse.objectives.elbo import ELBO
from uncollapse.training.schedules import weight_at, weight_phases

FIRST_MULTIPLIER = 1.01
RMSPROP_DECAY, RMSPROP_EPS = 0.99, 1e-8  # PyTorch's default values, which the authors use
RATE_TOLERANCE = 0.1  # of the rate: how close a settled KL is to it


class MinimumRate(ObjectiveModule):
    """rec + w KL + u (rate - KL), w a number or a schedule; with a rate of 0, u stays 0."""

    multiplier: Tensor  # u
    mean_square: Tensor  # v

    def __init__(self, rate: float, multiplier_lr: float, weight: Schedule = 1.0):
        super().__init__()
        self.rate = check_number("rate", rate, 0, closed=True)
        self.lr = check_number("multiplier_lr", multiplier_lr, 0)
        self.elbo = ELBO(weight)
        first = FIRST_MULTIPLIER if self.rate > 0 else 0.0
        self.register_buffer("multiplier", torch.tensor(first))
        self.register_buffer("mean_square", torch.zeros(()))

    @property
    def weight(self) -> Callable[[float], float]:
        """The cost of one nat of KL, w - u; it is negative while u > w."""
        u = float(self.multiplier)
        return lambda epoch: weight_at(self.elbo.weight, epoch) - u

    def forward(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        plain = self.elbo(nll, q, z, epoch, batch)
        # no gradient reaches the multiplier, a buffer; `update` moves it
        constraint = self.multiplier * (self.rate - plain.terms["kl"])
        terms = {**plain.terms, "constraint": constraint}
        return Loss(plain.total + constraint, terms, self.weight(epoch))

    def final_loss(self, nll: Tensor, q: Posterior, z: Tensor, batch: Batch) -> Tensor:
        """The nelbo: the loss itself depends on the multiplier, which keeps changing."""
        return wide(nll).mean() + q.kl.sum(-1).mean()

    def phases(self) -> list[Phase]:
        """The schedule of w, which `weight` does not show."""
        return weight_phases(self.elbo.weight)

    def unsettled(self, rows: TrainingRows) -> str | None:
        """A KL below the rate, or above it while the multiplier still pushes it up."""
        if not rows or self.rate == 0:
            return None
        kl, u = rows[-1]["kl"], float(self.multiplier)
        prefix = (
            f"rate={self.rate:g}: the multiplier has not settled: "
            f"the KL ended at {kl:.2f} nats in training mode"
        )
        if kl < (1 - RATE_TOLERANCE) * self.rate:
            return f"{prefix}, below the rate, with the multiplier at {u:.3f}"
        # at u = 0 the loss is the plain ELBO, whose KL may exceed the rate
        if u > 0 and kl > (1 + RATE_TOLERANCE) * self.rate:
            return f"{prefix}, above the rate, though the multiplier is still {u:.3f} and not 0"
        return None

    @torch.no_grad()
    def update(self, loss: Loss) -> None:
        """One step of RMSprop up the gradient: u grows exactly while the KL is below the rate."""
        # every KL satisfies a rate of 0, even if rounding makes it slightly negative
        if self.rate == 0:
            return
        gradient = self.rate - loss.terms["kl"]
        self.mean_square.lerp_(gradient.square().to(self.mean_square), 1 - RMSPROP_DECAY)
        step = self.lr * gradient / (self.mean_square.sqrt() + RMSPROP_EPS)
        self.multiplier.add_(step).clamp_min_(0)
