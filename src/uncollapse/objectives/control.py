"""ControlVAE: a controller sets the KL weight so that the KL is the one asked for.

Shao et al., "ControlVAE: Controllable Variational Autoencoder", ICML 2020 (arXiv 2004.05988), algorithm 1. With the error
e = set_point - KL of a step's batch,

    beta = kp / (1 + exp(e)) + I + beta_min,   I falling by ki e,   beta cut to [beta_min, beta_max];

both parts raise beta where the KL is too large. beta_min = 0 as for the paper's language models, beta_max = 1, I and beta start at 0:
training begins as an autoencoder.

Anti-windup: the paper leaves I alone after a step whose beta was out of range. The authors' programs
differ: those for text (Penn Treebank) and image generation ask for a beta both below 0 and above the
most, so there it never acts; those for dialogue and disentangling ask of beta before the cut, so
there it does, and an I above the most is stuck for ever. Here I is left alone in a step that would
take a beta out of range, or further out; back it may always come.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.distributions.normal import Posterior
from uncollapse.distributions.precision import wide
from uncollapse.errors import check_number
from uncollapse.objectives.elbo import Loss
from uncollapse.training.phases import Phased, earlier

BETA_MIN = 0.0
NEAR = 0.1  # of the set point: how close a settled KL is to it; and of beta: how little it still moves in a tenth of training


class Control(Phased, nn.Module):
    """rec + beta KL with the controller's beta. `weight` is beta_max; the attribute `weight` is the beta of the last step."""

    integral: Tensor
    beta: Tensor

    def __init__(self, set_point: float, kp: float, ki: float, weight: float = 1.0):
        super().__init__()
        self.set_point = check_number("set_point", set_point, 0, closed=True)
        self.kp, self.ki = (
            check_number("kp", kp, 0, closed=True),
            check_number("ki", ki, 0, closed=True),
        )
        self.most = check_number("objective.weight", weight, BETA_MIN)
        self.register_buffer("integral", torch.zeros((), dtype=torch.float64))
        self.register_buffer("beta", torch.full((), BETA_MIN, dtype=torch.float64))

    @property
    def weight(self) -> float:
        return float(self.beta)

    def answer(self, kl: float) -> tuple[float, float]:
        """(beta, integral) that a KL is met with, in the state of now."""
        error, before = self.set_point - kl, float(self.integral)
        proportional = self.kp * logistic(-error)
        after = before - self.ki * error
        beta = proportional + after + BETA_MIN
        outward = (beta > self.most and after > before) or (beta < BETA_MIN and after < before)
        if outward:
            after = before
            beta = proportional + after + BETA_MIN
        return min(max(beta, BETA_MIN), self.most), after

    def forward(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Any = None
    ) -> Loss:
        rec, kl = wide(nll).mean(), q.kl.sum(-1).mean()
        beta, _ = self.answer(float(kl.detach()))
        return Loss(rec + beta * kl, {"rec": rec, "kl": kl}, beta)

    def update(self, loss: Loss) -> None:
        """The step is made: its answer is the state from now on."""
        beta, integral = self.answer(float(loss.terms["kl"].detach()))
        self.beta.fill_(beta)
        self.integral.fill_(integral)

    def unsettled(self, rows: Sequence[Mapping[str, Any]]) -> str | None:
        """A KL that is not at the set point, or a beta that still moves."""
        told = f"set_point={self.set_point:g}: the controller has not settled: "
        if not rows:
            return None
        kl, beta = rows[-1]["kl"], float(self.beta)
        if abs(kl - self.set_point) > max(NEAR * self.set_point, NEAR):
            return told + f"the KL ended at {kl:.2f} nats in training mode, with beta at {beta:.3f}"
        before = earlier(rows)["weight"]
        if abs(beta - before) > NEAR * max(beta, before):
            return told + f"beta went from {before:.3f} to {beta:.3f} in the last part of training"
        return None


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), by way of tanh, which does not overflow."""
    return 0.5 * (1 + math.tanh(0.5 * x))
