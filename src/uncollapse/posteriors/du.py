"""DU-VAE: batch normalisation keeps means diverse, a lower bound and dropout act on variances.

Shen et al., "Regularizing Variational Autoencoder with Diversity and Uncertainty Awareness", IJCAI
2021 (arXiv 2110.12381), method section, and its published code. With n(.) for batch normalisation
without an affine part and f = alpha / (2 pi e),

    mu_j  = gamma_j n(a_j) + beta_j,   gamma_j learned, with root mean square gamma;
                                       beta_j learned from 0
    s_j^2 = m exp(b_j) + f,            evaluation: m = 1; training: m = 0 with chance
                                       `dropout`, else 1 / (1 - dropout)

At alpha = 1 the entropy of every dimension is at least 0. As in bn_mu, the batch mean of the KL is
at least D/2 gamma^2 + 1/2 sum_j beta_j^2. In training mode each dropped variance adds (f - ln f -
1)/2 (0.95 nats at alpha = 1).

Deviations: the authors' code rescales gamma_j in place before each use, whereas here the scale is
divided out in the formula (the same function, and evaluation changes no state); eps is 1e-8 instead
of 1e-5 (see bn_mu); the code switches f and dropout off while the KL weight grows, whereas here the
weight is 1 throughout and they always act.
"""

import math

import torch
from torch import Tensor, nn

from uncollapse.distributions.moments import EPS, Moments
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs, wide
from uncollapse.errors import InputError, check_number
from uncollapse.interfaces.posterior import PosteriorHead


class DU(PosteriorHead):
    """h [B, hidden] -> DiagonalGaussian [B, latent].

    InputError unless gamma > 0, alpha > 0 and 0 <= dropout < 1.
    """

    def __init__(
        self,
        hidden: int,
        latent: int,
        gamma: float,
        alpha: float,
        dropout: float,
        eps: float = EPS,
    ):
        super().__init__()
        self.gamma = check_number("gamma", gamma, 0)
        self.min_variance = check_number("alpha", alpha, 0) / (2 * math.pi * math.e)
        self.dropout = check_number("dropout", dropout, 0, 1, closed=True)
        # `closed` admits both ends, and 1 is refused here
        if self.dropout == 1:
            raise InputError(
                "dropout=1: every variance would be dropped; allowed is 0 <= dropout < 1"
            )
        self.linear = nn.Linear(hidden, 2 * latent)
        self.scale = nn.Parameter(torch.ones(latent))
        self.beta = nn.Parameter(torch.zeros(latent))
        self.moments = Moments(latent, eps)

    def gammas(self) -> Tensor:
        """gamma_j, [D], whose root mean square is gamma.

        The gradient is orthogonal to `scale`, so the length of `scale` never shrinks to 0.
        """
        scale = wide(self.scale)
        return self.gamma * scale * torch.rsqrt(scale.square().mean())

    def forward(self, h: Tensor) -> DiagonalGaussian:
        a, b = outputs(self.linear, h).chunk(2, -1)
        # inverted dropout: the entries that are kept are divided by 1 - dropout
        kept = nn.functional.dropout(torch.exp(b), self.dropout, self.training)
        # the bound is added after dropout, so it holds for dropped variances as well
        variance = kept + self.min_variance
        mean, codes = self.gammas() * self.moments(a) + self.beta, code_dtype(self.linear, h)
        return DiagonalGaussian(mean, variance.sqrt(), variance.log(), codes=codes)

    def floor(self) -> float:
        """D/2 gamma^2 + 1/2 sum_j beta_j^2, nats."""
        return 0.5 * float(self.gamma**2 * len(self.beta) + wide(self.beta.detach()).square().sum())
