"""Posteriors whose KL has no closed form: one code is drawn, and the KL is estimated at that code.

KL(q(z|x) || p(z)) = E_q[log q(z|x) - log p(z)] is estimated with the one code that the decoder also
reads, as in the papers on flows and on the VampPrior. Then rec + kl is a one-sample estimate of the
bound. The estimate for one example may be negative; its mean over many examples is not, except for
noise.
"""

from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from uncollapse.distributions.normal import DiagonalGaussian, noise_like
from uncollapse.interfaces.posterior import Posterior


@dataclass
class MonteCarlo(Posterior):
    """A posterior whose codes are a function of the Gaussian `base` [B, D] and its noise.

    Log densities leave out D/2 ln 2 pi, which cancels in every ratio.
    """

    base: DiagonalGaussian
    # result of `draw`, kept so that `kl` and `sample` refer to the same code
    drawn: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    @abstractmethod
    def transform_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Standard normal noise [..., B, D] -> the codes z [..., B, D] and log q(z|x) [..., B].

        The density is computed from the noise, because z - mean loses precision where sigma is
        small.
        """

    @abstractmethod
    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z): z [..., D] -> [...]."""

    def draw(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The code of each example, z [B, D], and log q(z|x) - log p(z) there, [B].

        It is drawn at the first call; later calls return the same code.
        """
        if self.drawn is None:
            z, log_q = self.transform_noise(noise_like(self.base.mean, (), generator))
            # in float32 at least; `sample` narrows the code only when it is returned
            self.drawn = z, log_q - self.log_prior(z)
        return self.drawn

    @property
    def kl(self) -> Tensor:
        """The estimate at the code that `sample()` returns, [B, 1] nats."""
        # a column, since the KL does not split over dimensions
        return self.draw()[1][:, None]

    def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """The code that `kl` was estimated at, [B, D], at every call; or n new ones, [n, B, D]."""
        if n is None:
            return self.draw(generator)[0].to(self.base.codes)
        # these are for importance sampling, where each code has its own density
        return self.transform_noise(noise_like(self.base.mean, (n,), generator))[0].to(
            self.base.codes
        )


def log_normal(log_var: Tensor, noise: Tensor) -> Tensor:
    """log N(z; mean, exp(log_var)) at z = mean + std noise, summed over D, without D/2 ln 2 pi."""
    return -0.5 * (log_var + noise.square()).sum(-1)
