"""Likelihoods p(x|z) of vectors, given one number of a decoder for each entry of x.

gaussian             N(x; output, variance), variance fixed: that of `model.variance`
gaussian_learned     the same with a variance learned for each entry
gaussian_shared      the same with one learned variance, whose optimum is the mean squared error:
                     Rybkin, Daniilidis & Levine, "Simple and Effective VAE Training with Calibrated
                     Decoders", ICML 2021 (arXiv 2006.13202), section 3
discretised_logistic mass of a logistic distribution in the bin of x, with a scale learned for each
                     entry: Kingma et al., "Improved Variational Inference with Inverse
                     Autoregressive Flow", NeurIPS 2016 (arXiv 1606.04934), appendix C.2;
                     x is one of `model.levels` values from 0 to 1
negative_binomial    counts with mean exp(output) and a dispersion learned for each entry: Lopez et
                     al., "Deep Generative Modeling for Single-Cell Transcriptomics", Nature Methods
                     2018, without their zero inflation and library size
bernoulli            x is 0 or 1, output is a logit
"""

import math
from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus

from uncollapse.errors import InputError, check_integer, check_number
from uncollapse.interfaces.model import Limits

SMALLEST_VARIANCE = 1e-6  # keeps the density of an entry that is constant finite
SMALLEST_LOG_SCALE = -7.0  # as in the code of PixelCNN++; keeps a wrong pixel affordable
LARGEST_LOG_MEAN = 20.0  # of counts that are drawn, about 5e8
LARGEST_LOG_THETA = 12.0  # nearly Poisson; above it, lgamma of theta loses the digits of x
MOST_LEVELS = 65536


class Likelihood(nn.Module):
    """-log p(x|z) in nats, from outputs [..., P] for x [B, P]."""

    levels: int | None = None  # how many values an entry can have, where that is a setting

    @abstractmethod
    def forward(self, outputs: Tensor, x: Tensor) -> Tensor:
        """[...]: the sum over the entries of each example."""

    def scale_inputs(self, x: Tensor) -> Tensor:
        """x as the encoder reads it."""
        return x

    def check(self, x: np.ndarray) -> None:
        """InputError for values [N, P] that this likelihood gives no probability."""

    @abstractmethod
    def most_likely(self, outputs: Tensor) -> Tensor:
        """The value with the largest probability of each entry."""

    @abstractmethod
    def draw(
        self, outputs: Tensor, generator: torch.Generator | None, temperature: float = 1.0
    ) -> Tensor:
        """A value drawn for each entry: above temperature 1 more varied, below 1 less."""


def generate_values(
    likelihood: Likelihood,
    outputs: Tensor,
    greedy: bool,
    generator: torch.Generator | None,
    limits: Limits,
) -> Tensor:
    """Entries in the shape of their outputs: the most likely ones if greedy, or drawn."""
    if greedy:
        return likelihood.most_likely(outputs)
    return likelihood.draw(outputs, generator, limits.get("temperature", 1.0))


def gaussian_nll(x: Tensor, mean: Tensor, variance: Tensor | float) -> Tensor:
    """-log N(x; mean, variance), summed over the last dimension; nats."""
    variance = torch.as_tensor(variance, dtype=mean.dtype, device=mean.device)
    distance = (x - mean).square() / variance
    return 0.5 * (distance + variance.log() + math.log(2 * math.pi)).sum(-1)


class FixedGaussian(Likelihood):
    """Fixed variance. InputError unless it is above 0."""

    def __init__(self, size: int, variance: float, levels: int):
        super().__init__()
        self.variance = check_number("model.variance", variance, 0)

    def spread(self) -> Tensor | float:
        """The variance, one or [P]."""
        return self.variance

    def forward(self, outputs: Tensor, x: Tensor) -> Tensor:
        return gaussian_nll(x, outputs, self.spread())

    def most_likely(self, outputs: Tensor) -> Tensor:
        return outputs

    def draw(
        self, outputs: Tensor, generator: torch.Generator | None, temperature: float = 1.0
    ) -> Tensor:
        """The temperature multiplies the variance, which gives p^(1 / temperature)."""
        noise = torch.empty_like(outputs).normal_(generator=generator)
        return outputs + noise * (temperature * torch.as_tensor(self.spread())).sqrt()


class LearnedGaussian(FixedGaussian):
    """A variance for each entry, from the same start as a fixed one."""

    def __init__(self, size: int, variance: float, levels: int):
        super().__init__(size, variance, levels)
        self.log_variance = nn.Parameter(torch.full((size,), math.log(self.variance)))

    def spread(self) -> Tensor:
        return self.log_variance.exp() + SMALLEST_VARIANCE


class SharedGaussian(LearnedGaussian):
    """One variance for all entries; at its optimum it is the mean squared error."""

    def __init__(self, size: int, variance: float, levels: int):
        super().__init__(1, variance, levels)


class DiscretisedLogistic(Likelihood):
    """The mass of each entry's bin; the outer bins reach to infinity.

    InputError unless levels is an integer of at least 2.
    """

    def __init__(self, size: int, variance: float, levels: int):
        super().__init__()
        self.levels: int = check_integer("model.levels", levels, 2, MOST_LEVELS)
        # a logistic distribution of scale s has the variance (pi s)^2 / 3
        scale = math.sqrt(3 * check_number("model.variance", variance, 0)) / math.pi
        self.log_scale = nn.Parameter(torch.full((size,), math.log(scale)))

    def forward(self, outputs: Tensor, x: Tensor) -> Tensor:
        return -self.log_masses(outputs, x).sum(-1)

    def log_masses(self, outputs: Tensor, x: Tensor) -> Tensor:
        """The log probability of each entry."""
        half = 0.5 / (self.levels - 1)  # of a bin
        inverse = torch.exp(-self.log_scale.clamp_min(SMALLEST_LOG_SCALE))
        upper, lower = (x + half - outputs) * inverse, (x - half - outputs) * inverse
        # log(sigmoid(upper) - sigmoid(lower)) without that difference; its last term is that of
        # upper - lower
        inside = logsigmoid(upper) + logsigmoid(-lower) + log_one_minus_exp(2 * half * inverse)
        return torch.where(
            x <= half, logsigmoid(upper), torch.where(x >= 1 - half, logsigmoid(-lower), inside)
        )

    def most_likely(self, outputs: Tensor) -> Tensor:
        """The nearest value or, as the outer bins reach to infinity, one of these."""
        nearest = self.round_to_level(outputs)
        values = torch.stack([nearest, torch.zeros_like(nearest), torch.ones_like(nearest)])
        best = self.log_masses(outputs, values).argmax(0, keepdim=True)
        return values.gather(0, best)[0]

    def draw(
        self, outputs: Tensor, generator: torch.Generator | None, temperature: float = 1.0
    ) -> Tensor:
        """The temperature multiplies the scale."""
        # float64, where a uniform number is neither 0 nor 1
        uniform = torch.empty_like(outputs, dtype=torch.float64).uniform_(generator=generator)
        scale = temperature * torch.exp(self.log_scale.clamp_min(SMALLEST_LOG_SCALE))
        return self.round_to_level(outputs + scale * torch.logit(uniform, 1e-12).to(outputs))

    def round_to_level(self, x: Tensor) -> Tensor:
        return (x.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)

    def scale_inputs(self, x: Tensor) -> Tensor:
        return 2 * x - 1

    def check(self, x: np.ndarray) -> None:
        steps = x * (self.levels - 1)
        if x.min() < 0 or x.max() > 1 or np.abs(steps - np.rint(steps)).max() > 0.01:
            raise InputError(
                f"model.likelihood=discretised_logistic: values from {x.min():g} to {x.max():g}; "
                f"allowed are the {self.levels} values k / {self.levels - 1} from 0 to 1: divide "
                "pixels by their largest possible value, 255 for 8 bits, and set model.levels"
            )


def log_one_minus_exp(x: Tensor) -> Tensor:
    """log(1 - exp(-x)) for x > 0."""
    return torch.log(-torch.expm1(-x))


class NegativeBinomial(Likelihood):
    """Counts with mean m = exp(output) and variance m + m^2 / theta, theta learned."""

    def __init__(self, size: int, variance: float, levels: int):
        super().__init__()
        self.log_theta = nn.Parameter(torch.zeros(size))

    def forward(self, outputs: Tensor, x: Tensor) -> Tensor:
        # in float64: two values of lgamma cancel
        log_theta = self.log_theta.double().clamp_max(LARGEST_LOG_THETA)
        theta, counts = log_theta.exp(), x.double()
        # log(theta / (theta + m)) and log(m / (theta + m)), from the difference of the logarithms
        odds = outputs.double() - log_theta
        log_prob = (
            torch.lgamma(counts + theta)
            - torch.lgamma(theta)
            - torch.lgamma(counts + 1)
            - theta * softplus(odds)
            - counts * softplus(-odds)
        )
        return -log_prob.sum(-1).to(outputs)

    def most_likely(self, outputs: Tensor) -> Tensor:
        theta = self.log_theta.clamp_max(LARGEST_LOG_THETA).exp()
        return (outputs.exp() * (1 - 1 / theta)).clamp_min(0).floor()

    def draw(
        self, outputs: Tensor, generator: torch.Generator | None, temperature: float = 1.0
    ) -> Tensor:
        """InputError for another temperature than 1."""
        if temperature != 1:
            raise InputError(f"temperature={temperature}: counts are drawn at temperature 1 only")
        # numpy draws from this distribution, with a seed from the generator
        device = outputs.device
        seed = torch.randint(2**62, (), generator=generator, device=device)
        theta = self.log_theta.double().clamp_max(LARGEST_LOG_THETA).exp()
        mean = outputs.double().clamp_max(LARGEST_LOG_MEAN).exp()
        share = (theta / (theta + mean)).cpu().numpy()
        counts = np.random.default_rng(int(seed)).negative_binomial(theta.cpu().numpy(), share)
        return torch.from_numpy(counts).to(outputs)

    def scale_inputs(self, x: Tensor) -> Tensor:
        """Logarithms: counts span orders of magnitude."""
        return x.log1p()

    def check(self, x: np.ndarray) -> None:
        if x.min() < 0 or (x != np.rint(x)).any():
            raise InputError(
                f"model.likelihood=negative_binomial: values from {x.min():g} to {x.max():g}, not "
                "all of them counts; allowed are integers from 0"
            )


class Bernoulli(Likelihood):
    """Entries of 0 and 1."""

    def __init__(self, size: int, variance: float, levels: int):
        super().__init__()

    def forward(self, outputs: Tensor, x: Tensor) -> Tensor:
        losses = binary_cross_entropy_with_logits(outputs, x.expand_as(outputs), reduction="none")
        return losses.sum(-1)

    def most_likely(self, outputs: Tensor) -> Tensor:
        # a logit above 0 is a probability above 1/2
        return (outputs > 0).to(outputs.dtype)

    def draw(
        self, outputs: Tensor, generator: torch.Generator | None, temperature: float = 1.0
    ) -> Tensor:
        return torch.bernoulli(torch.sigmoid(outputs / temperature), generator=generator)

    def check(self, x: np.ndarray) -> None:
        if not np.isin(x, (0, 1)).all():
            raise InputError(
                f"model.likelihood=bernoulli: values from {x.min():g} to {x.max():g}; allowed are "
                "0 and 1"
            )


LIKELIHOODS: dict[str, Callable[[int, float, int], Likelihood]] = {
    "gaussian": FixedGaussian,
    "gaussian_learned": LearnedGaussian,
    "gaussian_shared": SharedGaussian,
    "discretised_logistic": DiscretisedLogistic,
    "negative_binomial": NegativeBinomial,
    "bernoulli": Bernoulli,
}
