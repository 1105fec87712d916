"""The delta heads: KL identity, variance interval, AR(1) floor and its alpha.

Compared with scipy and torch.distributions.
"""

import math

import numpy as np
import pytest
import torch
from conftest import composed
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from uncollapse.config.targets import build
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.errors import InputError
from uncollapse.posteriors import Delta, DeltaAR1
from uncollapse.posteriors.delta import (
    MIN_NOISE,
    AgainstAR1,
    ar1_floor,
    solve_ar1,
    variance_interval,
)

HIDDEN = 4
properties = settings(max_examples=60, deadline=None, derandomize=True)
seeds, latents = st.integers(0, 10**6), st.integers(2, 40)
deltas = st.sampled_from([1e-6, 1e-3, 0.05, 0.1, 0.5, 1.0, 10.0])
scales = st.sampled_from([1e-9, 1e-3, 1.0, 1e3, 1e9])


def assert_near(ours, reference, tolerance=1e-9):
    np.testing.assert_allclose(
        np.asarray(ours), np.asarray(reference), rtol=tolerance, atol=tolerance
    )


def excess(variance, delta):
    return 2 * delta + 1 + math.log(variance) - variance


# ---------------------------------------------------------------- independent dimensions


@pytest.mark.parametrize("delta", [1e-6, 1e-3, 0.1, 0.5, 2.0, 10.0])
def test_interval_ends_where_mu_budget_is_zero(delta):
    low, high = variance_interval(delta)
    assert 0 < low < 1 < high
    assert_near(low, brentq(excess, 1e-12, 1, args=(delta,), xtol=1e-16), 1e-7)
    assert_near(high, brentq(excess, 1, 100, args=(delta,)), 1e-7)
    assert (
        excess(low * 0.999, delta) < 0 < excess(0.5 * (low + high), delta)
        and excess(high * 1.001, delta) < 0
    )


@properties
@given(seeds, deltas, scales, st.sampled_from([torch.float32, torch.float64]))
def test_kl_matches_formula_and_gradients_are_finite(seed, delta, scale, dtype):
    torch.manual_seed(seed)
    head = Delta(HIDDEN, 7, delta=delta).to(dtype)
    with torch.no_grad():
        for parameter in head.linear.parameters():
            parameter.mul_(scale)
    h = torch.randn(12, HIDDEN, dtype=dtype)
    q, r = head(h), head.linear(h).chunk(2, -1)[0]
    assert_near(q.kl.detach(), (delta + 0.5 * r.abs()).detach(), 1e-5)
    assert q.kl.sum(-1).mean() > head.floor() - 1e-4
    assert (torch.sign(q.mean) == torch.where(r < 0, -1, 1)).all()  # mu has the sign of r
    assert (q.std > 0).all()
    (q.kl.sum() + q.sample().sum()).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize("b", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("r", [-1e6, -1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 1e6])
def test_interval_ends_and_sign_change_are_handled(r, b):
    head = Delta(1, 1, delta=0.1)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.copy_(torch.tensor([r, b]))
    q = head(torch.zeros(3, 1))
    assert_near(q.kl.detach(), np.full((3, 1), 0.1 + 0.5 * abs(r)), 1e-5)
    assert (q.mean != 0).all()
    (q.kl.sum() + q.mean.sum() + q.std.sum()).backward()
    assert head.linear.bias.grad.isfinite().all()


def test_mu_increases_with_r_and_avoids_zero():
    head = Delta(1, 1, delta=0.1)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0], [0.0]]))
        head.linear.bias.zero_()
    mu = head(torch.linspace(-3, 3, 101)[:, None]).mean[:, 0].detach()
    middle = 0.5 * sum(variance_interval(0.1))
    assert (mu.diff() > 0).all() and mu.abs().min() >= math.sqrt(excess(middle, 0.1)) - 1e-6
    assert_near(mu[51:], -mu.flip(0)[51:], 1e-6)


def test_kl_of_trained_head_reaches_floor():
    torch.manual_seed(0)
    head, h = Delta(HIDDEN, 5, delta=0.1), torch.randn(20, HIDDEN)
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(800):
        optimizer.zero_grad()
        head(h).kl.sum().backward()
        optimizer.step()
    assert head.floor() == 0.5 <= head(h).kl.sum(-1).mean() + 1e-6 < 0.56


# ---------------------------------------------------------------- an autoregressive prior


def prior_of(q: AgainstAR1) -> MultivariateNormal:
    place = torch.arange(q.mean.shape[1], dtype=torch.float64)
    return MultivariateNormal(
        torch.zeros(len(place)).double(), q.alpha ** (place[:, None] - place).abs()
    )


def ar1_posterior(seed, latent, delta=0.1, batch=6):
    torch.manual_seed(seed)
    head = DeltaAR1(HIDDEN, latent, delta=delta).double()
    return head, head(2 * torch.randn(batch, HIDDEN).double())


@pytest.mark.parametrize(("alpha", "latent"), [(0.1, 2), (0.5, 3), (0.9, 8), (0.99, 32)])
def test_ar1_floor_is_minimum_kl_of_independent_dimensions(alpha, latent):
    place = np.arange(latent)
    precision = np.linalg.inv(alpha ** abs(place[:, None] - place))
    assert_near(np.diag(precision)[[0, -1]], np.full(2, 1 / (1 - alpha**2)), 1e-8)
    assert_near(
        np.diag(precision)[1:-1], np.full(latent - 2, (1 + alpha**2) / (1 - alpha**2)), 1e-8
    )
    log_noise = math.log1p(-(alpha**2))
    assert_near(
        ar1_floor(log_noise, latent), 0.5 * ((latent - 2) * math.log1p(alpha**2) - log_noise)
    )

    def kl(log_var):
        determinant = (latent - 1) * log_noise
        return 0.5 * (np.diag(precision) @ np.exp(log_var) - log_var.sum() - latent + determinant)

    assert_near(minimize(kl, np.zeros(latent), tol=1e-10).fun, ar1_floor(log_noise, latent), 1e-6)
    assert_near(kl(-np.log(np.diag(precision))), ar1_floor(log_noise, latent))


@properties
@given(latents, st.floats(1e-6, 0.34))
def test_alpha_gives_delta_per_dimension(latent, delta):
    alpha, noise = solve_ar1(delta, latent)
    assert 0 < alpha < 1
    assert_near(alpha**2 + noise, 1)
    assert_near(
        0.5 * ((latent - 2) * math.log1p(alpha**2) - math.log(noise)) / (latent * delta), 1, 1e-8
    )
    assert_near(DeltaAR1(HIDDEN, latent, delta=delta).floor(), latent * delta)


@properties
@given(seeds, st.integers(2, 12), st.sampled_from([1e-3, 0.1, 0.4]))
def test_kl_components_sum_to_torch_kl(seed, latent, delta):
    head, q = ar1_posterior(seed, latent, delta)
    assert q.kl.shape == (6, latent) and (q.kl > -1e-12).all()
    reference = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    assert_near(
        q.kl.sum(-1).detach(), kl_divergence(reference, prior_of(q).expand([6])).detach(), 1e-7
    )
    assert (q.kl.sum(-1) > head.floor() - 1e-9).all()


def test_each_component_is_a_conditional_kl():
    _, q = ar1_posterior(0, 4)
    z = q.sample(200_000, torch.Generator().manual_seed(0))[..., 1].detach()
    given = Normal(q.alpha * z, math.sqrt(q.noise))
    own = Normal(q.mean[:, 2].detach(), q.variance[:, 2].detach().sqrt())
    assert_near(q.kl[:, 2].detach(), kl_divergence(own, given).mean(0), 2e-2)
    assert_near(q.kl[:, 0].detach(), q.q.kl[:, 0].detach())


def test_ar1_kl_reaches_floor_in_training():
    torch.manual_seed(0)
    head, h = DeltaAR1(HIDDEN, 5, delta=0.1), torch.randn(20, HIDDEN)
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    for _ in range(1500):
        optimizer.zero_grad()
        head(h).kl.sum().backward()
        optimizer.step()
    q = head(h)
    assert 0.5 - 1e-5 < q.kl.sum(-1).mean() < 0.501
    inside = (1 + q.alpha**2) / q.noise
    assert_near(
        1 / q.variance.mean(0).detach(), [1 / q.noise, inside, inside, inside, 1 / q.noise], 2e-2
    )


def test_log_ratio_shapes_and_mean():
    _, q = ar1_posterior(1, 3)
    own, prior = Independent(Normal(q.mean, q.variance.sqrt()), 1), prior_of(q)
    for z in (q.sample(), q.sample(4), torch.randn(6, 3).double()):
        assert_near(q.log_ratio(z).detach(), (own.log_prob(z) - prior.log_prob(z)).detach(), 1e-8)
    z = q.sample(4)[:, 0]
    pairs = q.log_ratio(z[:, None])
    assert pairs.shape == (4, 6)
    assert_near(pairs.detach(), q.log_ratio(z[:, None].expand(4, 6, 3)).detach(), 1e-8)
    many = q.sample(100_000, torch.Generator().manual_seed(0))
    assert_near(q.log_ratio(many).mean(0).detach(), q.kl.sum(-1).detach(), 3e-2)
    assert not q.splits


def test_prior_samples_follow_stationary_process():
    q = AgainstAR1(
        DiagonalGaussian.from_log_var(torch.zeros(1, 4), torch.zeros(1, 4)), *solve_ar1(0.3, 4)
    )
    z = q.sample_prior(200_000, torch.Generator().manual_seed(0))
    assert_near(torch.cov(z.T), prior_of(q).covariance_matrix, 2e-2)
    assert z.equal(q.sample_prior(200_000, torch.Generator().manual_seed(0)))


@properties
@given(seeds, scales, st.sampled_from([1e-6, 0.1, 0.3]))
def test_ar1_gradients_are_finite_without_precision_loss(seed, scale, delta):
    torch.manual_seed(seed)
    head = DeltaAR1(HIDDEN, 16, delta=delta)
    with torch.no_grad():
        head.linear.weight.mul_(min(scale, 10.0))
    q = head(torch.randn(12, HIDDEN))
    assert (q.kl.sum(-1) > head.floor() - 1e-3).all()
    (q.kl.sum() + q.sample().sum()).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("cls", [Delta, DeltaAR1])
@pytest.mark.parametrize(
    "value", [0, -0.1, 1e-7, 10.1, float("nan"), float("inf"), "0.1", True, None]
)
def test_out_of_range_delta_is_refused(cls, value):
    with pytest.raises(InputError, match=r"^delta=.*allowed is 1e-06 <= delta <= 10$"):
        cls(HIDDEN, 4, delta=value)


def test_delta_with_degenerate_prior_is_refused():
    with pytest.raises(
        InputError, match=r"^delta=5: with model\.latent=16 .*allowed is delta <= "
    ) as caught:
        DeltaAR1(HIDDEN, 16, delta=5)
    most = float(str(caught.value).split("<= ")[1])
    head = DeltaAR1(HIDDEN, 16, delta=most)
    assert MIN_NOISE <= head.noise < 1.1 * MIN_NOISE
    with pytest.raises(InputError):
        DeltaAR1(HIDDEN, 16, delta=most + 2e-4)


def test_one_dimension_is_refused():
    with pytest.raises(InputError, match=r"^model\.latent=1: .*allowed is at least 2$"):
        DeltaAR1(HIDDEN, 1, delta=0.1)
    assert Delta(HIDDEN, 1, delta=0.1).floor() == 0.1


@pytest.mark.parametrize("head", ["delta", "delta_ar1"])
def test_head_files_set_delta_and_override_changes_it(head):
    def floor(*words):
        return build(composed(f"head={head}", *words).posterior, "posterior", HIDDEN, 4).floor()

    assert_near([floor(), floor("delta=0.2")], [0.4, 0.8])
