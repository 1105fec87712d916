"""Scale-VAE: the decoder reads scaled posterior means, the loss has the KL of the unscaled ones.

Song et al., "Scale-VAE: Preventing Posterior Collapse in Variational Autoencoder", LREC-COLING
2024:

    z = f mu + s * noise,   f_j = std / sqrt(Var_B mu_j),   the same f for all x

but the KL term of training is that of N(mu, s^2), without f (`objectives.scale`). f is a constant
for the gradient.

In the first two epochs f is the batch's own (in evaluation the population's, as in batch
normalisation). In each later epoch it is the mean of the batches' factors over the last epoch, one
per dimension. Evaluation takes the mean over the epoch so far, which at its end is the factor of
the next. Only training steps count in a mean. No code of the authors was found; the two epochs are
those of a third-party implementation. One would not do: in the very first epoch the means are close
together, and the mean of its factors would be far too large.

The trainer calls `set_epoch`; in your own loop call `head.set_epoch(epoch)`. Otherwise every epoch
counts as the first.

`kl` and `log_ratio` are those of N(f mu, s^2), from which z is drawn. The paper's KL, kept as
`unscaled_kl`, is not the rate of the code that the decoder reads: mu can shrink while f grows, so
rec plus that KL is not a bound on -log p(x). The batch mean of `kl` is

    1/2 sum_j [Var_B(f_j mu_j) + (f_j E_B mu_j)^2] + 1/2 sum_j E_B[s_j^2 - ln s_j^2 - 1]

where (f_j E_B mu_j)^2, an offset that all x share, costs nats and carries no information.

No floor is declared. Var_B(f_j mu_j) = std^2 holds only for the batch's own factors; with those of
the last epoch it holds only while the spread of mu stays the same. So the KL tends to D/2 std^2 but
may be smaller.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from uncollapse.distributions.moments import EPS, Moments, WideBuffers
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs
from uncollapse.errors import check_number
from uncollapse.interfaces.phases import Phase
from uncollapse.interfaces.posterior import PosteriorHead

FIRST_EPOCHS = 2


@dataclass(frozen=True)
class ScaledGaussian(DiagonalGaussian):
    """N(mean, std^2) with a scaled mean; `unscaled` [B, D] is the mean before scaling."""

    unscaled: Tensor

    @cached_property
    def unscaled_kl(self) -> Tensor:
        """KL(N(unscaled, std^2) || N(0, 1)), [B, D] nats."""
        return DiagonalGaussian(self.unscaled, self.std, self.log_var).kl


class Scale(WideBuffers, PosteriorHead):
    """h [B, hidden] -> ScaledGaussian [B, latent]; InputError unless std > 0.

    Buffers: `held`, whether the first epochs are over, and the `factor` [D] used then; `total`
    [D] and `count`, for the mean of the batches' factors in this epoch; `epoch`, counted from 0.
    """

    held: Tensor
    factor: Tensor
    total: Tensor
    count: Tensor
    epoch: Tensor

    def __init__(self, hidden: int, latent: int, std: float, eps: float = EPS):
        super().__init__()
        self.std = check_number("std", std, 0)
        self.linear = nn.Linear(hidden, 2 * latent)
        self.moments = Moments(latent, eps)
        self.register_buffer("held", torch.tensor(False))
        self.register_buffer("factor", torch.ones(latent))
        self.register_buffer("total", torch.zeros(latent))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("epoch", torch.tensor(0))

    def phases(self) -> list[Phase]:
        """The first epochs, in which each batch has its own factors."""
        return [
            Phase(
                {"std": self.std},
                f"posterior.std={self.std:g}",
                FIRST_EPOCHS,
                lambda epoch: "with the factors of single batches",
                "the factors of a complete epoch are never used",
                None,
            )
        ]

    def set_epoch(self, epoch: int) -> None:
        """Take the mean over the last epoch as the factor, unless `epoch` is already under way."""
        if epoch == self.epoch:
            return
        self.epoch.fill_(epoch)
        # without a batch since the last call there is no mean to take: keep the factor
        if self.count > 0:
            self.held.fill_(epoch >= FIRST_EPOCHS)
            self.factor.copy_(self.mean_factor())
            self.total.zero_()
            self.count.zero_()

    def forward(self, h: Tensor) -> ScaledGaussian:
        mean, log_var = outputs(self.linear, h).chunk(2, -1)
        # detached: the factors are constants for the gradient
        scaled, codes = self.compute_factors(mean.detach()) * mean, code_dtype(self.linear, h)
        return ScaledGaussian(scaled, torch.exp(0.5 * log_var), log_var, mean, codes=codes)

    def compute_factors(self, mean: Tensor) -> Tensor:
        """f [D] for a batch with these means [B, D].

        Only training steps, the calls with gradients, count in the mean over the epoch.
        """
        # in evaluation, the factors that the next epoch will use
        if not self.training and self.held:
            return self.mean_factor()
        if not self.training:
            self.moments.warn_if_fresh()
            return self.factors_for(self.moments.var)
        # recorded in training mode always: `moments` serves evaluation in the first epochs
        self.moments.record_batch(mean)
        own = self.factors_for(mean.var(0, correction=0))
        # a metrics row in training mode has no gradients and must not count
        if torch.is_grad_enabled():
            self.total += own
            self.count += 1
        return self.factor if self.held else own

    def mean_factor(self) -> Tensor:
        """The mean over this epoch so far, [D]; before its first batch, that of the last epoch."""
        return self.total / self.count if self.count > 0 else self.factor

    def factors_for(self, variance: Tensor) -> Tensor:
        """The factors that give means of this variance [D] the standard deviation std."""
        return self.std * torch.rsqrt(variance + self.moments.eps)
