"""Inverse autoregressive flow: the plain posterior transformed in steps with triangular Jacobians.

Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", NeurIPS 2016
(arXiv 1606.04934), sections 3 and 4, in the numerically stable form of equations 12-14 and
algorithm 1: z_0 = mu + sigma noise and, for each of `depth` steps,

    m, s = autoregressive network(z, h),   gate = logistic(s),   z <- gate z + (1 - gate) m

where m_i and s_i see only z_<i, and the order of the dimensions is reversed after each step. So

    log q(z|x) = log N(noise; 0, I) - sum ln sigma - sum over steps and dimensions of ln gate

s starts around 2 (the paper: +1 to +2), so that at first a step changes z little. The prior is
N(0, I), as in `plain`.

The network is a MADE (Germain et al. 2015) with one hidden layer and U units for each dimension.
The units of dimension i see z_<i and h; m_j and s_j see those with i <= j. Deviations from the
paper:
- Each step reads the encoder's last state h through a linear layer of its own, instead of a
  separate encoder output.
- Hidden units are tanh instead of ELU, and gate = g + (1 - g) logistic(s) with g = 1e-3. Training
  never inverts a flow, but the density of any other code (mutual information, importance weights)
  needs the inverse, which a bounded m and a gate away from zero keep well conditioned.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from uncollapse.distributions.monte_carlo import MonteCarlo, log_normal
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs, wide, without_autocast
from uncollapse.errors import MAX_DEPTH, check_integer
from uncollapse.interfaces.posterior import PosteriorHead

UNITS_PER_DIM = 4  # U, hidden units for each dimension
LEAST_GATE = 1e-3  # g
INITIAL_S = 2.0
# (code, example) pairs inverted at a time: few enough to fit into the processor's cache
PAIRS_AT_A_TIME = 1 << 14
DRAWS, DRAWS_SEED = 64, 1606  # the fixed noise from which `mean` and `variance` are computed


@dataclass(frozen=True)
class FlowStep:
    """One step for a batch of B examples, with weights that are already masked."""

    inner: Tensor  # [U, D, D]: unit, the unit's dimension, the dimension it sees
    outer: Tensor  # [2, U, D, D]: m or s, unit, dimension, the unit's dimension
    bias: Tensor  # [2, D]
    context: Tensor  # [B, U D]

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z [..., B, D] -> the next z and ln |det dz'/dz| [..., B]."""
        hidden = torch.tanh(z @ self.inner.flatten(0, 1).T + self.context)
        # unit u of dimension i is column u D + i, as in `context`
        outer = self.outer.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)  # [2 D, U D]
        m, s = (hidden @ outer.T + self.bias.flatten()).chunk(2, -1)
        gate = compute_gate(s)
        # gate z + (1 - gate) m
        return torch.lerp(m, z, gate), gate.log().sum(-1)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The input of `forward` and its ln |det|: z [D, n, B or 1] -> [D, n, B] and [n, B].

        It solves one dimension after the other, and adds each to the outputs that see it, so that
        all D together cost about as much as one `forward`. The axis of dimensions is the first, so
        that matrix products run over all n B pairs.
        """
        units, latent, _ = self.inner.shape
        context = self.context.T.unflatten(0, (units, latent))[:, :, None]  # [U, D, 1, B]
        pairs = (z.shape[1], context.shape[-1])
        # m_i, s_i, m_i+1, ...: the rows of the dimensions not yet solved
        outputs = self.bias.T.reshape(-1, 1).expand(-1, math.prod(pairs))
        solved: list[Tensor] = []
        log_det = z.new_zeros(pairs)
        for i in range(latent):
            pre = context[:, i].expand(-1, *pairs)
            # the units of dimension 0 see h alone
            if solved:
                seen = torch.stack(solved).flatten(1)
                pre = pre + (self.inner[:, i, :i] @ seen).unflatten(1, pairs)
            # the outputs of dimension i and later, which see the units of dimension i
            reach = self.outer[:, :, i:, i].permute(2, 0, 1).flatten(0, 1)  # [2 (D - i), U]
            outputs = torch.addmm(outputs, reach, torch.tanh(pre).flatten(1))
            m, gate = outputs[0].view(pairs), compute_gate(outputs[1]).view(pairs)
            # z' = gate z + (1 - gate) m, solved for z
            solved.append(m + (z[i] - m) / gate)
            log_det = log_det + gate.log()
            # the outputs of dimension i are used up
            outputs = outputs[2:]
        return torch.stack(solved), log_det

    def double(self) -> "FlowStep":
        return FlowStep(
            self.inner.double(), self.outer.double(), self.bias.double(), self.context.double()
        )


def compute_gate(s: Tensor) -> Tensor:
    """logistic(s), mapped linearly from (0, 1) to (g, 1)."""
    # a gate of at least g bounds the factor 1 / gate of the inverse
    return LEAST_GATE + (1 - LEAST_GATE) * torch.sigmoid(s)


def make_fixed_noise(latent: int) -> Tensor:
    """[DRAWS, D] float64, the same at every call, with exactly the moments of N(0, 1).

    That is: in pairs of opposite sign, and with mean square 1.
    """
    generator = torch.Generator().manual_seed(DRAWS_SEED)
    half = torch.randn(DRAWS // 2, latent, generator=generator, dtype=torch.float64)
    # mean square 1, as opposite signs already make the mean 0
    half = half / half.square().mean(0).sqrt()
    return torch.cat([half, -half])


@dataclass
class Flow(MonteCarlo):
    """The Gaussian `base` [B, D] transformed by `steps`, against the prior N(0, I).

    A drawn code comes with its density. The density of a given code needs the inverse of the flow,
    in double precision, as small gates magnify rounding. E_q z and Var_q z have no closed form;
    they are taken over 64 fixed draws of the noise, the same for all examples. So posteriors that
    ignore x have exactly the same mean, and the moments are exact where the flow does
    not change the Gaussian.
    """

    steps: list[FlowStep]

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance over the fixed draws, [B, D] each."""
        z, _ = self.transform_noise(
            make_fixed_noise(self.base.mean.shape[1]).to(self.base.mean)[:, None]
        )
        variance, mean = torch.var_mean(z, 0, correction=0)
        return mean, variance

    @property
    def mean(self) -> Tensor:
        return self.moments[0]

    @property
    def variance(self) -> Tensor:
        return self.moments[1]

    def transform_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        z, log_q = self.base.mean + self.base.std * noise, log_normal(self.base.log_var, noise)
        with without_autocast(z):
            for step in self.steps:
                z, log_det = step.forward(z)
                # reversing the order has determinant 1
                z, log_q = z.flip(-1), log_q - log_det
        return z, log_q

    def log_prior(self, z: Tensor) -> Tensor:
        return -0.5 * wide(z).square().sum(-1)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """[n, D] from N(0, I)."""
        return self.base.sample_prior(n, generator)

    def log_ratio(self, z: Tensor) -> Tensor:
        if z.dim() == 2:
            # one code for each example is the case n = 1
            return self.log_ratio(z[None])[0]
        # in double precision: the inverse divides by gates, which magnifies rounding errors
        codes, steps = z.double(), [step.double() for step in self.steps]
        # dimensions first, as `inverse` needs them
        blocks = codes.permute(2, 0, 1).split(max(1, PAIRS_AT_A_TIME // len(self.base.mean)), 1)
        log_q = torch.cat([self.log_density(block, steps) for block in blocks])
        return (log_q - self.log_prior(codes)).to(wide(z).dtype)

    def log_density(self, z: Tensor, steps: list[FlowStep]) -> Tensor:
        """log q(z|x) by the inverse flow: z [D, n, B] or [D, n, 1] -> [n, B]."""
        total = z.new_zeros(())
        # backwards through the steps, undoing each reversal before its step
        for step in reversed(steps):
            z, log_det = step.inverse(z.flip(0))
            total = total - log_det
        # [D, 1, B] each
        mean, log_var = (x.double().T[:, None] for x in (self.base.mean, self.base.log_var))
        noise = (z - mean) * torch.exp(-0.5 * log_var)
        return total - 0.5 * (log_var + noise.square()).sum(0)


class Autoregression(nn.Module):
    """h [B, hidden] -> FlowStep: a step's parameters, and its context, which is linear in h."""

    def __init__(self, hidden: int, latent: int):
        super().__init__()
        self.context = nn.Linear(hidden, UNITS_PER_DIM * latent)
        # initialised like a linear layer with this many inputs, of which the mask keeps half
        self.inner = nn.Parameter(
            torch.empty(UNITS_PER_DIM, latent, latent).uniform_(-1, 1) / math.sqrt(latent)
        )
        self.outer = nn.Parameter(
            torch.empty(2, UNITS_PER_DIM, latent, latent).uniform_(-1, 1)
            / math.sqrt(UNITS_PER_DIM * latent)
        )
        self.bias = nn.Parameter(
            torch.stack([torch.zeros(latent), torch.full((latent,), INITIAL_S)])
        )

    def forward(self, h: Tensor) -> FlowStep:
        context = outputs(self.context, h)
        inner, outer, bias = (
            weights.to(context.dtype) for weights in (self.inner, self.outer, self.bias)
        )
        # strictly lower triangular: hidden units of dimension i see z_<i only; outputs also see
        # their own dimension's units
        return FlowStep(inner.tril(-1), outer.tril(), bias, context)


class InverseAutoregressiveFlow(PosteriorHead):
    """h [B, hidden] -> Flow [B, latent]; InputError unless depth is an integer >= 1."""

    def __init__(self, hidden: int, latent: int, depth: int):
        super().__init__()
        depth = check_integer("depth", depth, 1, MAX_DEPTH)
        self.linear = nn.Linear(hidden, 2 * latent)
        self.steps = nn.ModuleList(Autoregression(hidden, latent) for _ in range(depth))

    def forward(self, h: Tensor) -> Flow:
        mean, log_var = outputs(self.linear, h).chunk(2, -1)
        q = DiagonalGaussian.from_log_var(mean, log_var, code_dtype(self.linear, h))
        return Flow(q, [step(h) for step in self.steps])
