"""A posterior on the unit sphere whose KL is fixed beforehand: von Mises-Fisher around mu(x), against the uniform prior.

Xu & Durrett, "Spherical Latent Spaces for Stable Variational Autoencoders", EMNLP 2018 (arXiv 1808.10805), sections 3 and 4: mu is the
normalised output of the encoder, kappa a constant, so that the KL cannot vanish. Davidson et al., "Hyperspherical Variational
Auto-Encoders", UAI 2018 (arXiv 1804.00891), section 3 and appendix: sampling and KL.

With v = mu.z, the density of z in d dimensions, taken against the uniform one, is exp(kappa v) / F, where F = E_uniform exp(kappa v) is
    F(kappa, d) = 0F1(; d/2; kappa^2 / 4) = Gamma(d/2) (2/kappa)^(d/2-1) I_{d/2-1}(kappa),
so with A = (ln F)' = I_{d/2}(kappa) / I_{d/2-1}(kappa), the mean length of z,
    KL = kappa A - ln F,   E z = A mu,   Cov z = (A/kappa)(I - mu mu^T) + (1 - (d-1) A/kappa - A^2) mu mu^T.
The KL depends on kappa and d alone. This is its exact form; the approximation in circulation is 4 % off at d = 32, kappa = 13.
Sampling: Wood, "Simulation of the von Mises Fisher distribution", Communications in Statistics 1994. Deviation: gradients do not pass
through a reflection, as in Davidson's algorithm, but along the rotation that carries mu; this has less variance and no singular point.
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

SHORT = 1e-12  # an output of the encoder shorter than this has no direction


def log_normaliser(kappa: float, dim: float) -> float:
    """ln F: its power series has positive terms only, so it neither cancels nor, in the log domain, under- or overflows."""
    k = np.arange(
        int(kappa) + 60
    )  # from k = kappa on, each term is less than a quarter of the one before
    return float(
        logsumexp(
            2 * k * np.log(kappa / 2) - gammaln(k + 1) - gammaln(dim / 2 + k) + gammaln(dim / 2)
        )
    )


@dataclass(frozen=True)
class Law:
    """What all vMF densities of one kappa in `dim` dimensions share."""

    kappa: float
    dim: int

    @cached_property
    def log_f(self) -> float:
        return log_normaliser(self.kappa, self.dim)

    @cached_property
    def length(self) -> float:
        """A = |E z|; the derivative of 0F1(; c; x) is 0F1(; c + 1; x) / c."""
        return (
            self.kappa
            / self.dim
            * float(np.exp(log_normaliser(self.kappa, self.dim + 2) - self.log_f))
        )

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
        """[count, dim] float64 around the first axis, by rejection; only what is missing is drawn again.

        The first coordinate t of a uniform point on the sphere, moved to w = (t + x) / (1 + x t), is Wood's proposal (his Beta variable is
        (1 - t) / 2); its other coordinates point in a uniform direction that is independent of t, so one Gaussian vector gives both.
        """
        # sqrt(1 + q^2) - q with q = 2 kappa / (d - 1), in a form without cancellation
        b = (self.dim - 1) / (2 * self.kappa + np.hypot(2 * self.kappa, self.dim - 1))
        x, gap = (1 - b) / (1 + b), 4 * b / (1 + b) ** 2  # gap = 1 - x^2
        found, missing = [], count
        while missing > 0:
            tries = missing + missing // 2 + 16
            point = torch.randn(
                tries, self.dim, generator=generator, dtype=torch.float64, device=device
            )
            chance = torch.rand(tries, generator=generator, dtype=torch.float64, device=device)
            t = point[:, 0] / torch.linalg.vector_norm(point, dim=1)
            w = (t + x) / (1 + x * t)
            fits = chance.log() <= self.kappa * (w - x) + (self.dim - 1) * torch.log(
                (1 - x * w) / gap
            )
            w, side = w[fits, None][:missing], point[fits, 1:][:missing]
            found.append(
                torch.cat([w, torch.sqrt((1 - w) * (1 + w)) * nn.functional.normalize(side)], 1)
            )
            missing -= len(w)
        return torch.cat(found)


def direction(a: Tensor) -> Tensor:
    """a / |a|, [B, D], without overflow for long a; what is too short for a direction points along the first axis."""
    top = a.detach().abs().amax(-1, keepdim=True)
    short = top < SHORT
    a = a / top.masked_fill(
        short, 1.0
    )  # a constant: the result, and so its gradient, does not depend on the length
    a = a + nn.functional.pad(short.to(a.dtype), (0, a.shape[-1] - 1))
    return a / torch.linalg.vector_norm(a, dim=-1, keepdim=True)


def turned(z: Tensor, mu: Tensor) -> Tensor:
    """z [..., B, D], drawn around the first axis, turned to lie around mu [B, D] instead.

    By the reflection that takes the first axis to mu or to -mu, whichever is farther off (then negated): no divisor is below 1.
    """
    sign = torch.where(mu[:, :1] < 0, -1.0, 1.0).to(mu.dtype)
    normal = sign * mu + nn.functional.pad(torch.ones_like(sign), (0, mu.shape[1] - 1))
    return sign * (normal * ((z * normal).sum(-1, keepdim=True) / normal[:, :1]) - z)


def carried(z: Tensor, mu: Tensor) -> Tensor:
    """z unchanged, with the gradient of a z that a rotation carries along with mu: dz = (mu.z) dmu - (dmu.z) mu."""
    fixed = mu.detach()
    change = mu - fixed  # 0
    return (
        z + (z * fixed).sum(-1, keepdim=True) * change - (z * change).sum(-1, keepdim=True) * fixed
    )


@dataclass(frozen=True)
class Directional:
    """vMF(mu, kappa) for a batch, mu [B, D] of length 1, against the uniform prior on the sphere; the KL does not split: [B, 1]."""

    mu: Tensor
    law: Law
    codes: torch.dtype | None = None  # of z; None: as mu

    @property
    def mean(self) -> Tensor:
        return self.law.length * self.mu

    @property
    def variance(self) -> Tensor:
        return self.law.across + (self.law.along - self.law.across) * self.mu.square()

    @property
    def kl(self) -> Tensor:
        # a constant; the zero keeps the graph, so that what differentiates a KL alone also works here
        return self.law.kl + 0 * self.mu[:, :1]

    def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        shape = self.mu.shape if n is None else (n, *self.mu.shape)
        with torch.no_grad():
            z = self.law.sample(len(self.mu) * (n or 1), generator, self.mu.device)
            z = turned(z.to(self.mu.dtype).view(shape), self.mu)
        z = carried(z, self.mu) if self.mu.requires_grad else z
        return z.to(self.codes or z.dtype)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """[n, D] uniform on the sphere."""
        z = nn.functional.normalize(noise_like(self.mu[0], (n,), generator))
        return z.to(self.codes or z.dtype)

    def project(self, z: Tensor) -> Tensor:
        """Any point but 0 onto the sphere, the only place where the decoder knows codes."""
        return nn.functional.normalize(wide(z), dim=-1).to(z.dtype)

    def log_ratio(self, z: Tensor) -> Tensor:
        """kappa mu.z - ln F, shapes as `DiagonalGaussian.log_ratio`."""
        if z.dim() == 3 and z.shape[1] == 1:
            return self.law.kappa * (z[:, 0].double() @ self.mu.double().T) - self.law.log_f
        return self.law.kappa * (z * self.mu).sum(-1) - self.law.log_f


class VonMisesFisher(nn.Module):
    """h [B, hidden] -> Directional [B, latent]; InputError unless 0 < kappa < 1e4 and latent >= 2.

    `linear` is as large as the plain head's, so that all heads start from the same weights; its second half, ln sigma^2 there, is unused.
    """

    def __init__(self, hidden: int, latent: int, kappa: float):
        super().__init__()
        if latent < 2:
            raise InputError(
                f"model.latent={latent}: the sphere in one dimension is two points; allowed is at least 2"
            )
        self.law = Law(check_number("kappa", kappa, 0, 1e4), latent)
        self.linear = nn.Linear(hidden, 2 * latent)

    def forward(self, h: Tensor) -> Directional:
        mu = direction(outputs(self.linear, h).chunk(2, -1)[0])
        return Directional(mu, self.law, code_dtype(self.linear, h))

    def floor(self) -> float:
        """The KL itself, nats: it is the same for every example."""
        return self.law.kl
