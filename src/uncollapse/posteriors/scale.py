"""Scale-VAE: the decoder sees means stretched to a given spread over the data, while training charges for the means as they were.

Song et al., "Scale-VAE: Preventing Posterior Collapse in Variational Autoencoder", LREC-COLING 2024; what the abstract leaves
open follows a third-party implementation:
    z = f mu + s * noise,   f_j = std / sqrt(Var_B mu_j),   the same f for all x,
but the KL term of training is that of N(mu, s^2), without f (`objectives.scale`).

Here `kl` and `log_ratio` are those of N(f mu, s^2), which z is really drawn from. The number that the paper's KL term would give, kept as
`unscaled_kl`, is no rate of any code that the decoder reads: mu can shrink and f undo it, so it can be brought towards 0 while z says just
as much about x, and rec plus it is no bound of -log p(x). In training mode Var_B(f mu_j) = std^2, so the batch mean of the real KL is at
least d/2 std^2. The mean is scaled but not centred, unlike in batch normalisation.

f is taken from the batch, gradients passing through it as through any part of the formula; in evaluation from the population. Left out: the
switch, after some epochs, from f_j to one common factor that a reimplementation has.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from uncollapse.errors import number
from uncollapse.posteriors.moments import Moments
from uncollapse.posteriors.normal import DiagonalGaussian


@dataclass(frozen=True)
class Scaled(DiagonalGaussian):
    """N(mean, std^2) whose mean is a scaled one; `unscaled` [B, D] is the mean before."""

    unscaled: Tensor

    @cached_property
    def unscaled_kl(self) -> Tensor:
        """KL(N(unscaled, std^2) || N(0, 1)), [B, D] nats."""
        return DiagonalGaussian(self.unscaled, self.std, self.log_var).kl


class Scale(nn.Module):
    """h [B, hidden] -> Scaled [B, latent]; InputError unless std > 0."""

    def __init__(self, hidden: int, latent: int, std: float, eps: float = 1e-8):
        super().__init__()
        self.std, self.latent = number("std", std, 0), latent
        self.linear = nn.Linear(hidden, 2 * latent)
        self.moments = Moments(latent, eps)

    def forward(self, h: Tensor) -> Scaled:
        mean, log_var = self.linear(h).chunk(2, -1)
        return Scaled(self.factors(mean) * mean, torch.exp(0.5 * log_var), log_var, mean)

    def factors(self, mean: Tensor) -> Tensor:
        """f [D]: of this batch in training, of the population in evaluation."""
        variance = self.moments.var
        if self.training:
            self.moments.look(mean.detach())
            variance = mean.var(0, correction=0)
        return self.std * torch.rsqrt(variance + self.moments.eps)

    def floor(self) -> float:
        """d/2 std^2: the least batch-mean KL, in nats."""
        return 0.5 * self.latent * self.std**2
