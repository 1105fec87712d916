"""DU-VAE: means kept diverse by batch normalisation, variances kept small by a floor and by dropout.

Shen et al., "Regularizing Variational Autoencoder with Diversity and Uncertainty Awareness", IJCAI 2021 (arXiv 2110.12381), the section on
the method, and its published code. With n(.) batch normalisation without affine part and f = alpha / (2 pi e),
    mu_j  = gamma_j n(a_j) + beta_j,   gamma_j learned, their root mean square held at gamma; beta_j learned from 0
    s_j^2 = m exp(b_j) + f,            in training m = 0 with chance `dropout`, else 1 / (1 - dropout); in evaluation m = 1.
At alpha = 1 the entropy of every dimension is at least 0. As in bn_mu, whatever the variance, the batch mean of the KL is at least
    d/2 gamma^2 + 1/2 sum_j beta_j^2;
each dropped variance costs (f - ln f - 1)/2 (0.95 nats at alpha = 1) on top of it, and only in training mode. Deviations: the code
rescales gamma_j in place before each use, here the scale is divided out in the formula, which is the same function and leaves evaluation
without side effects; eps is 1e-8 in place of 1e-5 (see bn_mu); the code sets floor and dropout aside while the KL weight is still rising,
here the weight is 1 from the start and so they always act.
"""

import math

import torch
from torch import Tensor, nn

from uncollapse.distributions.moments import Moments
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs, wide
from uncollapse.errors import InputError, check_number


class DU(nn.Module):
    """h [B, hidden] -> DiagonalGaussian [B, latent]; InputError unless gamma > 0, alpha > 0 and 0 <= dropout < 1."""

    def __init__(
        self,
        hidden: int,
        latent: int,
        gamma: float,
        alpha: float,
        dropout: float,
        eps: float = 1e-8,
    ):
        super().__init__()
        self.gamma = check_number("gamma", gamma, 0)
        self.least = check_number("alpha", alpha, 0) / (2 * math.pi * math.e)
        self.dropout = check_number("dropout", dropout, 0, 1, closed=True)
        if self.dropout == 1:
            raise InputError(
                "dropout=1: every variance would be dropped; allowed is 0 <= dropout < 1"
            )
        self.linear = nn.Linear(hidden, 2 * latent)
        self.scale = nn.Parameter(torch.ones(latent))
        self.beta = nn.Parameter(torch.zeros(latent))
        self.moments = Moments(latent, eps)

    def gammas(self) -> Tensor:
        """gamma_j, [D], of root mean square gamma. The gradient is orthogonal to `scale`, whose length therefore never shrinks to 0."""
        scale = wide(self.scale)
        return self.gamma * scale * torch.rsqrt(scale.square().mean())

    def forward(self, h: Tensor) -> DiagonalGaussian:
        a, b = outputs(self.linear, h).chunk(2, -1)
        variance = nn.functional.dropout(torch.exp(b), self.dropout, self.training) + self.least
        mean, codes = self.gammas() * self.moments(a) + self.beta, code_dtype(self.linear, h)
        return DiagonalGaussian(mean, variance.sqrt(), variance.log(), codes=codes)

    def floor(self) -> float:
        """d/2 gamma^2 + 1/2 sum_j beta_j^2: the least batch-mean KL, in nats."""
        return 0.5 * float(self.gamma**2 * len(self.beta) + wide(self.beta.detach()).square().sum())
