"""A posterior object of the user's, which need not be derived from `Posterior`."""

from typing import Any

import torch
from torch import Tensor

from uncollapse.interfaces.posterior import Posterior

ATTRIBUTES = ("kl", "log_ratio", "sample", "mean", "variance")  # what is asked of the object


class UserPosterior(Posterior):
    """The object behind the interface of this package; see `Posterior` for shapes and units."""

    def __init__(self, given: Any):
        self.given = given

    @property
    def mean(self) -> Tensor:
        return self.given.mean

    @property
    def variance(self) -> Tensor:
        return self.given.variance

    @property
    def kl(self) -> Tensor:
        return self.given.kl

    def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        return self.given.sample(n, generator) if n or generator else self.given.sample()

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.given.sample_prior(n, generator)

    def log_ratio(self, z: Tensor) -> Tensor:
        return self.given.log_ratio(z)

    def log_ratio_per_dim(self, z: Tensor) -> Tensor:
        return self.given.log_ratio_per_dim(z)

    @property
    def splits(self) -> bool:
        return hasattr(self.given, "log_ratio_per_dim")  # any object may come from outside
