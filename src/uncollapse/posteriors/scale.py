"""Scale-VAE: the decoder sees means stretched to a given spread, training charges for them as they were.

Song et al., "Scale-VAE: Preventing Posterior Collapse in Variational Autoencoder", LREC-COLING 2024:
    z = f mu + s * noise,   f_j = std / sqrt(Var_B mu_j),   the same f for all x,
but the KL term of training is that of N(mu, s^2), without f (`objectives.scale`).

f is a constant for the gradient. In the first epochs it is the batch's own (in evaluation the
population's, as in batch normalisation); in each later epoch it is the mean of the batches' factors
over the last epoch, one per dimension. Evaluation at the end of an epoch takes that epoch's mean, as
the next epoch will; in mid-epoch, the mean so far. Only passes that learn (training mode, gradients
on) count in a mean. The first epochs are two, as in a third-party implementation (no code of the
authors was found): in the very first one the means still lie close together, and the mean of its
factors is far too large.

`set_epoch` says which epoch begins. The trainer calls it; in your own loop call
`head.set_epoch(epoch)`. Without it every epoch is a first one.

`kl` and `log_ratio` are those of N(f mu, s^2), which z is drawn from. The number that the paper's KL
term gives, kept as `unscaled_kl`, is no rate of any code that the decoder reads: mu can shrink and f
undo it, and rec plus it is no bound of -log p(x). The mean is scaled but not centred, so the batch
mean of `kl` is
    1/2 sum_j [Var_B(f_j mu_j) + (f_j E_B mu_j)^2] + 1/2 sum_j E_B[s_j^2 - ln s_j^2 - 1],
and its second part, an offset that all x share, costs nats and says nothing.

No floor is declared: Var_B(f_j mu_j) = std^2 holds for the batch's own factors alone. With those of
the last epoch it holds as far as mu keeps its spread, so d/2 std^2 is what the KL tends to, not what
it cannot fall below.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from uncollapse.distributions.epochs import PerEpoch
from uncollapse.distributions.moments import Moments, WideBuffers
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs
from uncollapse.errors import check_number
from uncollapse.training.phases import Phase, Phased

FIRST_EPOCHS = 2


@dataclass(frozen=True)
class Scaled(DiagonalGaussian):
    """N(mean, std^2) whose mean is a scaled one; `unscaled` [B, D] is the mean before."""

    unscaled: Tensor

    @cached_property
    def unscaled_kl(self) -> Tensor:
        """KL(N(unscaled, std^2) || N(0, 1)), [B, D] nats."""
        return DiagonalGaussian(self.unscaled, self.std, self.log_var).kl


class Scale(Phased, WideBuffers, PerEpoch):
    """h [B, hidden] -> Scaled [B, latent]; InputError unless std > 0.

    Buffers: `held` (whether the first epochs are over) and the `factor` [D] held; `total` [D] and
    `count`, the batches' factors of this epoch so far; `epoch`, counted from 0.
    """

    held: Tensor
    factor: Tensor
    total: Tensor
    count: Tensor
    epoch: Tensor

    def __init__(self, hidden: int, latent: int, std: float, eps: float = 1e-8):
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
        """The first epochs, with factors that are not held yet."""
        return [
            Phase(
                {"std": self.std},
                f"posterior.std={self.std:g}",
                FIRST_EPOCHS,
                lambda epoch: "with the factors of single batches",
                "the factors of a whole epoch are never held",
                None,
            )
        ]

    def set_epoch(self, epoch: int) -> None:
        """The mean over the epoch that ends becomes the factor, unless `epoch` is the present one."""
        if epoch == self.epoch:
            return
        self.epoch.fill_(epoch)
        if self.count > 0:
            self.held.fill_(epoch >= FIRST_EPOCHS)
            self.factor.copy_(self.latest())
            self.total.zero_()
            self.count.zero_()

    def forward(self, h: Tensor) -> Scaled:
        mean, log_var = outputs(self.linear, h).chunk(2, -1)
        scaled, codes = self.factors(mean.detach()) * mean, code_dtype(self.linear, h)
        return Scaled(scaled, torch.exp(0.5 * log_var), log_var, mean, codes=codes)

    def factors(self, mean: Tensor) -> Tensor:
        """f [D] of a batch with these means [B, D]; a batch that is learnt from is counted."""
        if not self.training and self.held:
            return self.latest()
        if not self.training:
            self.moments.warn_if_fresh()
            return self.spreading(self.moments.var)
        self.moments.look(mean)
        own = self.spreading(mean.var(0, correction=0))
        if torch.is_grad_enabled():
            self.total += own
            self.count += 1
        return self.factor if self.held else own

    def latest(self) -> Tensor:
        """The mean over this epoch so far, [D]; before its first batch, over the one before."""
        return self.total / self.count if self.count > 0 else self.factor

    def spreading(self, variance: Tensor) -> Tensor:
        """The factors that give means of this variance [D] the spread std."""
        return self.std * torch.rsqrt(variance + self.moments.eps)
