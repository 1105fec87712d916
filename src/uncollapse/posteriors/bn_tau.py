"""Batch normalisation of mu and sigma, scales tied by tau, so that q(z) has the prior's moments.

Su Jianlin, "VAE + BN = a better VAE", kexue.fm/archives/7381 (2020); Zhu et al., arXiv
2004.12585v2. With n(.) for batch normalisation without an affine part,

    mu = gamma_mu n(a),        gamma_mu^2    = tau + (1 - tau) s(theta)
    sigma = gamma_sigma n(b),  gamma_sigma^2 = (1 - tau) s(-theta)

theta, one per dimension, is learned from 0; s is the logistic function; eps is 1e-8. sigma may be
negative, since only its square enters the density. Per dimension E_B[mu] = 0 and
E_B[mu^2] + E_B[sigma^2] = 1, so KL_j = -1/2 E_B[ln sigma_j^2] and, by Jensen's inequality,

    E KL >= -1/2 sum_j ln gamma_sigma,j^2 > -(D/2) ln(1 - tau).
"""

import math

import torch
from torch import Tensor, nn

from uncollapse.distributions.moments import EPS, Moments
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs, wide
from uncollapse.errors import check_number
from uncollapse.interfaces.posterior import PosteriorHead


def gamma_mu(tau: float, theta: Tensor) -> Tensor:
    """sqrt(tau + (1 - tau) s(theta)), [D]."""
    return torch.sqrt(tau + (1 - tau) * torch.sigmoid(wide(theta)))


def gamma_sigma(tau: float, theta: Tensor) -> Tensor:
    """sqrt((1 - tau) s(-theta)), [D]; gamma_mu^2 + gamma_sigma^2 = 1."""
    return torch.sqrt((1 - tau) * torch.sigmoid(-wide(theta)))


def floor_for_theta(tau: float, theta: Tensor) -> float:
    """-1/2 sum_j ln gamma_sigma,j^2: the lower bound on a tau head's batch-mean KL, in nats."""
    # ln s(-theta) by logsigmoid, which does not underflow for large theta
    return -0.5 * float((math.log1p(-tau) + nn.functional.logsigmoid(-wide(theta.detach()))).sum())


class BatchNormTau(PosteriorHead):
    """h [B, hidden] -> DiagonalGaussian [B, latent]; InputError unless 0 < tau < 1."""

    def __init__(self, hidden: int, latent: int, tau: float, eps: float = EPS):
        super().__init__()
        self.tau = check_number("tau", tau, 0, 1)
        self.linear = nn.Linear(hidden, 2 * latent)
        self.theta = nn.Parameter(torch.zeros(latent))
        self.moments = Moments(2 * latent, eps, of="mu and sigma")

    def forward(self, h: Tensor) -> DiagonalGaussian:
        # both outputs are normalised by one module, with separate moments for each dimension
        a, b = self.moments(outputs(self.linear, h)).chunk(2, -1)
        mean, std = gamma_mu(self.tau, self.theta) * a, gamma_sigma(self.tau, self.theta) * b
        return DiagonalGaussian.from_std(mean, std, code_dtype(self.linear, h))

    def floor(self) -> float:
        """-1/2 sum_j ln gamma_sigma,j^2, nats."""
        return floor_for_theta(self.tau, self.theta)
