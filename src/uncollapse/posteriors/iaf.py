"""Inverse autoregressive flow: the plain posterior bent into a richer one, step by step, each step's Jacobian being triangular.

Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", NeurIPS 2016 (arXiv 1606.04934), sections 3 and 4, in the
numerically stable form of equations 12-14 and Algorithm 1: z_0 = mu + sigma noise and, for each of `depth` steps,
    m, s = autoregressive network(z, h),   gate = logistic(s),   z <- gate z + (1 - gate) m,
where m_i and s_i see z_<i only, and the order of the dimensions is reversed from one step to the next. So
    log q(z|x) = log N(noise; 0, I) - sum ln sigma - sum over steps and dimensions of ln gate.
s starts around 2 (the paper: +1 to +2), so that a step changes little at first. The prior is N(0, I).

The network is a MADE (Germain et al. 2015) of one hidden layer, U units for each dimension: those of dimension i see z_<i and h, and
are seen by m_j and s_j with j >= i. Different from the paper:
- h is the encoder's last state, through a linear layer of each step's own, not a separate output of the encoder.
- hidden units are tanh, not ELU, and gate = g + (1 - g) logistic(s) with g = 1e-3. Training never inverts a flow, but the density of
  any other code (mutual information, importance weights) needs the inverse: bounded m and a gate off zero keep it well defined.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from uncollapse.distributions.monte_carlo import MonteCarlo, log_normal
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs, wide, without_autocast
from uncollapse.errors import MOST_DEPTH, check_integer

UNITS = 4  # U, hidden units for each dimension
LEAST_GATE = 1e-3  # g
OPEN = 2.0  # s at the start
PAIRS = (
    1 << 14
)  # pairs of code and example inverted at a time: their states stay in the processor's cache
DRAWS, DRAWS_SEED = 64, 1606  # fixed noise behind `mean` and `variance`


@dataclass(frozen=True)
class Step:
    """One step for a batch of B examples; weights are masked already.

    inner [U, D, D] (unit, its dimension, the dimension seen); outer [2, U, D, D] (m or s, unit, dimension, the unit's dimension);
    bias [2, D]; context [B, U D].
    """

    inner: Tensor
    outer: Tensor
    bias: Tensor
    context: Tensor

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z [..., B, D] -> the next z and ln |det dz'/dz| [..., B]."""
        hidden = torch.tanh(z @ self.inner.flatten(0, 1).T + self.context)
        outer = self.outer.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)  # [2 D, U D]
        m, s = (hidden @ outer.T + self.bias.flatten()).chunk(2, -1)
        gate = gate_of(s)
        return torch.lerp(m, z, gate), gate.log().sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` made z of, and its ln |det|: z [D, n, B] or [D, n, 1] -> [D, n, B] and [n, B].

        One dimension after the other. Each reads those known and adds what it gives to the outputs that see it, so all D together
        cost about as much as one `forward`. Dimensions come first, so that this is matrix products over all n B pairs.
        """
        units, latent, _ = self.inner.shape
        context = self.context.T.unflatten(0, (units, latent))[:, :, None]  # [U, D, 1, B]
        pairs = (z.shape[1], context.shape[-1])
        outputs = self.bias.T.reshape(-1, 1).expand(
            -1, math.prod(pairs)
        )  # m_i, s_i, m_i+1, ...: those still to come
        known: list[Tensor] = []
        log_det = z.new_zeros(pairs)
        for i in range(latent):
            pre = context[:, i].expand(-1, *pairs)
            if known:
                pre = pre + (self.inner[:, i, :i] @ torch.stack(known).flatten(1)).unflatten(
                    1, pairs
                )
            reach = self.outer[:, :, i:, i].permute(2, 0, 1).flatten(0, 1)  # [2 (D - i), U]
            outputs = torch.addmm(outputs, reach, torch.tanh(pre).flatten(1))
            m, gate = outputs[0].view(pairs), gate_of(outputs[1]).view(pairs)
            known.append(m + (z[i] - m) / gate)
            log_det = log_det + gate.log()
            outputs = outputs[2:]
        return torch.stack(known), log_det

    def double(self) -> "Step":
        return Step(
            self.inner.double(), self.outer.double(), self.bias.double(), self.context.double()
        )


def gate_of(s: Tensor) -> Tensor:
    """logistic(s), moved into (g, 1)."""
    return LEAST_GATE + (1 - LEAST_GATE) * torch.sigmoid(s)


def fixed_noise(latent: int) -> Tensor:
    """[DRAWS, D] float64, always the same: in pairs of opposite sign and of mean square 1, so that the moments of N(0, 1) are exact."""
    half = torch.randn(
        DRAWS // 2, latent, generator=torch.Generator().manual_seed(DRAWS_SEED), dtype=torch.float64
    )
    half = half / half.square().mean(0).sqrt()
    return torch.cat([half, -half])


@dataclass
class Flow(MonteCarlo):
    """The Gaussian `base` [B, D] sent through `steps`, against N(0, I).

    Drawing a code tells its density; the density of a given code needs the flow's inverse, in double precision, as small gates magnify
    rounding. E_q z and Var_q z have no closed form: they are taken over 64 fixed draws of the noise, the same for all examples. So
    posteriors that ignore x have the very same mean, and where the flow leaves them Gaussian the moments are exact.
    """

    steps: list[Step]

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance over the fixed draws, [B, D] each."""
        z, _ = self.follow(fixed_noise(self.base.mean.shape[1]).to(self.base.mean)[:, None])
        variance, mean = torch.var_mean(z, 0, correction=0)
        return mean, variance

    @property
    def mean(self) -> Tensor:
        return self.moments[0]

    @property
    def variance(self) -> Tensor:
        return self.moments[1]

    def follow(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        z, log_q = self.base.mean + self.base.std * noise, log_normal(self.base.log_var, noise)
        with without_autocast(z):
            for step in self.steps:
                z, log_det = step.forward(z)
                z, log_q = z.flip(-1), log_q - log_det
        return z, log_q

    def log_prior(self, z: Tensor) -> Tensor:
        return -0.5 * wide(z).square().sum(-1)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """[n, D] from N(0, I)."""
        return self.base.sample_prior(n, generator)

    def log_ratio(self, z: Tensor) -> Tensor:
        """log q(z|x) - log p(z): z [B, D] -> [B]; [n, B, D] or [n, 1, D] -> [n, B]."""
        if z.dim() == 2:
            return self.log_ratio(z[None])[0]
        codes, steps = z.double(), [step.double() for step in self.steps]
        parts = codes.permute(2, 0, 1).split(max(1, PAIRS // len(self.base.mean)), 1)
        log_q = torch.cat([self.log_density(part, steps) for part in parts])
        return (log_q - self.log_prior(codes)).to(wide(z).dtype)

    def log_density(self, z: Tensor, steps: list[Step]) -> Tensor:
        """log q(z|x) of z [D, n, B] or [D, n, 1] by the inverse flow, [n, B]."""
        total = z.new_zeros(())
        for step in reversed(steps):
            z, log_det = step.inverse(z.flip(0))
            total = total - log_det
        mean, log_var = (
            x.double().T[:, None] for x in (self.base.mean, self.base.log_var)
        )  # [D, 1, B]
        noise = (z - mean) * torch.exp(-0.5 * log_var)
        return total - 0.5 * (log_var + noise.square()).sum(0)


class Autoregression(nn.Module):
    """h [B, hidden] -> the Step of this batch: its weights are the step's parameters, its context is linear in h."""

    def __init__(self, hidden: int, latent: int):
        super().__init__()
        self.context = nn.Linear(hidden, UNITS * latent)
        # as wide as a linear layer of as many inputs, over the half that the mask leaves
        self.inner = nn.Parameter(
            torch.empty(UNITS, latent, latent).uniform_(-1, 1) / math.sqrt(latent)
        )
        self.outer = nn.Parameter(
            torch.empty(2, UNITS, latent, latent).uniform_(-1, 1) / math.sqrt(UNITS * latent)
        )
        self.bias = nn.Parameter(torch.stack([torch.zeros(latent), torch.full((latent,), OPEN)]))

    def forward(self, h: Tensor) -> Step:
        context = outputs(self.context, h)
        inner, outer, bias = (
            weights.to(context.dtype) for weights in (self.inner, self.outer, self.bias)
        )
        return Step(inner.tril(-1), outer.tril(), bias, context)


class InverseAutoregressiveFlow(nn.Module):
    """h [B, hidden] -> Flow [B, latent]; InputError unless depth is a whole number of at least 1."""

    def __init__(self, hidden: int, latent: int, depth: int):
        super().__init__()
        depth = check_integer("depth", depth, 1, MOST_DEPTH)
        self.linear = nn.Linear(hidden, 2 * latent)
        self.steps = nn.ModuleList(Autoregression(hidden, latent) for _ in range(depth))

    def forward(self, h: Tensor) -> Flow:
        mean, log_var = outputs(self.linear, h).chunk(2, -1)
        q = DiagonalGaussian.from_log_var(mean, log_var, code_dtype(self.linear, h))
        return Flow(q, [step(h) for step in self.steps])
