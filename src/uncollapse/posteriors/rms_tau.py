"""The tau head with a positive sigma, divided by its root mean square instead of standardised.

A variant of bn_tau (kexue.fm/archives/7381) made for this project: mu as in bn_tau, and

    sigma = gamma_sigma b / sqrt(E_B b^2 + eps),   b = softplus(linear) > 0

E_B[mu^2] + E_B[sigma^2] = 1 still holds exactly, and sigma never passes through 0. The floor
-1/2 sum_j ln gamma_sigma,j^2 is reached when sigma is constant.
"""

import torch
from torch import Tensor, nn

from uncollapse.distributions.moments import EPS, Moments
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs
from uncollapse.errors import check_number
from uncollapse.interfaces.posterior import PosteriorHead
from uncollapse.posteriors.bn_tau import floor_for_theta, gamma_mu, gamma_sigma


class RMSNormTau(PosteriorHead):
    """h [B, hidden] -> DiagonalGaussian [B, latent]; InputError unless 0 < tau < 1."""

    def __init__(self, hidden: int, latent: int, tau: float, eps: float = EPS):
        super().__init__()
        self.tau = check_number("tau", tau, 0, 1)
        self.linear = nn.Linear(hidden, 2 * latent)
        self.theta = nn.Parameter(torch.zeros(latent))
        # separate moments, since sigma is divided by its root mean square, not standardised
        self.mu_moments = Moments(latent, eps)
        self.sigma_moments = Moments(latent, eps, centred=False, of="sigma")

    def forward(self, h: Tensor) -> DiagonalGaussian:
        a, b = outputs(self.linear, h).chunk(2, -1)
        mean = gamma_mu(self.tau, self.theta) * self.mu_moments(a)
        # softplus keeps sigma positive, unlike in bn_tau
        std = gamma_sigma(self.tau, self.theta) * self.sigma_moments(nn.functional.softplus(b))
        return DiagonalGaussian.from_std(mean, std, code_dtype(self.linear, h))

    def floor(self) -> float:
        """-1/2 sum_j ln gamma_sigma,j^2, nats."""
        return floor_for_theta(self.tau, self.theta)
