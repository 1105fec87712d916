"""Posteriors whose KL has no closed form: one code is drawn, and the KL is estimated at that very code.

KL(q(z|x) || p(z)) = E_q[log q(z|x) - log p(z)], here with the one code that the decoder also sees, as the flow and VampPrior papers
do: then rec + kl is a one-sample estimate of the bound, and what the two parts owe to the choice of z belongs together. Of a single
example this estimate may be negative; its mean over examples is not, but for noise.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from uncollapse.distributions.normal import DiagonalGaussian, noise_like


@dataclass
class MonteCarlo(ABC):
    """What starts from the Gaussian `base` [B, D] and its noise. The densities leave out D/2 ln 2 pi, which cancels in every ratio."""

    base: DiagonalGaussian
    drawn: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    @abstractmethod
    def follow(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Standard normal noise [..., B, D] -> the codes z [..., B, D] it leads to, and log q(z|x) [..., B] from that noise.

        From the noise, not from z: where sigma is small, z - mean has lost its digits.
        """

    @abstractmethod
    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z): z [..., D] -> [...]."""

    def draw(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The one code of each example, z [B, D], and log q(z|x) - log p(z) there, [B]; drawn when first asked for."""
        if self.drawn is None:
            z, log_q = self.follow(noise_like(self.base.mean, (), generator))
            self.drawn = z, log_q - self.log_prior(z)
        return self.drawn

    @property
    def kl(self) -> Tensor:
        """[B, 1] nats: the estimate at the code that `sample()` returns."""
        return self.draw()[1][:, None]

    def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """The one code that goes with `kl`, [B, D], the same whenever asked; or n fresh ones, [n, B, D]."""
        if n is None:
            return self.draw(generator)[0].to(self.base.codes)
        return self.follow(noise_like(self.base.mean, (n,), generator))[0].to(self.base.codes)


def log_normal(log_var: Tensor, noise: Tensor) -> Tensor:
    """log N(z; mean, exp(log_var)) at z = mean + std noise, summed over the dimensions, without D/2 ln 2 pi."""
    return -0.5 * (log_var + noise.square()).sum(-1)
