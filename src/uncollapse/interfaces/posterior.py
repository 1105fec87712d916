"""A posterior q(z|x), and the head that computes it from the encoder's state."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from uncollapse.interfaces.hooks import Interface, attribute, is_overridden
from uncollapse.interfaces.phases import Phased
from uncollapse.interfaces.shapes import (
    Codes,
    CodesOfAny,
    PerCode,
    PerDimension,
    PerDimensionOfAny,
    PerGroup,
    PriorCodes,
    States,
)


class Posterior(metaclass=Interface, interface=True):
    """q(z|x) for a batch, together with the prior p(z) of its KL.

    Objectives and metrics do not depend on which prior that is. Tensors are float32 or wider,
    except for codes z, which have the dtype that a decoder of the same model takes
    (`distributions.precision`).
    """

    @attribute
    @abstractmethod
    def mean(self) -> PerDimension:
        """E_q z, [B, D]."""

    @attribute
    @abstractmethod
    def variance(self) -> PerDimension:
        """Var_q z, [B, D]."""

    @attribute
    @abstractmethod
    def kl(self) -> PerGroup:
        """KL(q(z|x) || p(z)) in nats: [B, D], or [B, 1] where it does not split over dimensions."""

    @abstractmethod
    def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Codes:
        """One code of each example, [B, D], or n of them, [n, B, D]. Gradients pass through."""

    @abstractmethod
    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> PriorCodes:
        """n codes from p(z), [n, D]."""

    @abstractmethod
    def log_ratio(self, z: CodesOfAny) -> PerCode:
        """log q(z|x) - log p(z) in nats.

        z [B, D] -> [B]; [n, B, D] -> [n, B]; [n, 1, D] -> [n, B], each of n codes under each of
        the B posteriors.
        """

    def log_ratio_per_dim(self, z: Tensor) -> PerDimensionOfAny:
        """log q(z_d|x_b) - log p(z_d) of each code z [n, D] under each posterior, [D, n, B].

        In float64, and only for posteriors and priors with independent dimensions; see `splits`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not split over dimensions")

    @property
    def splits(self) -> bool:
        """Whether the class has a `log_ratio_per_dim`."""
        return is_overridden(self, Posterior.log_ratio_per_dim)

    def replace_gaussian(self, mean: PerDimension, log_var: PerDimension) -> "Posterior":
        """The posterior N(mean, diag exp(log_var)) under the same prior, mean and log_var [B, D].

        Only for posteriors that are diagonal Gaussians, whatever their prior; see `is_gaussian`.
        """
        raise NotImplementedError(f"{type(self).__name__} is no diagonal Gaussian")

    @property
    def is_gaussian(self) -> bool:
        """Whether the class has a `replace_gaussian`."""
        return is_overridden(self, Posterior.replace_gaussian)

    def project(self, z: Codes) -> Codes:
        """The nearest points to z that are codes, for posteriors on a subset of the space."""
        return z


class PosteriorHead(nn.Module, Phased, interface=True):
    """A module that makes the posterior, constructed as (hidden, latent, **knobs)."""

    @abstractmethod
    def forward(self, h: States) -> Posterior:
        """The posterior for encoder states h [B, hidden]."""

    def floor(self) -> float | None:
        """The guaranteed lower bound on the batch-mean KL in training mode, in nats, if any."""
        return None

    def set_epoch(self, epoch: int) -> None:
        """Called when epoch `epoch` of training, counted from 0, starts or is resumed."""
