"""ControlVAE: a controller sets the KL weight so that the KL becomes the requested one.

Shao et al., "ControlVAE: Controllable Variational Autoencoder", ICML 2020 (arXiv 2004.05988),
algorithm 1. With the error e = set_point - KL of a step's batch,

    beta = kp / (1 + exp(e)) + I + beta_min,   I <- I - ki e,

beta clipped to [beta_min, beta_max]; both terms raise beta where the KL is too large. beta_min = 0
as for the paper's language models, beta_max = 1. I and beta start at 0: training begins as an
autoencoder.

Anti-windup: the paper keeps I unchanged after a step whose beta was out of range. The authors'
programs differ. Those for text (Penn Treebank) and image generation test for a beta both below 0
and above the maximum, so the rule never acts. Those for dialogue and disentangling test beta before
it is clipped, so it acts, and an I above the maximum never decreases again. Here I stays unchanged
in a step that would move beta out of range or further out. Steps back towards the range always act.
"""

import math

import torch
from torch import Tensor

from uncollapse.distributions.precision import wide
from uncollapse.errors import check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss, ObjectiveModule
from uncollapse.interfaces.phases import TrainingRows
from uncollapse.interfaces.posterior import Posterior

BETA_MIN = 0.0
# relative to the set point: largest error of a settled KL; relative to beta: its largest change in
# the last tenth of training
CONTROL_TOLERANCE = 0.1


class Control(ObjectiveModule):
    """rec + beta KL with the controller's beta.

    The argument `weight` is beta_max; the attribute `weight` is the beta of the last step.
    """

    integral: Tensor
    beta: Tensor

    def __init__(self, set_point: float, kp: float, ki: float, weight: float = 1.0):
        super().__init__()
        self.set_point = check_number("set_point", set_point, 0, closed=True)
        self.kp = check_number("kp", kp, 0, closed=True)
        self.ki = check_number("ki", ki, 0, closed=True)
        self.beta_max = check_number("objective.weight", weight, BETA_MIN)
        # float64 buffers, so that a resumed run continues with exactly the same state
        self.register_buffer("integral", torch.zeros((), dtype=torch.float64))
        self.register_buffer("beta", torch.full((), BETA_MIN, dtype=torch.float64))

    @property
    def weight(self) -> float:
        """The beta of the last step."""
        return float(self.beta)

    def respond(self, kl: float) -> tuple[float, float]:
        """(beta, integral) for a KL, given the current state."""
        error, before = self.set_point - kl, float(self.integral)
        proportional = self.kp * logistic(-error)
        after = before - self.ki * error
        beta = proportional + after + BETA_MIN
        # anti-windup: no step of I that moves beta out of range
        outward = (beta > self.beta_max and after > before) or (beta < BETA_MIN and after < before)
        if outward:
            after = before
            beta = proportional + after + BETA_MIN
        return min(max(beta, BETA_MIN), self.beta_max), after

    def forward(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        rec, kl = wide(nll).mean(), q.kl.sum(-1).mean()
        # the response only; the state changes in `update`, once per training step
        beta, _ = self.respond(float(kl.detach()))
        return Loss(rec + beta * kl, {"rec": rec, "kl": kl}, beta)

    def final_loss(self, nll: Tensor, q: Posterior, z: Tensor, batch: Batch) -> Tensor:
        """The nelbo: the loss itself depends on beta, which keeps changing."""
        return wide(nll).mean() + q.kl.sum(-1).mean()

    def update(self, loss: Loss) -> None:
        """Keep the response to this step's KL as the new state."""
        beta, integral = self.respond(float(loss.terms["kl"].detach()))
        self.beta.fill_(beta)
        self.integral.fill_(integral)

    def unsettled(self, rows: TrainingRows) -> str | None:
        """A KL that is not at the set point, or a beta that still moves."""
        prefix = f"set_point={self.set_point:g}: the controller has not settled: "
        if not rows:
            return None
        kl, beta = rows[-1]["kl"], float(self.beta)
        # an absolute tolerance for a set point near 0, where a relative one would be too strict
        if abs(kl - self.set_point) > max(CONTROL_TOLERANCE * self.set_point, CONTROL_TOLERANCE):
            return (
                f"{prefix}the KL ended at {kl:.2f} nats in training mode, with beta at {beta:.3f}"
            )
        before = weight_before_end(rows)
        if abs(beta - before) > CONTROL_TOLERANCE * max(beta, before):
            return (
                f"{prefix}beta went from {before:.3f} to {beta:.3f} in the last tenth of training"
            )
        return None


def weight_before_end(rows: TrainingRows) -> float:
    """The weight in the last row from before the last tenth of training, else in the first row."""
    # the newest of the early rows
    early = (row for row in reversed(rows) if row["step"] <= 0.9 * rows[-1]["step"])
    return next(early, rows[0])["weight"]


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), written with tanh, which does not overflow."""
    return 0.5 * (1 + math.tanh(0.5 * x))
