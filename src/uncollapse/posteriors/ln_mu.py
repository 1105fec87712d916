"""Layer normalisation of the posterior mean: the floor of bn_mu, but examples are not spread apart.

The comparison in kexue.fm/archives/7381: each example's mu is normalised over its own D entries,

    mu_j = gamma (a_j - mean_D a) / sqrt(var_D a + eps) + beta,   gamma fixed, beta learned from 0

Then sum_j mu_j^2 = D (gamma^2 + beta^2), and the floor D/2 (gamma^2 + beta^2) holds for every
example. All dimensions share one beta: a beta per dimension could cancel a constant normalised
pattern, which would give mu = 0 and no floor.
"""

import torch
from torch import Tensor, nn

from uncollapse.distributions.moments import EPS, warn_if_flat
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs
from uncollapse.errors import InputError, check_number
from uncollapse.interfaces.posterior import PosteriorHead


class LayerNormMu(PosteriorHead):
    """h [B, hidden] -> DiagonalGaussian [B, latent]; InputError unless gamma > 0, latent >= 2."""

    def __init__(self, hidden: int, latent: int, gamma: float, eps: float = EPS):
        super().__init__()
        if latent < 2:
            raise InputError(
                f"model.latent={latent}: layer normalisation of one entry is always 0; allowed is "
                "at least 2"
            )
        self.gamma = check_number("gamma", gamma, 0)
        self.eps, self.latent, self.warned = eps, latent, False
        self.linear = nn.Linear(hidden, 2 * latent)
        self.beta = nn.Parameter(torch.zeros(()))

    def forward(self, h: Tensor) -> DiagonalGaussian:
        a, log_var = outputs(self.linear, h).chunk(2, -1)
        # var + eps must be close to var, or the floor is lost
        if self.training and not self.warned:
            self.warned = warn_if_flat(a.var(-1, correction=0), self.eps, "examples of mu")
        normal = nn.functional.layer_norm(a, (self.latent,), eps=self.eps)
        mean = self.gamma * normal + self.beta
        return DiagonalGaussian.from_log_var(mean, log_var, code_dtype(self.linear, h))

    def floor(self) -> float:
        """D/2 (gamma^2 + beta^2), nats: a bound for every example, not only for the mean."""
        return 0.5 * self.latent * (self.gamma**2 + float(self.beta.detach()) ** 2)
