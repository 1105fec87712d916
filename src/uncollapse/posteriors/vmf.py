"""A posterior on the unit sphere with a fixed KL: von Mises-Fisher around mu(x), uniform prior.

Xu & Durrett, "Spherical Latent Spaces for Stable Variational Autoencoders", EMNLP 2018 (arXiv
1808.10805), sections 3 and 4: mu is the normalised output of the encoder and kappa a constant, so
that the KL cannot vanish. Davidson et al., "Hyperspherical Variational Auto-Encoders", UAI 2018
(arXiv 1804.00891), section 3 and appendix: sampling and KL.

With v = mu.z, the density of z in d dimensions, relative to the uniform one, is exp(kappa v) / F:

    F(kappa, d) = E_uniform exp(kappa v) = 0F1(; d/2; kappa^2 / 4)
                = Gamma(d/2) (2/kappa)^(d/2-1) I_{d/2-1}(kappa)

With A = (ln F)' = I_{d/2}(kappa) / I_{d/2-1}(kappa), the length of E z,

    KL = kappa A - ln F,   E z = A mu
    Cov z = (A/kappa)(I - mu mu^T) + (1 - (d-1) A/kappa - A^2) mu mu^T

The KL depends only on kappa and d. This is its exact form; the common approximation is 4 % off for
d = 32 and kappa = 13. Sampling: Wood, "Simulation of the von Mises Fisher distribution",
Communications in Statistics 1994. Deviation: gradients pass through a rotation that moves with mu,
instead of a reflection as in Davidson's algorithm. Such gradients have less variance and no
singular point.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.special import gammaln, logsumexp
from torch import Tensor, nn

from uncollapse.distributions.normal import noise_like
from uncollapse.distributions.precision import code_dtype, outputs, wide
from uncollapse.errors import InputError, check_number
from uncollapse.interfaces.posterior import Posterior, PosteriorHead

MIN_LENGTH = 1e-12  # of an output of the encoder; a shorter one has no direction


def log_normaliser(kappa: float, dim: float) -> float:
    """ln F, from the power series of F.

    Its terms are positive, so nothing cancels, and in the log domain nothing under- or overflows.
    """
    # from k = kappa on, each term is less than a quarter of the one before
    k = np.arange(int(kappa) + 60)
    log_terms = 2 * k * np.log(kappa / 2) - gammaln(k + 1) - gammaln(dim / 2 + k)
    return float(logsumexp(log_terms + gammaln(dim / 2)))


@dataclass(frozen=True)
class AxialVMF:
    """The vMF distribution around the first axis, and numbers that do not depend on the axis."""

    kappa: float
    dim: int

    @cached_property
    def log_f(self) -> float:
        return log_normaliser(self.kappa, self.dim)

    @cached_property
    def length(self) -> float:
        """A = |E z|; the derivative of 0F1(; c; x) is 0F1(; c + 1; x) / c."""
        ratio = float(np.exp(log_normaliser(self.kappa, self.dim + 2) - self.log_f))
        return self.kappa / self.dim * ratio

    @cached_property
    def kl(self) -> float:
        return self.kappa * self.length - self.log_f

    @cached_property
    def across(self) -> float:
        """Variance of z in a direction orthogonal to mu."""
        return self.length / self.kappa

    @cached_property
    def along(self) -> float:
        """Variance of z in the direction of mu."""
        return 1 - (self.dim - 1) * self.across - self.length**2

    def sample(self, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """[count, dim] float64, by rejection, repeated for the draws that are still missing.

        Let t be the first coordinate of a uniform point on the sphere. Then w = (t + x) / (1 + x t)
        is Wood's proposal (his Beta variable is (1 - t) / 2). The other coordinates have a uniform
        direction that is independent of t, so one Gaussian vector gives both.
        """
        # sqrt(1 + q^2) - q with q = 2 kappa / (d - 1), in a form without cancellation
        b = (self.dim - 1) / (2 * self.kappa + np.hypot(2 * self.kappa, self.dim - 1))
        x, gap = (1 - b) / (1 + b), 4 * b / (1 + b) ** 2  # gap = 1 - x^2
        draws, missing = [], count
        while missing > 0:
            # more than missing, as some are rejected; the constant helps small counts
            tries = missing + missing // 2 + 16
            point = torch.randn(
                tries, self.dim, generator=generator, dtype=torch.float64, device=device
            )
            chance = torch.rand(tries, generator=generator, dtype=torch.float64, device=device)
            t = point[:, 0] / torch.linalg.vector_norm(point, dim=1)
            w = (t + x) / (1 + x * t)
            log_accept = self.kappa * (w - x) + (self.dim - 1) * torch.log((1 - x * w) / gap)
            # in the log domain, as both sides may underflow
            accepted = chance.log() <= log_accept
            # no more than needed, so that the result has exactly `count` rows
            w, side = w[accepted, None][:missing], point[accepted, 1:][:missing]
            # |side|^2 = 1 - w^2, as z has length 1
            side = torch.sqrt((1 - w) * (1 + w)) * nn.functional.normalize(side)
            draws.append(torch.cat([w, side], 1))
            missing -= len(w)
        return torch.cat(draws)


def unit_vector(a: Tensor) -> Tensor:
    """a / |a|, [B, D], without overflow; a vector that is too short becomes the first axis."""
    # divide by the largest entry first, so that the squares below cannot overflow
    top = a.detach().abs().amax(-1, keepdim=True)
    short = top < MIN_LENGTH
    # a constant for the gradient, as the result does not depend on the length
    a = a / top.masked_fill(short, 1.0)
    a = a + nn.functional.pad(short.to(a.dtype), (0, a.shape[-1] - 1))
    return a / torch.linalg.vector_norm(a, dim=-1, keepdim=True)


def rotate_to(z: Tensor, mu: Tensor) -> Tensor:
    """z [..., B, D], drawn around the first axis, moved to lie around mu [B, D] instead.

    The first axis is reflected to mu, or to -mu and then negated, whichever is farther from it: so
    no divisor is below 1.
    """
    sign = torch.where(mu[:, :1] < 0, -1.0, 1.0).to(mu.dtype)
    normal = sign * mu + nn.functional.pad(torch.ones_like(sign), (0, mu.shape[1] - 1))
    # the reflection of z: 2 (z.n) n / |n|^2 - z, with |n|^2 = 2 n_1
    return sign * (normal * ((z * normal).sum(-1, keepdim=True) / normal[:, :1]) - z)


def attach_gradient(z: Tensor, mu: Tensor) -> Tensor:
    """z unchanged, with the gradient of a z that rotates with mu: dz = (mu.z) dmu - (dmu.z) mu."""
    fixed = mu.detach()
    # 0 in value, but with the gradient of mu
    change = mu - fixed  # 0
    towards = (z * fixed).sum(-1, keepdim=True) * change
    return z + towards - (z * change).sum(-1, keepdim=True) * fixed


@dataclass(frozen=True)
class Directional(Posterior):
    """vMF(mu, kappa) for a batch, against the uniform prior on the sphere; the KL is [B, 1]."""

    mu: Tensor  # [B, D], of length 1
    law: AxialVMF  # the same distribution around the first axis
    codes: torch.dtype | None = None  # dtype of z; None: that of mu

    @property
    def mean(self) -> Tensor:
        return self.law.length * self.mu

    @property
    def variance(self) -> Tensor:
        # the diagonal of Cov z
        return self.law.across + (self.law.along - self.law.across) * self.mu.square()

    @property
    def kl(self) -> Tensor:
        # a constant; adding zero keeps a graph for code that differentiates the KL alone
        return self.law.kl + 0 * self.mu[:, :1]

    def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        shape = self.mu.shape if n is None else (n, *self.mu.shape)
        # rejection sampling has no gradient; the rotation provides it below
        with torch.no_grad():
            z = self.law.sample(len(self.mu) * (n or 1), generator, self.mu.device)
            z = rotate_to(z.to(self.mu.dtype).view(shape), self.mu)
        z = attach_gradient(z, self.mu) if self.mu.requires_grad else z
        return z.to(self.codes or z.dtype)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """[n, D] uniform on the sphere."""
        z = nn.functional.normalize(noise_like(self.mu[0], (n,), generator))
        return z.to(self.codes or z.dtype)

    def project(self, z: Tensor) -> Tensor:
        """The nearest points on the sphere, where all codes are; z must not be 0."""
        return nn.functional.normalize(wide(z), dim=-1).to(z.dtype)

    def log_ratio(self, z: Tensor) -> Tensor:
        """kappa mu.z - ln F."""
        if z.dim() == 3 and z.shape[1] == 1:
            # float64 for all pairs, whose values are compared in a mixture
            return self.law.kappa * (z[:, 0].double() @ self.mu.double().T) - self.law.log_f
        return self.law.kappa * (z * self.mu).sum(-1) - self.law.log_f


class VonMisesFisher(PosteriorHead):
    """h [B, hidden] -> Directional [B, latent]; InputError unless 0 < kappa < 1e4 and latent >= 2.

    `linear` is as large as the plain head's, so that all heads start from the same weights. Its
    second half, which gives ln sigma^2 there, is unused.
    """

    def __init__(self, hidden: int, latent: int, kappa: float):
        super().__init__()
        if latent < 2:
            raise InputError(
                f"model.latent={latent}: the sphere in one dimension is two points; allowed is at "
                "least 2"
            )
        self.law = AxialVMF(check_number("kappa", kappa, 0, 1e4), latent)
        self.linear = nn.Linear(hidden, 2 * latent)

    def forward(self, h: Tensor) -> Directional:
        # the first half only: the second one gives the variance of other heads
        mu = unit_vector(outputs(self.linear, h).chunk(2, -1)[0])
        return Directional(mu, self.law, code_dtype(self.linear, h))

    def floor(self) -> float:
        """The KL itself, nats, as it is the same for every example."""
        return self.law.kl
