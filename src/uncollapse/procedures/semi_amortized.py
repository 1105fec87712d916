"""Semi-amortised inference: gradient steps on the ELBO refine the posterior of each example.

Kim, Wiseman, Miller, Sontag & Rush, "Semi-Amortized Variational Autoencoders", ICML 2018 (arXiv
1802.02550), section 3 and algorithm 1. For k < svi_steps:

    l_0 = (mu(x), ln sigma^2(x)),   l_{k+1} = l_k - svi_lr m_k,
    m_k = svi_momentum m_{k-1} + clip(gradient of -ELBO_x at l_k)

Encoder and decoder are trained on the objective at the last l. Its gradients run through the steps,
which needs second derivatives: the steps are unrolled and differentiated exactly. The paper's code
takes finite differences of gradients instead, which would cost as much here (one more pass with all
its gradients for each step) and divide rounding errors of single precision by a small number.
Unrolling keeps the intermediate results of all steps until the update: memory grows with svi_steps.

Each step draws one code and weighs the KL as the objective does at that moment. Evaluation refines
too, with KL weight 1, because it reports the ELBO. Deviations: each example descends its own ELBO
and is clipped by its own norm, so that a result does not depend on the rest of the batch. The
paper's code descends the mean over a batch of 32 with rate 1, which is a rate of 1/32 here, and
clips the gradients of all means, and of all log variances, as one vector each. The paper takes 20
steps, and also anneals the KL weight.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from uncollapse.device import gradients_in_evaluation
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import wide
from uncollapse.errors import InputError, check_integer, check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.model import Model
from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.procedure import Procedure, Training
from uncollapse.models.lstm_conditional import LearnedPriorHead
from uncollapse.posteriors.gaussian import Gaussian
from uncollapse.training.schedules import weight_at

MOST_STEPS = 10_000


@dataclass(frozen=True)
class SemiAmortized(Procedure):
    """svi_steps >= 0 (0: ordinary training), svi_lr > 0, 0 <= svi_momentum < 1, svi_clip > 0.

    `svi_clip` is the largest norm of one example's gradient.
    """

    can_be_divided: ClassVar[bool] = False  # its inner steps take gradients of codes

    svi_steps: int
    svi_lr: float
    svi_momentum: float
    svi_clip: float

    def __post_init__(self) -> None:
        check_integer("svi_steps", self.svi_steps, 0, MOST_STEPS)
        check_number("svi_lr", self.svi_lr, 0)
        if check_number("svi_momentum", self.svi_momentum, 0, 1, closed=True) == 1:
            raise InputError(
                f"svi_momentum={self.svi_momentum:g}: out of range; allowed is "
                "0 <= svi_momentum < 1"
            )
        check_number("svi_clip", self.svi_clip, 0)

    def check(self, model: Model, head: str, epochs: int) -> None:
        """InputError unless mu and ln sigma^2 are unconstrained.

        Refining would break what other heads promise, such as a floor under the KL.
        """
        posterior = model.posterior
        # a learned prior does not restrict the head that it wraps
        if isinstance(posterior, LearnedPriorHead):
            posterior = posterior.head
        if type(posterior) is not Gaussian:
            raise InputError(
                f"svi_steps={self.svi_steps}: head={head} has the posterior "
                f"{type(posterior).__name__}, and refining would break its promise; allowed is the "
                "plain Gaussian, whose mu and ln sigma^2 are free"
            )

    def step(self, training: Training, batch: Batch) -> Loss:
        q = encode_gaussian(training.model, batch)
        # the objective's current weight, so that steps and training agree
        weight = weight_at(training.objective.weight, training.epoch)
        with twice_differentiable():
            q = self.refine(training.model, batch, q, weight, through=True)
        loss = training.loss(batch, q)
        training.update(loss.total)
        return loss

    def infer(
        self, model: Model, batch: Batch, generator: torch.Generator | None = None
    ) -> DiagonalGaussian:
        """The refined posterior of a batch, without gradients; its noise comes from `generator`."""
        q = encode_gaussian(model, batch)
        mean, log_var = (values.detach().requires_grad_() for values in (q.mean, q.log_var))
        with torch.enable_grad(), gradients_in_evaluation(mean.device):
            q = DiagonalGaussian.from_log_var(mean, log_var, q.codes)
            q = self.refine(model, batch, q, 1.0, through=False, generator=generator)
        # detached, so that the graph of the steps is freed
        return DiagonalGaussian.from_log_var(q.mean.detach(), q.log_var.detach(), q.codes)

    def refine(
        self,
        model: Model,
        batch: Batch,
        q: DiagonalGaussian,
        weight: float,
        through: bool,
        generator: torch.Generator | None = None,
    ) -> DiagonalGaussian:
        """q after svi_steps of descent on rec + weight * KL of each example.

        `through`: keep the graph, so that the steps can be differentiated.
        """
        # mean and log variance share one velocity, as they are clipped together
        velocity = torch.zeros_like(torch.cat([q.mean, q.log_var], -1))
        for _ in range(self.svi_steps):
            # an example's loss depends only on its own l, so the gradient of the sum holds the
            # gradient of each example
            nll = wide(model.nll(batch, q.sample(generator=generator)))
            loss = (nll + weight * q.kl.sum(-1)).sum()
            gradient = torch.cat(
                torch.autograd.grad(loss, (q.mean, q.log_var), create_graph=through), -1
            )
            velocity = self.svi_momentum * velocity + clip_rows(gradient, self.svi_clip)
            move_mean, move_log_var = (self.svi_lr * velocity).chunk(2, -1)
            q = DiagonalGaussian.from_log_var(q.mean - move_mean, q.log_var - move_log_var, q.codes)
        return q


def encode_gaussian(model: Model, batch: Batch) -> DiagonalGaussian:
    """q(z|x) of a model that passed `SemiAmortized.check`."""
    q = model.encode(batch)
    if not isinstance(q, DiagonalGaussian):
        raise TypeError(f"a {type(q).__name__}; refining takes a DiagonalGaussian")
    return q


def clip_rows(gradient: Tensor, max_norm: float) -> Tensor:
    """Each row of a gradient [B, P] scaled down to a norm of at most `max_norm`."""
    norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
    # clamped from below by max_norm, so that short gradients are not scaled up
    return gradient * (max_norm / norm.clamp_min(max_norm))


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """While open, recurrent layers and attention use kernels with second derivatives.

    cuDNN and fused attention have none.
    """
    # restored as it was: a user may have switched it off
    was_enabled = torch.backends.cudnn.enabled
    try:
        torch.backends.cudnn.enabled = False
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cudnn.enabled = was_enabled
