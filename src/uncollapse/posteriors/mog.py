"""A learned mixture of Gaussians as the prior, with the plain posterior.

Tomczak & Welling, "VAE with a VampPrior", AISTATS 2018 (arXiv 1705.07120), section 3, where
it is a baseline for the VampPrior:

    p(z) = 1/K sum_k N(z; m_k, diag s_k^2),   m_k and s_k free parameters, equal weights

The bound is rec + E_q[log q(z|x) - log p(z)], estimated with one z.

The paper gives no initial scale. Here the m_k start near 0 and the s_k are such that p(z) has
exactly the mean and variance of N(0, I): it is N(0, I) for K = 1, and 0.01 to 0.02 nats from it for
K = 50 and D = 16. The components overlap, so that all of them learn. They differ, because equal
components would get equal gradients and stay equal.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uncollapse.distributions.monte_carlo import MonteCarlo, log_normal
from uncollapse.distributions.normal import DiagonalGaussian, noise_like
from uncollapse.distributions.precision import code_dtype, outputs, wide
from uncollapse.errors import MAX_SIZE, check_integer
from uncollapse.interfaces.posterior import PosteriorHead

MEAN_RANGE = 0.5  # half-width of the components' initial means


def log_mixture_ratio(components: DiagonalGaussian, z: Tensor) -> Tensor:
    """log p(z) - log N(z; 0, I) for the mixture p: codes z [..., D] -> [...] float64."""
    # all codes under all components at once
    each = components.pairs(z.flatten(0, -2))
    return (torch.logsumexp(each, -1) - math.log(each.shape[-1])).view(z.shape[:-1])


@dataclass
class MixturePrior(MonteCarlo):
    """The Gaussian posterior `base` [B, D] against the mixture of `components` [K, D]."""

    components: DiagonalGaussian

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    @property
    def variance(self) -> Tensor:
        return self.base.variance

    def replace_gaussian(self, mean: Tensor, log_var: Tensor) -> "MixturePrior":
        return MixturePrior(self.base.replace_gaussian(mean, log_var), self.components)

    def transform_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        return self.base.mean + self.base.std * noise, log_normal(self.base.log_var, noise)

    def log_prior(self, z: Tensor) -> Tensor:
        z = wide(z)
        # log p(z) up to the constant D/2 ln 2 pi, which MonteCarlo leaves out
        return log_mixture_ratio(self.components, z).to(z.dtype) - 0.5 * z.square().sum(-1)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """[n, D]: a random component, then a code from it."""
        mean, std = self.components.mean, self.components.std
        # the components have equal weights
        k = torch.randint(len(mean), (n,), generator=generator, device=mean.device)
        return (mean[k] + std[k] * noise_like(mean[0], (n,), generator)).to(self.base.codes)

    def log_ratio(self, z: Tensor) -> Tensor:
        # both ratios are relative to N(0, I)
        ratio = self.base.log_ratio(z)
        return ratio - log_mixture_ratio(self.components, z).to(ratio.dtype)


class MixtureOfGaussians(PosteriorHead):
    """h [B, hidden] -> MixturePrior [B, latent]; InputError unless components >= 1."""

    def __init__(self, hidden: int, latent: int, components: int):
        super().__init__()
        components = check_integer("components", components, 1, MAX_SIZE)
        self.linear = nn.Linear(hidden, 2 * latent)
        means = torch.empty(components, latent).uniform_(-MEAN_RANGE, MEAN_RANGE)
        # centred, so that the mean of p(z) is exactly 0
        means -= means.mean(0)
        self.means = nn.Parameter(means)
        # variances 1 - Var m, so that p(z) has exactly the moments of N(0, I)
        self.log_vars = nn.Parameter(torch.log1p(-means.square().mean(0)).repeat(components, 1))

    def forward(self, h: Tensor) -> MixturePrior:
        mean, log_var = outputs(self.linear, h).chunk(2, -1)
        q = DiagonalGaussian.from_log_var(mean, log_var, code_dtype(self.linear, h))
        return MixturePrior(q, DiagonalGaussian.from_log_var(self.means, self.log_vars))
