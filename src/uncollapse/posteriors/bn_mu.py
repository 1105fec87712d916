"""Batch normalisation of the posterior mean with a fixed scale: a floor under the KL.

Zhu et al., "A Batch Normalized Inference Network Keeps the KL Vanishing Away", ACL 2020 (arXiv
2004.12585), section 3.2, equations 5-8.

    mu_j = gamma (a_j - E_B a_j) / sqrt(v_j + eps) + beta_j,   v_j = Var_B a_j

with gamma fixed and beta learned from 0. The batch mean of the KL is exactly

    1/2 sum_j [gamma^2 v_j / (v_j + eps) + beta_j^2] + 1/2 sum_j E_B[s_j^2 - ln s_j^2 - 1]

and the second sum is never negative. eps is 1e-8: with the usual 1e-5, small initial
weights give v_j << eps, and the floor is lost.
"""

import torch
from torch import Tensor, nn

from uncollapse.distributions.moments import EPS, Moments
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs, wide
from uncollapse.errors import check_number
from uncollapse.interfaces.posterior import PosteriorHead


class BatchNormMu(PosteriorHead):
    """h [B, hidden] -> DiagonalGaussian [B, latent]; InputError unless gamma > 0."""

    def __init__(self, hidden: int, latent: int, gamma: float, eps: float = EPS):
        super().__init__()
        self.gamma = check_number("gamma", gamma, 0)
        self.linear = nn.Linear(hidden, 2 * latent)
        self.beta = nn.Parameter(torch.zeros(latent))
        self.moments = Moments(latent, eps)

    def forward(self, h: Tensor) -> DiagonalGaussian:
        a, log_var = outputs(self.linear, h).chunk(2, -1)
        # beta shifts the mean, but does not change the variance on which the floor rests
        mean = self.gamma * self.moments(a) + self.beta
        return DiagonalGaussian.from_log_var(mean, log_var, code_dtype(self.linear, h))

    def floor(self) -> float:
        """D/2 gamma^2 + 1/2 sum_j beta_j^2, nats."""
        # the second sum of the KL is never negative and is left out
        return 0.5 * float(self.gamma**2 * len(self.beta) + wide(self.beta.detach()).square().sum())
