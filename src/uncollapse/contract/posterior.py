"""Checks of a trained posterior: density, sampler, KL and prior agree."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.stats import sem
from torch import Tensor

from uncollapse.contract.case import Case
from uncollapse.interfaces.posterior import Posterior
from uncollapse.metrics.likelihood import importance_weighted, log_weights


def infer_trained(case: Case) -> tuple[Posterior, Callable[[Tensor], Tensor]]:
    """A trained posterior of 96 examples in evaluation mode, and decode.

    decode: z [n, B, D] -> -log p(x|z) [n, B]."""
    torch.manual_seed(0)
    parts = case.trained()
    parts.model.eval()
    batch = parts.data.batch("train", np.arange(96))
    with torch.no_grad():
        q = parts.procedure.infer(parts.model, batch, seeded(3))

    def decode(z: Tensor) -> Tensor:
        with torch.no_grad():
            return parts.model.nll(batch, z)

    return q, decode


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def check_shapes(q: Posterior) -> None:
    """Shapes agree, generators are used, and log_ratio broadcasts."""
    count, latent = q.mean.shape
    assert q.variance.shape == (count, latent) and (q.variance >= 0).all()
    assert q.kl.shape in ((count, latent), (count, 1)) and q.kl.sum(-1).isfinite().all()
    z, prior = q.sample(5, seeded(1)), q.sample_prior(7, seeded(1))
    assert q.sample().shape == (count, latent)
    assert z.shape == (5, count, latent) and prior.shape == (7, latent)
    assert torch.equal(z, q.sample(5, seeded(1))), "sample does not use its generator"
    assert torch.equal(prior, q.sample_prior(7, seeded(1)))
    if q.variance.any():
        assert not torch.equal(z, q.sample(5, seeded(2)))
        assert not torch.equal(prior, q.sample_prior(7, seeded(2)))
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)
    together = q.log_ratio(z)
    assert together.shape == (5, count)
    for k in range(5):
        close(q.log_ratio(z[k]), together[k])
    for b in (0, count - 1):  # each code under every posterior, including its own
        pairs = q.log_ratio(z[:, b : b + 1])
        assert pairs.shape == (5, count)
        close(pairs[:, b], together[:, b])
    everywhere = prior[:, None].expand(7, count, latent).contiguous()
    close(q.log_ratio(prior[:, None]), q.log_ratio(everywhere))


@torch.no_grad()
def check_moments(q: Posterior) -> None:
    """Mean and variance match samples, within a sixth: without a closed form they are estimates."""
    z, spread = q.sample(500, seeded(1)), q.variance.sqrt()
    assert z.isfinite().all()
    spreads = spread.gt(0).all(0)
    away = (z - q.mean)[:, :, spreads] / spread[:, spreads]
    assert (away.mean((0, 1)).abs() < 0.16).all(), "the mean is not that of samples"
    squares = away.square().mean((0, 1))
    assert ((squares - 1).abs() < 0.16).all(), "the variance is not that of samples"


@torch.no_grad()
def check_kl(q: Posterior) -> None:
    """The mean log ratio of samples is the KL."""
    gap = q.kl.sum(-1).double() - q.log_ratio(q.sample(200, seeded(2))).double().mean(0)
    assert abs(gap.mean()) < 4.5 * sem(gap) + 1e-4, "log_ratio and kl disagree"


@torch.no_grad()
def check_densities(q: Posterior) -> None:
    """For any q, p and h: E_q[h p / (p + q)] = E_p[h q / (p + q)], here with h = 1 and h = z_d.

    Bridge identity of Meng & Wong 1996: p / (p + q) is the logistic function of minus the log
    ratio, hence bounded.
    """
    z, prior = q.sample(1000, seeded(5)), q.sample_prior(1000, seeded(6))
    from_q = torch.sigmoid(-q.log_ratio(z).double())
    from_p = torch.sigmoid(q.log_ratio(prior[:, None]).double())
    h = torch.cat([torch.ones_like(z[..., :1]), z], -1)  # [1000, B, 1 + D]
    h_prior = torch.cat([torch.ones_like(prior[:, :1]), prior], -1)
    gaps = ((from_q[..., None] * h).mean(1) - from_p.mean(1, keepdim=True) * h_prior).numpy()
    error = sem(gaps)  # rows are independent
    if from_q.mean() < 0.02:
        # samples of p rarely fall where q is, and missed regions are not in the empirical error;
        # but E_p[(h q / (p + q))^2] is at most E_p[h^2 q / (p + q)] = E_q[h^2 p / (p + q)]
        error = np.sqrt((from_q[..., None] * h.square()).mean((0, 1)).numpy() / len(gaps))
    assert (np.abs(gaps.mean(0)) <= 5 * error + 1e-6).all(), "samples are not of the density"


def check_bound(q: Posterior, decode: Callable[[Tensor], Tensor]) -> None:
    """ELBO <= IWAE_1 = ELBO in expectation <= IWAE_64, errors paired over the examples."""
    nelbo = (decode(q.sample(64, seeded(7))).mean(0) + q.kl.sum(-1)).detach().double().numpy()
    with torch.no_grad():
        one, many = (
            importance_weighted(log_weights(decode, q, k, seeded(8)))["nll"] for k in (1, 64)
        )
    for tighter in (nelbo - many, one - many):
        assert tighter.mean() > -4.5 * sem(tighter) - 1e-4, "importance weighting is no bound"
    assert abs((nelbo - one).mean()) < 4.5 * sem(nelbo - one) + 1e-4
