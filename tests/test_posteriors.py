"""The heads: identities and floors, and every number against quadrature, torch.distributions,
scipy or an independent numpy version.
"""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import digamma, log_expit
from scipy.stats import norm
from torch.distributions import Independent, Normal, kl_divergence

from uncollapse.distributions.moments import Moments, population
from uncollapse.errors import InputError, check_number
from uncollapse.posteriors import (
    BatchNormMu,
    BatchNormTau,
    DiagonalGaussian,
    Gaussian,
    LayerNormMu,
    RMSNormTau,
)
from uncollapse.posteriors.bn_tau import gamma_mu, gamma_sigma

EPS = 1e-8
HIDDEN = 4
TAU_HEADS = [BatchNormTau, RMSNormTau]
BATCH_HEADS = [BatchNormMu, *TAU_HEADS]
KNOBS = {BatchNormMu: "gamma", LayerNormMu: "gamma", BatchNormTau: "tau", RMSNormTau: "tau"}
ALL_HEADS = [Gaussian, *KNOBS]
properties = settings(max_examples=60, deadline=None, derandomize=True)
seeds, batches, latents = st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 9)
scales = st.sampled_from([1e-3, 1.0, 1e3])
gammas, taus = st.floats(0.05, 5), st.floats(0.01, 0.99)


def make(cls, latent, knob=0.5, hidden=HIDDEN):
    return cls(hidden, latent, **({KNOBS[cls]: knob} if cls in KNOBS else {})).double()


def run(cls, latent, batch, knob, seed, scale):
    """A head with random weights times `scale` and random shifts, q, and both layer halves."""
    torch.manual_seed(seed)
    head = make(cls, latent, knob)
    # exp(log_var) must fit a double
    h = torch.randn(batch, HIDDEN, dtype=torch.float64) * (0.05 if scale > 1 else 1)
    with torch.no_grad():
        for parameter in head.linear.parameters():
            parameter.mul_(scale)
        for name in ("beta", "theta"):
            if hasattr(head, name):
                getattr(head, name).normal_(0, 1.5)
        a, b = head.linear(h).chunk(2, -1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            q = head(h)
    return head, q, a.numpy(), b.numpy()


def compute_shrinkage(moment):
    """v / (v + eps): the variance after normalising, which eps keeps below 1."""
    return moment / (moment + EPS)


def assert_near(ours, reference, tolerance=1e-9):
    np.testing.assert_allclose(
        np.asarray(ours), np.asarray(reference), rtol=tolerance, atol=tolerance
    )


# ---------------------------------------------------------------- the Gaussian posterior


@properties
@given(mu=st.floats(-4, 4), std=st.floats(0.1, 3), sign=st.sampled_from([-1, 1]))
@pytest.mark.slow
def test_kl_matches_numerical_integral(mu, std, sign):
    def integrand(z):
        return norm.pdf(z, mu, std) * (norm.logpdf(z, mu, std) - norm.logpdf(z))

    integral, _ = quad(integrand, mu - 12 * std, mu + 12 * std, limit=200)
    mean, sigma = torch.tensor([[mu]]).double(), torch.tensor([[std]]).double()
    assert_near(DiagonalGaussian.from_std(mean, sign * sigma).kl, [[integral]], 1e-6)
    assert_near(DiagonalGaussian.from_log_var(mean, 2 * sigma.log()).kl, [[integral]], 1e-6)


@properties
@given(mu=st.floats(-5, 5), std=st.floats(0.01, 5))
def test_kl_is_positive_unless_posterior_equals_prior(mu, std):
    kl = DiagonalGaussian.from_std(
        torch.tensor([[mu]]).double(), torch.tensor([[std]]).double()
    ).kl.item()
    assert kl >= -1e-15
    if abs(mu) > 1e-3 or abs(std - 1) > 1e-3:
        assert kl > 1e-8


def test_kl_of_prior_is_exactly_zero():
    assert DiagonalGaussian.from_std(torch.zeros(3, 2), -torch.ones(3, 2)).kl.eq(0).all()
    assert DiagonalGaussian.from_log_var(torch.zeros(3, 2), torch.zeros(3, 2)).kl.eq(0).all()


@pytest.mark.parametrize("cls", ALL_HEADS)
def test_kl_and_log_ratio_match_torch_distributions(cls):
    _, q, _, _ = run(cls, 5, 7, 0.4, seed=1, scale=1.0)
    reference, prior = Normal(q.mean, q.std.abs()), Normal(torch.zeros(()).double(), 1.0)
    assert_near(q.kl, kl_divergence(reference, Normal(torch.zeros_like(q.mean), 1.0)))
    assert_near(q.variance, reference.variance)
    for z in (q.sample(), q.sample(3), torch.randn(7, 5).double()):
        assert_near(
            q.log_ratio(z), Independent(reference, 1).log_prob(z) - prior.log_prob(z).sum(-1)
        )


@pytest.mark.parametrize("cls", ALL_HEADS)
def test_posterior_shapes(cls):
    q = make(cls, 3)(torch.randn(6, HIDDEN).double())
    assert q.mean.shape == q.variance.shape == q.kl.shape == q.sample().shape == (6, 3)
    assert q.sample(4).shape == (4, 6, 3) and q.sample(1).shape == (1, 6, 3)
    assert q.log_ratio(q.sample()).shape == (6,) and q.log_ratio(q.sample(4)).shape == (4, 6)


def test_sample_moments_are_right_even_for_negative_std():
    mean, std = torch.tensor([[0.5, -2.0]]), torch.tensor([[-0.7, 1.5]])
    z = DiagonalGaussian.from_std(mean, std).sample(40_000, torch.Generator().manual_seed(0))[:, 0]
    assert ((z.mean(0) - mean[0]).abs() < 5 * std[0].abs() / 200).all()
    assert ((z.var(0) / std[0] ** 2 - 1).abs() < 5 * math.sqrt(2 / 40_000)).all()
    assert abs(torch.corrcoef(z.T)[0, 1]) < 5 / 200


def test_samples_follow_generator_and_pass_gradients_to_both_parameters():
    mean, std = torch.zeros(2, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    q = DiagonalGaussian.from_std(mean, std)
    z = q.sample(generator=torch.Generator().manual_seed(3))
    assert z.equal(q.sample(generator=torch.Generator().manual_seed(3)))
    assert not z.equal(q.sample(generator=torch.Generator().manual_seed(4)))
    z.sum().backward()
    assert mean.grad.equal(torch.ones(2, 3))
    assert_near(std.grad, z.detach(), 1e-6)  # d z / d std is the noise, and here z is the noise


@pytest.mark.parametrize("log_var", [-150.0, -100.0, 0.0, 60.0])
def test_log_ratio_is_finite_for_very_narrow_posterior(log_var):
    q = DiagonalGaussian.from_log_var(torch.zeros(2, 3), torch.full((2, 3), log_var))
    assert not q.log_ratio(q.sample()).isnan().any()
    assert_near(q.log_ratio(q.mean), torch.full((2,), -1.5 * log_var), 1e-6)


# ---------------------------------------------------------------- BN on mu


@properties
@given(seeds, batches, latents, gammas, scales)
def test_bn_mu_identity_holds_term_by_term(seed, batch, latent, gamma, scale):
    head, q, a, log_var = run(BatchNormMu, latent, batch, gamma, seed, scale)
    beta = head.beta.detach().numpy()
    mean_part = gamma**2 * compute_shrinkage(a.var(0)) + beta**2
    sigma_part = (np.exp(log_var) - log_var - 1).mean(0)
    assert_near(q.mean.mean(0), beta, 1e-8)
    assert_near(q.mean.square().mean(0), mean_part, 1e-8)
    assert_near(q.kl.mean(0), 0.5 * mean_part + 0.5 * sigma_part)
    assert_near(head.floor(), latent / 2 * gamma**2 + 0.5 * (beta**2).sum())
    lost = 0.5 * gamma**2 * (1 - compute_shrinkage(a.var(0))).sum()
    assert q.kl.sum(-1).mean().item() >= head.floor() - lost - 1e-9


def test_bn_mu_kl_equals_floor_when_sigma_is_one():
    head = make(BatchNormMu, 6, 0.7)
    with torch.no_grad():
        head.linear.weight[6:] = 0
        head.linear.bias[6:] = 0
    assert_near(
        head(torch.randn(50, HIDDEN).double()).kl.sum(-1).mean().item(), 6 / 2 * 0.7**2, 1e-6
    )


def test_bn_mu_floor_with_tiny_weights_matches_formula():
    _, q, a, _ = run(BatchNormMu, 32, 16, 0.7, seed=0, scale=1e-5)
    assert compute_shrinkage(a.var(0)).max() < 0.1
    assert_near(q.mean.square().mean(0) - q.mean.mean(0) ** 2, 0.49 * compute_shrinkage(a.var(0)))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("cls", BATCH_HEADS)
def test_flat_batch_warns_once_and_healthy_batch_never(cls, scale):
    torch.manual_seed(0)
    head, h = make(cls, 3), torch.randn(8, HIDDEN).double()
    with torch.no_grad():
        head.linear.weight.mul_(scale)
        # mu, and the signed sigma of bn_tau; the mean square of rms_tau is not flat
        width = 6 if cls is BatchNormTau else 3
        smallest = head.linear(h)[:, :width].numpy().var(0).min()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        head(h)
        first = [str(w.message) for w in caught]
        head(h)
        head(h)
    assert len(caught) == len(first)
    if scale >= 1:
        assert not caught
    else:
        assert len(first) == 1
        left = f"{compute_shrinkage(smallest):.3g} instead of 1"
        for part in (
            f"{width} of {width} dimensions",
            f"smallest {smallest:.3g}",
            "eps 1e-08",
            left,
        ):
            assert part in first[0]


@pytest.mark.parametrize(("times_eps", "flat"), [(99, True), (101, False)])
def test_flat_threshold_is_one_hundred_eps(times_eps, flat):
    x = (
        math.sqrt(times_eps * EPS) * torch.tensor([[1.0], [-1.0]]).double()
    )  # variance: times_eps * eps
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Moments(1, EPS).double()(x)
    assert len(caught) == flat


# ---------------------------------------------------------------- the tau heads


@properties
@given(seeds, batches, latents, taus, scales, st.sampled_from(TAU_HEADS))
def test_tau_heads_keep_prior_moments_and_floor(seed, batch, latent, tau, scale, cls):
    head, q, a, b = run(cls, latent, batch, tau, seed, scale)
    theta = head.theta.detach().numpy()
    mu_scale, sigma_scale = tau + (1 - tau) / (1 + np.exp(-theta)), (1 - tau) / (1 + np.exp(theta))
    assert_near(mu_scale + sigma_scale, np.ones(latent))
    left_mu = compute_shrinkage(a.var(0))
    left_sigma = compute_shrinkage(
        b.var(0) if cls is BatchNormTau else (np.logaddexp(0, b) ** 2).mean(0)
    )
    mean_square, sigma_square = q.mean.square().mean(0), q.variance.mean(0)
    assert_near(q.mean.mean(0), np.zeros(latent), 1e-8)
    assert_near(mean_square, mu_scale * left_mu, 1e-8)
    assert_near(sigma_square, sigma_scale * left_sigma, 1e-8)
    entropy_part = -0.5 * np.log(np.maximum(q.variance.numpy(), 1e-12)).mean(0)
    assert_near(
        q.kl.mean(0), entropy_part + 0.5 * (mu_scale * left_mu + sigma_scale * left_sigma - 1), 1e-8
    )
    if min(left_mu.min(), left_sigma.min()) > 1 - 1e-7:
        assert_near(mean_square + sigma_square, np.ones(latent), 2e-7)
        assert_near(q.kl.mean(0), entropy_part, 2e-7)
    lost = 0.5 * (mu_scale * (1 - left_mu) + sigma_scale * (1 - left_sigma)).sum()
    assert_near(head.floor(), -0.5 * np.log(sigma_scale).sum())
    assert q.kl.sum(-1).mean().item() >= head.floor() - lost - 1e-7
    assert head.floor() > -latent / 2 * math.log(1 - tau) > latent * tau / 2


def test_tau_identities_hold_without_eps_guard():
    """The guarded branch of the property above is the usual one.

    At scale 1 nothing is lost to eps.
    """
    for cls in TAU_HEADS:
        _, q, _, _ = run(cls, 8, 64, 0.5, seed=2, scale=1.0)
        assert_near(q.mean.square().mean(0) + q.variance.mean(0), np.ones(8), 1e-6)
        assert_near(q.kl.mean(0), -0.5 * q.variance.log().mean(0), 1e-6)


@pytest.mark.parametrize("cls", TAU_HEADS)
@pytest.mark.parametrize(("tau", "nats"), [(0.3, 5.71), (0.5, 11.09), (0.7, 19.26)])
def test_floor_approaches_published_value_for_32_dimensions(cls, tau, nats):
    head = cls(HIDDEN, 32, tau=tau)
    assert_near(
        head.floor(), nats + 16 * math.log(2), 1e-3
    )  # theta = 0: half of 1 - tau is left for sigma
    head.theta.data.fill_(-60.0)
    assert round(head.floor(), 2) == nats
    head.theta.data.fill_(1e4)  # ln s(-theta) is -theta there, no infinity
    assert_near(head.floor(), nats + 16 * 1e4, 1e-3)


@pytest.mark.parametrize("tau", [1e-9, 1 - 1e-9])
def test_floor_is_accurate_for_tau_near_limits(tau):
    assert_near(BatchNormTau(HIDDEN, 2, tau=tau).floor(), -math.log1p(-tau) + math.log(2), 1e-6)


@pytest.mark.parametrize("cls", TAU_HEADS)
def test_theta_has_one_value_per_dimension_starts_at_0_and_learns(cls):
    head = make(cls, 5)
    assert head.theta.shape == (5,) and head.theta.eq(0).all() and head.theta.requires_grad
    assert_near(gamma_mu(0.5, head.theta.detach()) ** 2, np.full(5, 0.75))
    assert_near(gamma_sigma(0.5, head.theta.detach()) ** 2, np.full(5, 0.25))
    q = head(torch.randn(9, HIDDEN).double())
    q.kl.sum().backward()
    # KL_j = -1/2 E ln s_j^2 depends on theta through gamma_sigma alone: d/dtheta of -1/2 ln
    # s(-theta) = s(theta) / 2
    assert_near(head.theta.grad, np.full(5, 9 * 0.5 / 2), 1e-6)


def test_gaussian_signed_sigma_costs_0_635_more_nats_per_dimension():
    torch.manual_seed(0)
    head = BatchNormTau(2, 1, tau=0.5)
    head.linear.weight.data = torch.eye(2)
    with torch.no_grad():
        kl = head(torch.randn(200_000, 2)).kl.mean().item()
    exact = -0.5 * (digamma(0.5) + math.log(2))
    assert round(exact, 3) == 0.635
    assert abs(kl - head.floor() - exact) < 0.015


def test_rms_tau_kl_equals_floor_when_sigma_is_constant():
    head = make(RMSNormTau, 6, 0.3)
    with torch.no_grad():
        head.linear.weight[6:] = 0
        head.theta.normal_()
    q = head(torch.randn(40, HIDDEN).double())
    assert (q.std > 0).all()
    assert_near(q.kl.sum(-1).mean().item(), head.floor(), 1e-6)


@properties
@given(tau=st.floats(0.001, 0.999), theta=st.floats(-30, 30))
def test_squared_scales_sum_to_one(tau, theta):
    theta = torch.tensor([theta]).double()
    assert_near(gamma_mu(tau, theta) ** 2 + gamma_sigma(tau, theta) ** 2, [1.0])
    assert_near(
        torch.log(gamma_sigma(tau, theta)), 0.5 * (math.log1p(-tau) + log_expit(-theta.numpy()))
    )


def test_gradients_are_finite_when_sigma_is_zero():
    head = BatchNormTau(2, 1, tau=0.5)
    head.linear.weight.data = torch.eye(2)
    head.linear.bias.data.zero_()
    h = torch.tensor([[1.0, -1.0], [2.0, 0.0], [-3.0, 1.0]], requires_grad=True)
    q = head(h)
    assert q.std[1].item() == 0
    assert_near(q.kl[1].item(), 0.5 * (q.mean[1].item() ** 2 + 12 * math.log(10) - 1), 1e-6)
    (q.kl.sum() + q.sample().square().sum()).backward()
    assert all(p.grad.isfinite().all() for p in (*head.parameters(), h))


# ---------------------------------------------------------------- LN on mu


@properties
@given(seeds, st.integers(1, 12), st.integers(2, 9), gammas, scales)
def test_ln_mu_identity_and_floor_hold_per_example(seed, batch, latent, gamma, scale):
    head, q, a, log_var = run(LayerNormMu, latent, batch, gamma, seed, scale)
    left, beta = compute_shrinkage(a.var(1)), head.beta.item()
    mean_part = latent * (gamma**2 * left + beta**2)
    assert_near(q.mean.square().sum(1), mean_part, 1e-7)
    assert_near(q.kl.sum(1), 0.5 * mean_part + 0.5 * (np.exp(log_var) - log_var - 1).sum(1), 1e-7)
    assert_near(head.floor(), latent / 2 * (gamma**2 + beta**2))
    assert (q.kl.sum(1).numpy() >= head.floor() - latent / 2 * gamma**2 * (1 - left) - 1e-7).all()


def test_ln_mu_shares_beta_to_keep_the_floor():
    head, gamma = make(LayerNormMu, 4, 0.6), 0.6
    assert head.beta.shape == ()
    with torch.no_grad():  # the encoder has the same output for every example, sigma = 1
        head.linear.weight.zero_()
        head.linear.bias[4:] = 0
        q = head(torch.randn(5, HIDDEN).double())
    assert_near(q.kl.sum(1), np.full(5, 4 / 2 * gamma**2), 1e-6)
    beta_per_dimension = -q.mean[0]
    undone = DiagonalGaussian.from_log_var(q.mean + beta_per_dimension, q.log_var)
    assert_near(undone.kl, np.zeros((5, 4)))


def test_ln_mu_needs_two_dimensions():
    with pytest.raises(InputError, match=r"model\.latent=1: .* allowed is at least 2"):
        LayerNormMu(HIDDEN, 1, gamma=0.6)


# ---------------------------------------------------------------- batches and populations


@pytest.mark.parametrize("cls", BATCH_HEADS)
def test_batch_of_one_is_refused_and_batch_of_two_gives_plus_minus_gamma(cls):
    head = make(cls, 3, 0.6)
    with pytest.raises(ValueError, match="at least 2 examples"):
        head(torch.randn(1, HIDDEN).double())
    q = head(torch.randn(2, HIDDEN).double())
    scale = 0.6 if cls is BatchNormMu else math.sqrt(0.6 + 0.4 / 2)
    assert_near(q.mean.abs().detach(), np.full((2, 3), scale), 1e-4)
    assert_near(q.mean.sum(0).detach(), np.zeros(3), 1e-9)
    assert head.eval()(torch.randn(1, HIDDEN).double()).mean.shape == (1, 3)


@properties
@given(
    seeds,
    st.lists(st.integers(2, 9), min_size=1, max_size=6),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_population_moments_do_not_depend_on_order(seed, sizes, centred, shuffler):
    torch.manual_seed(seed)
    chunks = [3 * torch.randn(n, 4).double() + 5 * torch.randn(4).double() for n in sizes]
    everything = torch.cat(chunks).numpy()
    module = Moments(4, EPS, centred).double()
    for _ in range(2):
        with population(module):
            for chunk in chunks:
                module(chunk)
        assert_near(module.mean, everything.mean(0) if centred else np.zeros(4))
        assert_near(module.var, everything.var(0) if centred else (everything**2).mean(0))
        shuffler.shuffle(chunks)


@pytest.mark.parametrize("cls", BATCH_HEADS)
def test_evaluation_normalises_by_population_statistics(cls):
    torch.manual_seed(0)
    head, h = make(cls, 3, 0.4), torch.randn(30, HIDDEN).double()
    with torch.no_grad(), population(head):
        for chunk in (h[:4], h[4:21], h[21:]):
            head(chunk)
    a, b = (half.numpy() for half in head.linear(h).detach().chunk(2, -1))
    q = head.eval()(h[:5])
    scale = 0.4 if cls is BatchNormMu else math.sqrt(0.4 + 0.6 / 2)
    assert_near(q.mean.detach(), scale * (a[:5] - a.mean(0)) / np.sqrt(a.var(0) + EPS))
    if cls is BatchNormTau:
        assert_near(q.std.detach(), math.sqrt(0.3) * (b[:5] - b.mean(0)) / np.sqrt(b.var(0) + EPS))
    if cls is RMSNormTau:
        positive = np.log1p(np.exp(b))
        assert_near(
            q.std.detach(), math.sqrt(0.3) * positive[:5] / np.sqrt((positive**2).mean(0) + EPS)
        )


def test_unused_or_interrupted_population_keeps_statistics():
    module = Moments(2, EPS)
    before = [b.clone() for b in module.buffers()]
    with population(module):
        pass
    with pytest.raises(RuntimeError), population(module):
        module(torch.randn(5, 2))
        raise RuntimeError
    assert module.gathering is None
    assert all(b.equal(old) for b, old in zip(module.buffers(), before, strict=True))


def test_running_statistics_follow_batches():
    module, x = Moments(2, EPS), torch.randn(5, 2)
    module(x)
    assert_near(module.mean, 0.1 * x.mean(0), 1e-6)
    assert_near(module.var, 0.9 + 0.1 * x.numpy().var(0), 1e-6)
    kept = module.mean.clone()
    module.eval()(torch.randn(5, 2))
    assert module.mean.equal(kept)


# ---------------------------------------------------------------- extremes and bad input


@pytest.mark.parametrize("cls", ALL_HEADS)
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-6, 1e3, 1e6])
@pytest.mark.filterwarnings("ignore:.*variance below 100 eps")
def test_extreme_initialisation_gives_no_nan(cls, scale):
    torch.manual_seed(0)
    head = make(cls, 4).float()
    with torch.no_grad():
        for parameter in head.linear.parameters():
            parameter.mul_(scale)
    q = head(torch.randn(16, HIDDEN))
    assert not q.kl.isnan().any() and q.mean.isfinite().all()
    if cls in TAU_HEADS or scale < 1:
        (q.kl.sum() + q.sample().square().sum()).backward()
        assert q.kl.isfinite().all() and all(p.grad.isfinite().all() for p in head.parameters())


BAD = [(1.5, "out of range"), (1, "out of range"), (0, "out of range"), (-0.1, "out of range")]
ODD = [(float("nan"), "out of range"), (float("inf"), "out of range"), (10**400, "out of range")]
TYPES = [
    ("0.5", "not a number"),
    (True, "not a number"),
    (None, "not a number"),
    ([0.5], "not a number"),
]


@pytest.mark.parametrize("cls", TAU_HEADS)
@pytest.mark.parametrize(("value", "why"), BAD + ODD + TYPES)
def test_out_of_range_tau_is_refused_in_one_sentence(cls, value, why):
    with pytest.raises(InputError) as caught:
        cls(HIDDEN, 2, tau=value)
    shown = "inf" if value == 10**400 else value
    assert str(caught.value) == f"tau={shown}: {why}; allowed is 0 < tau < 1"


@pytest.mark.parametrize("cls", [BatchNormMu, LayerNormMu])
@pytest.mark.parametrize(("value", "why"), BAD[2:] + ODD + TYPES)
def test_out_of_range_gamma_is_refused_in_one_sentence(cls, value, why):
    with pytest.raises(InputError) as caught:
        cls(HIDDEN, 2, gamma=value)
    shown = "inf" if value == 10**400 else value
    assert str(caught.value) == f"gamma={shown}: {why}; allowed is 0 < gamma"


def test_closed_interval_ends_are_allowed():
    assert (
        check_number("x", 0, 0, 1, closed=True) == 0.0
        and check_number("x", 1, 0, 1, closed=True) == 1.0
    )
    with pytest.raises(InputError, match=r"^x=2: out of range; allowed is 0 <= x <= 1$"):
        check_number("x", 2, 0, 1, closed=True)


def test_heads_can_be_imported_without_harness():
    code = (
        "import sys, uncollapse.posteriors; print(sorted({m.split('.')[0] for m in sys.modules}))"
    )
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "'torch'" in modules
    for name in ("hydra", "wandb", "datasets", "omegaconf"):
        assert f"'{name}'" not in modules
