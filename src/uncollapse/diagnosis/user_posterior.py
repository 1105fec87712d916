"""A posterior object that is not derived from this package's `Posterior`."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from uncollapse.interfaces.posterior import Posterior


@runtime_checkable
class PosteriorLike(Protocol):
    """The attributes that make any object a posterior with its own prior."""

    @property
    def mean(self) -> Tensor: ...  # [B, D]
    @property
    def variance(self) -> Tensor: ...  # [B, D]
    @property
    def kl(self) -> Tensor: ...  # [B, G] nats, G = D or 1
    def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Tensor: ...
    def log_ratio(self, z: Tensor) -> Tensor: ...  # log q(z|x) - log p(z)


@runtime_checkable
class SplitsOverDimensions(Protocol):
    """What a posterior with independent dimensions may have in addition."""

    def log_ratio_per_dim(self, z: Tensor) -> Tensor: ...  # [n, D] -> [D, n, B]


class UserPosterior(Posterior):
    """Gives such an object this package's interface; see `Posterior` for shapes and units."""

    def __init__(self, given: PosteriorLike):
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
        return self.given.sample(n, generator)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        raise NotImplementedError(
            f"no codes can be drawn from the prior of a {type(self.given).__name__}"
        )

    def log_ratio(self, z: Tensor) -> Tensor:
        return self.given.log_ratio(z)

    def log_ratio_per_dim(self, z: Tensor) -> Tensor:
        assert isinstance(self.given, SplitsOverDimensions)
        return self.given.log_ratio_per_dim(z)

    @property
    def splits(self) -> bool:
        return isinstance(self.given, SplitsOverDimensions)
