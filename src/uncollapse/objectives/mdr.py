"""Minimum desired rate: the ELBO is maximised under the constraint E KL >= rate, by a Lagrange multiplier.

Pelsmaeker & Aziz, "Effective Estimation of Deep Generative Language Models", ACL 2020 (arXiv 1904.08194), on the minimum desired rate:

    min over the model, max over u >= 0 of   rec + KL + u (rate - KL).

Unlike free bits, whose gradient stops at lambda, the multiplier settles where the KL is the rate: at u = 1 the KL has no weight at all.
u starts a little above 1, as in the authors' code, so that the decoder learns to use z before the KL weighs anything. The authors step u
by an adaptive optimiser and take its absolute value; here it is plain gradient ascent, u + multiplier_lr (rate - KL), cut off at 0:
the constraint is one number in nats, so its gradient needs no rescaling, and u >= 0 is kept by projection.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.errors import number
from uncollapse.objectives.elbo import ELBO, Loss
from uncollapse.phases import Phase, Phased
from uncollapse.posteriors.normal import Posterior
from uncollapse.schedules import Schedule, at, weight_phases

START = 1.01
NEAR = 0.1  # of the rate: how close a settled KL is to it


class MinimumRate(Phased, nn.Module):
    """rec + w KL + u (rate - KL), w a number or a schedule; a rate of 0 is always kept, and then u is 0 for ever."""

    multiplier: Tensor

    def __init__(self, rate: float, multiplier_lr: float, weight: Schedule = 1.0):
        super().__init__()
        self.rate = number("rate", rate, 0, closed=True)
        self.lr = number("multiplier_lr", multiplier_lr, 0)
        self.elbo = ELBO(weight)
        self.register_buffer("multiplier", torch.tensor(START if self.rate > 0 else 0.0))

    @property
    def weight(self) -> Callable[[float], float]:
        """What a nat of KL costs: w - u, below 0 while more KL is asked for."""
        u = float(self.multiplier)
        return lambda epoch: at(self.elbo.weight, epoch) - u

    def forward(self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Any = None) -> Loss:
        plain = self.elbo(nll, q, z, epoch, batch)
        constraint = self.multiplier * (self.rate - plain.terms["kl"])
        return Loss(plain.total + constraint, {**plain.terms, "constraint": constraint}, self.weight(epoch))

    def phases(self) -> list[Phase]:
        """The schedule of w, which `weight` does not show."""
        return weight_phases(self.elbo.weight)

    def unsettled(self, rows: Sequence[Mapping[str, Any]]) -> str | None:
        """A KL below the rate, or one above it that the multiplier still asks to be larger."""
        if not rows or self.rate == 0:
            return None
        kl, u = rows[-1]["kl"], float(self.multiplier)
        told = f"rate={self.rate:g}: the multiplier has not settled: the KL ended at {kl:.2f} nats in training mode"
        if kl < (1 - NEAR) * self.rate:
            return f"{told}, below the rate, with the multiplier at {u:.3f}"
        if u > 0 and kl > (1 + NEAR) * self.rate:
            return f"{told}, above the rate, though the multiplier is still {u:.3f} and not 0"
        return None

    @torch.no_grad()
    def update(self, loss: Loss) -> None:
        """One step of gradient ascent: u rises exactly while the KL is below the rate."""
        self.multiplier.add_(self.lr * (self.rate - loss.terms["kl"])).clamp_min_(0)
