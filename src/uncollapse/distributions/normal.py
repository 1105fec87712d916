"""The posterior that every Gaussian head returns: N(mean, std^2) per dimension, prior N(0, I)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

import torch
from torch import Tensor

from uncollapse.distributions.precision import autocasts, wide
from uncollapse.interfaces.posterior import Posterior

__all__ = ["DiagonalGaussian", "Posterior", "join_gaussians", "log_of_variance", "noise_like"]

SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True)
class DiagonalGaussian(Posterior):
    """N(mean, exp(log_var)) with independent dimensions; mean, std and log_var are [B, D].

    `std` may be negative (heads that normalise it let it pass through zero), since only its square
    enters the density. Tensors in float16 or bfloat16 are widened to float32. `codes` is the dtype
    of z, by default that of the given mean (float32 under autocast).
    """

    mean: Tensor
    std: Tensor
    log_var: Tensor
    codes: torch.dtype | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        # `codes` is decided before `mean` is widened below
        codes = self.codes or (wide(self.mean).dtype if autocasts(self.mean) else self.mean.dtype)
        object.__setattr__(self, "codes", codes)
        # the dataclass is frozen, so fields are set through object
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if isinstance(value, Tensor):
                object.__setattr__(self, name, wide(value))

    @classmethod
    def from_log_var(
        cls, mean: Tensor, log_var: Tensor, codes: torch.dtype | None = None
    ) -> "DiagonalGaussian":
        log_var = wide(log_var)
        return cls(mean, torch.exp(0.5 * log_var), log_var, codes=codes)

    @classmethod
    def from_std(
        cls, mean: Tensor, std: Tensor, codes: torch.dtype | None = None
    ) -> "DiagonalGaussian":
        std = wide(std)
        return cls(mean, std, log_of_variance(std.square()), codes=codes)

    @property
    def variance(self) -> Tensor:
        return self.std.square()

    @cached_property
    def kl(self) -> Tensor:
        """KL(q || N(0, 1)) per dimension, [B, D] nats (Kingma & Welling 2014, appendix B)."""
        return 0.5 * (self.mean.square() + self.variance - self.log_var - 1)

    def replace_gaussian(self, mean: Tensor, log_var: Tensor) -> "DiagonalGaussian":
        return DiagonalGaussian.from_log_var(mean, log_var, self.codes)

    def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """z = mean + std * noise (reparameterised): [B, D], or [n, B, D]."""
        noise = noise_like(self.mean, () if n is None else (n,), generator)
        return (self.mean + self.std * noise).to(self.codes)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """[n, D] from N(0, I)."""
        return noise_like(self.mean[0], (n,), generator).to(self.codes)

    def log_ratio(self, z: Tensor) -> Tensor:
        """As `Posterior.log_ratio`; the constants of the two normals cancel."""
        # all pairs: the general formula below would make a tensor [n, B, D]
        if z.dim() == 3 and z.shape[1] == 1 and len(self.mean) > 1:
            return self.pairs(z[:, 0])
        z = wide(z)
        # exp(-log_var/2) instead of 1/std, which may be negative or 0
        log_q = -0.5 * (self.log_var + ((z - self.mean) * torch.exp(-0.5 * self.log_var)).square())
        return (log_q + 0.5 * z.square()).sum(-1)

    def log_ratio_per_dim(self, z: Tensor) -> Tensor:
        """As `Posterior.log_ratio_per_dim`: z [n, D] -> [D, n, B] float64."""
        # log_ratio is a polynomial of degree 2 in each z_d, so all pairs are one matrix product
        square, linear, constant = (c.T[:, None] for c in self.coefficients)  # [D, 1, B]
        column = z.double().T[..., None]  # [D, n, 1]
        return torch.baddbmm(
            constant, torch.cat([column.square(), column], -1), torch.cat([square, linear], 1)
        )

    def pairs(self, z: Tensor) -> Tensor:
        """log_ratio of each code z [n, D] under each posterior, [n, B] float64.

        Two matrix products, without a tensor [n, B, D].
        """
        square, linear, constant = self.coefficients
        z = z.double()
        return constant.sum(-1) + z.square() @ square.T + z @ linear.T

    @cached_property
    def coefficients(self) -> tuple[Tensor, Tensor, Tensor]:
        """log q(z_d|x) - log p(z_d) as a polynomial in z_d, [B, D] float64 for each coefficient.

        Square, linear and constant; in double precision, since they cancel where sigma is small.
        """
        mean, log_var = self.mean.double(), self.log_var.double()
        precision = torch.exp(-log_var)
        # log q - log p = -(log_var + (z - mean)^2 precision)/2 + z^2/2, sorted by powers of z
        return 0.5 * (1 - precision), mean * precision, -0.5 * (log_var + mean.square() * precision)


def join_gaussians(posteriors: Sequence[Posterior]) -> Sequence[Posterior]:
    """Diagonal Gaussians of several batches as one; others as they are.

    A few large tensors are faster than many small ones where all pairs are compared.
    """
    # exact types: a subclass may have another density
    gaussians = [q for q in posteriors if type(q) is DiagonalGaussian]
    if len(gaussians) < max(len(posteriors), 2):
        return posteriors
    return [
        DiagonalGaussian(
            torch.cat([q.mean for q in gaussians]),
            torch.cat([q.std for q in gaussians]),
            torch.cat([q.log_var for q in gaussians]),
            codes=gaussians[0].codes,
        )
    ]


def log_of_variance(variance: Tensor) -> Tensor:
    """ln s^2, at least that of SMALLEST_VARIANCE.

    It is -inf at s = 0: the clamp keeps a single entry from ending a run, and leaves entries with
    |s| > 1e-6 unchanged.
    """
    return variance.clamp_min(SMALLEST_VARIANCE).log()


def noise_like(x: Tensor, more: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Standard normal [*more, *x.shape]."""
    return torch.randn((*more, *x.shape), generator=generator, dtype=x.dtype, device=x.device)
