"""Posteriors whose KL cannot fall below a promised rate of delta nats per dimension.

Razavi et al., "Preventing Posterior Collapse with delta-VAEs", ICLR 2019 (arXiv 1901.03416),
section 2: choose the families of posterior and prior so that no member of one is in the other.

`Delta`, the independent form. For a Gaussian against N(0, 1), mu^2 + s^2 - ln s^2 - 1 = 2 KL. With
s^2 kept where g(s^2) = 2 delta + 1 + ln s^2 - s^2 >= 0, which is between -W_0(c) and -W_-1(c) with
c = -exp(-2 delta - 1) and Lambert's function W, and

    mu^2 = g(s^2) + max(0, a),   the KL is exactly   KL_j = delta + max(0, a) / 2

One output r of the encoder gives both a = |r| and the sign of mu. So a is never negative, where
max(0, a) would have no gradient, and mu grows with r. At r = 0 it jumps from -sqrt(g) to sqrt(g),
as no mu between them is allowed. The sign has no gradient, and no surrogate is used.

`DeltaAR1`, the correlated form. The prior is the stationary process

    z_1 = e_1,   z_j = alpha z_{j-1} + sqrt(1 - alpha^2) e_j

whose precision matrix has the diagonal 1 / (1 - alpha^2) at both ends and, in between,
(1 + alpha^2) / (1 - alpha^2). The posterior is the plain one, whose dimensions are independent. The
smallest KL, at mu = 0 and s_j^2 = 1 / precision_jj, is (section 2.1)

    1/2 sum_j ln precision_jj + 1/2 ln det covariance
        = 1/2 [(D - 2) ln(1 + alpha^2) - ln(1 - alpha^2)]

and alpha is chosen so that this equals delta D. Deviation: in the paper the sequence consists of
the codes of successive positions in x; here x has one code, and its D dimensions are the sequence.
"""

import math
from dataclasses import dataclass, replace

import torch
from scipy.optimize import brentq
from scipy.special import lambertw
from torch import Tensor, nn

from uncollapse.distributions.normal import DiagonalGaussian, noise_like
from uncollapse.distributions.precision import code_dtype, outputs, wide, without_autocast
from uncollapse.errors import InputError, check_number
from uncollapse.interfaces.posterior import Posterior, PosteriorHead

# smallest g: sqrt(g) has an infinite gradient at 0. The clamp adds at most 5e-7 nats
MIN_ROOM = 1e-6
# the smallest 1 - alpha^2 at which float32 still distinguishes neighbouring dimensions
MIN_NOISE = 1e-6


# ---------------------------------------------------------------- independent dimensions


def variance_interval(delta: float) -> tuple[float, float]:
    """The smallest and the largest variance whose KL at mu = 0 is at most delta."""
    # at mu = 0, KL <= delta is s^2 - ln s^2 <= 2 delta + 1, solved by Lambert's W
    c = -math.exp(-2 * delta - 1)
    return float(-lambertw(c, 0).real), float(-lambertw(c, -1).real)


class Delta(PosteriorHead):
    """h [B, hidden] -> DiagonalGaussian [B, latent]; InputError unless 1e-6 <= delta <= 10."""

    def __init__(self, hidden: int, latent: int, delta: float):
        super().__init__()
        self.delta, self.latent = check_number("delta", delta, 1e-6, 10, closed=True), latent
        self.low, self.high = variance_interval(self.delta)
        self.linear = nn.Linear(hidden, 2 * latent)

    def forward(self, h: Tensor) -> DiagonalGaussian:
        r, b = outputs(self.linear, h).chunk(2, -1)
        # the sigmoid keeps the variance inside the interval
        variance = self.low + (self.high - self.low) * torch.sigmoid(b)
        log_var = variance.log()
        # g(s^2), whose square root is |mu| at the floor
        room = (log_var - variance + (2 * self.delta + 1)).clamp_min(MIN_ROOM)
        # copysign, because sign(0) would be 0, which is not allowed
        mean = torch.copysign((room + r.abs()).sqrt(), r)
        return DiagonalGaussian(mean, variance.sqrt(), log_var, codes=code_dtype(self.linear, h))

    def floor(self) -> float:
        """delta D, nats: a bound for every example, not only for the batch mean."""
        return self.delta * self.latent


# ---------------------------------------------------------------- an autoregressive prior


def ar1_floor(log_noise: float, latent: int) -> float:
    """The smallest KL of independent dimensions, in nats, given log_noise = ln(1 - alpha^2)."""
    # ln(1 + alpha^2) = ln(2 - noise), with alpha^2 = -expm1(log_noise)
    return 0.5 * ((latent - 2) * math.log1p(-math.expm1(log_noise)) - log_noise)


def solve_ar1(delta: float, latent: int) -> tuple[float, float]:
    """alpha and 1 - alpha^2 for a floor of delta per dimension.

    Both are returned, because 1 - alpha^2 loses its digits where alpha is near 1.
    """
    largest = ar1_floor(math.log(MIN_NOISE), latent) / latent
    if delta > largest:
        raise InputError(
            f"delta={delta:g}: with model.latent={latent} neighbouring dimensions of the prior "
            # rounded down, so that the suggested value is allowed
            f"would be almost equal; allowed is delta <= {math.floor(largest * 1e4) / 1e4:g}"
        )
    goal = delta * latent
    # the root in u = -ln(1 - alpha^2); at u = 2 goal the floor is at least the goal
    log_noise = -brentq(lambda u: ar1_floor(-u, latent) - goal, 0.0, 2 * goal, xtol=1e-15)
    return math.sqrt(-math.expm1(log_noise)), math.exp(log_noise)


@dataclass(frozen=True)
class AgainstAR1(Posterior):
    """A DiagonalGaussian with the stationary AR(1) process as its prior.

    It has no `log_ratio_per_dim`: the terms of `kl` are relative to p(z_j | z_{j-1}), whereas those
    of a ratio per dimension would be relative to p(z_j), and metrics must not mix the two.
    """

    q: DiagonalGaussian
    alpha: float
    noise: float  # 1 - alpha^2

    @property
    def mean(self) -> Tensor:
        return self.q.mean

    @property
    def variance(self) -> Tensor:
        return self.q.variance

    @property
    def kl(self) -> Tensor:
        """KL_j = E_q KL(q(z_j) || p(z_j | z_{j-1})), [B, D] nats (chain rule), each >= 0."""
        mean, variance = self.q.mean, self.q.variance
        step = mean[:, 1:] - self.alpha * mean[:, :-1]
        ratio = (variance[:, 1:] + step.square() + self.alpha**2 * variance[:, :-1]) / self.noise
        later = 0.5 * (ratio - 1 - self.q.log_var[:, 1:] + math.log(self.noise))
        return torch.cat([self.q.kl[:, :1], later], -1)

    def replace_gaussian(self, mean: Tensor, log_var: Tensor) -> "AgainstAR1":
        return replace(self, q=self.q.replace_gaussian(mean, log_var))

    def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        return self.q.sample(n, generator)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """[n, D] of covariance alpha^|j - k|."""
        # float64: the covariance is nearly singular for alpha near 1
        index = torch.arange(self.mean.shape[1], dtype=torch.float64, device=self.mean.device)
        factor = torch.linalg.cholesky(self.alpha ** (index[:, None] - index).abs())
        noise = noise_like(self.mean[0], (n,), generator)
        with without_autocast(noise):
            return (noise @ factor.T.to(noise.dtype)).to(self.q.codes)

    def log_ratio(self, z: Tensor) -> Tensor:
        """The log ratio of q to N(0, I), plus that of N(0, I) to the AR(1) process."""
        z = wide(z)
        step = z[..., 1:] - self.alpha * z[..., :-1]
        # -log p of the AR(1) process minus that of N(0, I), without the factor 1/2
        prior_change = step.square() / self.noise + math.log(self.noise) - z[..., 1:].square()
        return self.q.log_ratio(z) + 0.5 * prior_change.sum(-1)


class DeltaAR1(PosteriorHead):
    """h [B, hidden] -> AgainstAR1 [B, latent].

    InputError for latent < 2 or a delta out of range; the largest delta falls as latent grows.
    """

    def __init__(self, hidden: int, latent: int, delta: float):
        super().__init__()
        if latent < 2:
            raise InputError(
                f"model.latent={latent}: one dimension is not a sequence; allowed is at least 2"
            )
        self.delta, self.latent = check_number("delta", delta, 1e-6, 10, closed=True), latent
        self.alpha, self.noise = solve_ar1(self.delta, latent)
        self.linear = nn.Linear(hidden, 2 * latent)

    def forward(self, h: Tensor) -> AgainstAR1:
        mean, log_var = outputs(self.linear, h).chunk(2, -1)
        q = DiagonalGaussian.from_log_var(mean, log_var, code_dtype(self.linear, h))
        return AgainstAR1(q, self.alpha, self.noise)

    def floor(self) -> float:
        """delta D, nats: a bound for every example, not only for the batch mean."""
        return self.delta * self.latent
