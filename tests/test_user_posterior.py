"""`diagnose` with a posterior that is not derived from this package's `Posterior`."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from uncollapse import diagnose

X = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
PRIOR = Normal(0.0, 1.0)


class OwnPosterior:
    """A Gaussian with the five attributes that `diagnose` needs."""

    def __init__(self, mean: Tensor):
        self.normal = Normal(mean, 0.5)
        self.mean, self.variance = self.normal.mean, self.normal.variance
        self.kl = kl_divergence(self.normal, PRIOR)

    def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        shape = self.mean.shape if n is None else (n, *self.mean.shape)
        return self.mean + 0.5 * torch.randn(shape, generator=generator)

    def log_ratio(self, z: Tensor) -> Tensor:
        return (self.normal.log_prob(z) - PRIOR.log_prob(z)).sum(-1)


class SplitPosterior(OwnPosterior):
    def log_ratio_per_dim(self, z: Tensor) -> Tensor:
        ratio = self.normal.log_prob(z[:, None]) - PRIOR.log_prob(z[:, None])
        return ratio.double().movedim(-1, 0)


def compute_nll(x: Tensor, z: Tensor) -> Tensor:
    return nn.functional.mse_loss(z, x, reduction="none").sum(1)


def test_a_posterior_without_log_ratio_per_dim_has_no_mi_per_dim() -> None:
    metrics = diagnose(lambda x: OwnPosterior(0.8 * x), compute_nll, X, samples=4)
    assert metrics["mi"] > 0.5 and metrics["mi_per_dim"] is None


def test_mi_per_dim_of_an_own_posterior_is_that_of_the_same_normal() -> None:
    own = diagnose(lambda x: SplitPosterior(0.8 * x), compute_nll, X, samples=4)
    normal = diagnose(lambda x: Normal(0.8 * x, torch.full_like(x, 0.5)), compute_nll, X, samples=4)
    assert own["mi_per_dim"] == pytest.approx(normal["mi_per_dim"], abs=1e-5)
