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

SMALLEST_VARIANCE = 1e-6  # keeps the density of an entry that is constant finite
SMALLEST_LOG_SCALE = -7.0  # as in the code of PixelCNN++; keeps a wrong pixel affordable
LARGEST_LOG_THETA = 12.0  # nearly Poisson; above it, lgamma of theta loses the digits of x
MOST_LEVELS = 65536


class Likelihood(nn.Module):
    """-log p(x|z) in nats, from outputs [..., P] for x [B, P]."""

    @abstractmethod
    def forward(self, outputs: Tensor, x: Tensor) -> Tensor:
        """[...]: the sum over the entries of each example."""

    def scale_inputs(self, x: Tensor) -> Tensor:
        """x as the encoder reads it."""
        return x

    def check(self, x: np.ndarray) -> None:
        """InputError for values [N, P] that this likelihood gives no probability."""


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

    def forward(self, outputs: Tensor, x: Tensor) -> Tensor:
        return gaussian_nll(x, outputs, self.variance)


class LearnedGaussian(Likelihood):
    """A variance for each entry, from the same start as a fixed one."""

    def __init__(self, size: int, variance: float, levels: int):
        super().__init__()
        first = math.log(check_number("model.variance", variance, 0))
        self.log_variance = nn.Parameter(torch.full((size,), first))

    def forward(self, outputs: Tensor, x: Tensor) -> Tensor:
        return gaussian_nll(x, outputs, self.log_variance.exp() + SMALLEST_VARIANCE)


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
        self.levels = check_integer("model.levels", levels, 2, MOST_LEVELS)
        # a logistic distribution of scale s has the variance (pi s)^2 / 3
        scale = math.sqrt(3 * check_number("model.variance", variance, 0)) / math.pi
        self.log_scale = nn.Parameter(torch.full((size,), math.log(scale)))

    def forward(self, outputs: Tensor, x: Tensor) -> Tensor:
        half = 0.5 / (self.levels - 1)  # of a bin
        inverse = torch.exp(-self.log_scale.clamp_min(SMALLEST_LOG_SCALE))
        upper, lower = (x + half - outputs) * inverse, (x - half - outputs) * inverse
        # log(sigmoid(upper) - sigmoid(lower)) without that difference; its last term is that of
        # upper - lower
        inside = logsigmoid(upper) + logsigmoid(-lower) + log_one_minus_exp(2 * half * inverse)
        log_mass = torch.where(
            x <= half, logsigmoid(upper), torch.where(x >= 1 - half, logsigmoid(-lower), inside)
        )
        return -log_mass.sum(-1)

    def scale_inputs(self, x: Tensor) -> Tensor:
        return 2 * x - 1

    def check(self, x: np.ndarray) -> None:
        steps = x * (self.levels - 1)
        if x.min() < 0 or x.max() > 1 or np.abs(steps - np.rint(steps)).max() > 0.01:
            raise InputError(
                f"model.likelihood=discretised_logistic: values from {x.min():g} to {x.max():g}; "
                f"allowed are the {self.levels} values k / {self.levels - 1} from 0 to 1: divide "
                "pixels by the largest one, and set model.levels"
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
