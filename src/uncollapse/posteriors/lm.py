"""No code: z is 0 under posterior and prior, so the decoder alone is left, a language model.

The baseline of Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016, section 4
(RNNLM). Its -log p(x) is exact: rec, nelbo and nll are one number. The decoder is that of the other
heads, and z = 0. The encoder exists but learns nothing, as no gradient reaches it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.distributions.precision import autocasts, require_states, wide
from uncollapse.interfaces.posterior import Posterior, PosteriorHead


@dataclass(frozen=True)
class Point(Posterior):
    """z = 0 for every example. `mean` [B, D] is zeros, and so are the variance and the KL."""

    mean: Tensor
    codes: torch.dtype | None = None  # dtype of z; None: that of the mean

    @property
    def variance(self) -> Tensor:
        return self.mean

    @property
    def kl(self) -> Tensor:
        return self.mean

    def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        # zeros in the dtype that the decoder takes
        z = self.mean.to(self.codes or self.mean.dtype)
        return z if n is None else z.expand(n, -1, -1)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.mean.new_zeros(n, self.mean.shape[1], dtype=self.codes)

    def log_ratio(self, z: Tensor) -> Tensor:
        # posterior and prior are the same point, so their ratio is 1
        return wide(z.new_zeros(*z.shape[:-2], len(self.mean)))

    def log_ratio_per_dim(self, z: Tensor) -> Tensor:
        return z.new_zeros(z.shape[1], len(z), len(self.mean), dtype=torch.float64)


class NoCode(PosteriorHead):
    """h [B, hidden] -> Point [B, latent]. The only head without weights."""

    def __init__(self, hidden: int, latent: int):
        super().__init__()
        self.hidden, self.latent = hidden, latent

    def forward(self, h: Tensor) -> Point:
        # the values of h are not used, but its shape is checked as for any other head
        require_states(h, self.hidden)
        mean = wide(h.new_zeros(len(h), self.latent))
        return Point(mean, mean.dtype if autocasts(h) else h.dtype)
