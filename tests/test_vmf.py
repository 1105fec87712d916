"""The vMF head: constants against quadrature, Bessel functions and closed forms.

The sampler is compared with its distribution, gradients with those of expectations.
"""

import math

import numpy as np
import pytest
import torch
from conftest import composed
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ive
from scipy.stats import kstest
from torch.distributions import VonMises

from uncollapse.config.targets import build
from uncollapse.errors import InputError
from uncollapse.posteriors import VonMisesFisher
from uncollapse.posteriors.vmf import AxialVMF, Directional, unit_vector

HIDDEN = 4
GRID = [(kappa, dim) for dim in (2, 3, 64) for kappa in (0.1, 1.0, 13.0, 100.0, 500.0)]
properties = settings(max_examples=60, deadline=None, derandomize=True)


def assert_near(ours, reference, tolerance=1e-9):
    np.testing.assert_allclose(
        np.asarray(ours), np.asarray(reference), rtol=tolerance, atol=tolerance
    )


def integral(function, kappa: float, dim: int, end: float = math.pi) -> float:
    """Integrate function(cos) exp(kappa cos - kappa) sin^(dim-2) over angles from 0 to `end`."""

    def integrand(angle):
        return (
            function(math.cos(angle))
            * math.exp(kappa * (math.cos(angle) - 1))
            * math.sin(angle) ** (dim - 2)
        )

    peaks = [p for p in (0.02, 0.1, 0.3, 1.0, 1.5) if p < end]
    return quad(integrand, 0, end, points=peaks or None, limit=500, epsabs=0, epsrel=1e-11)[0]


def random_direction(*shape, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=g, dtype=dtype), dim=-1)


def draws(kappa, dim, count, mu=None, dtype=torch.float64):
    """[count, dim] codes of one example and its mu."""
    mu = random_direction(1, dim, seed=5, dtype=dtype) if mu is None else mu
    return Directional(mu, AxialVMF(kappa, dim)).sample(count, torch.Generator().manual_seed(0))[
        :, 0
    ], mu[0]


# ---------------------------------------------------------------- constants


@pytest.mark.parametrize(
    ("kappa", "nats"), [(13, 2.1726), (25, 5.7554), (50, 12.2534), (100, 20.7585), (200, 30.3733)]
)
def test_published_rates_in_32_dimensions(kappa, nats):
    assert round(VonMisesFisher(HIDDEN, 32, kappa=kappa).floor(), 4) == nats


@pytest.mark.parametrize(("kappa", "dim"), GRID)
def test_constants_match_quadrature(kappa, dim):
    law = AxialVMF(kappa, dim)
    mass, uniform = integral(lambda w: 1, kappa, dim), integral(lambda w: 1, 0, dim)
    log_f = math.log(mass / uniform) + kappa
    length = integral(lambda w: w, kappa, dim) / mass
    assert_near(law.log_f, log_f, 1e-8)
    assert_near(law.length, length, 1e-8)
    assert_near(law.kl, integral(lambda w: kappa * w - log_f, kappa, dim) / mass, 1e-8)
    assert_near(law.along, integral(lambda w: (w - length) ** 2, kappa, dim) / mass, 1e-8)
    assert_near(law.across, integral(lambda w: 1 - w * w, kappa, dim) / mass / (dim - 1), 1e-8)


@pytest.mark.parametrize(("kappa", "dim"), GRID)
def test_constants_match_bessel_functions(kappa, dim):
    order = dim / 2 - 1
    log_bessel = math.log(ive(order, kappa)) + kappa
    assert_near(
        AxialVMF(kappa, dim).log_f,
        math.lgamma(dim / 2) - order * math.log(kappa / 2) + log_bessel,
        1e-11,
    )
    assert_near(AxialVMF(kappa, dim).length, ive(order + 1, kappa) / ive(order, kappa), 1e-11)


@pytest.mark.parametrize("kappa", [1e-3, 1.0, 13.0, 500.0, 9999.0])
def test_constants_in_three_dimensions_match_closed_form(kappa):
    log_sinh = kappa + math.log(-math.expm1(-2 * kappa) / 2)
    assert_near(AxialVMF(kappa, 3).log_f, log_sinh - math.log(kappa))
    assert_near(AxialVMF(kappa, 3).length, 1 / math.tanh(kappa) - 1 / kappa)


@properties
@given(st.floats(1e-6, 9999), st.integers(2, 2000))
def test_constants_are_finite_and_in_range(kappa, dim):
    law = AxialVMF(kappa, dim)
    assert 0 < law.length < 1 and law.kl > 0
    assert law.along > 0 and law.across > 0
    assert_near(law.along + (dim - 1) * law.across + law.length**2, 1)  # E |z|^2
    assert AxialVMF(kappa * 1.01, dim).kl > law.kl


# ---------------------------------------------------------------- the sampler


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kappa", "dim"), GRID)
def test_samples_lie_on_the_sphere(kappa, dim, dtype):
    tolerance = 1e-6 if dtype is torch.float32 else 1e-13
    for mu in (
        random_direction(7, dim, dtype=dtype),
        torch.eye(dim, dtype=dtype)[:2],
        -torch.eye(dim, dtype=dtype)[:2],
    ):
        z = Directional(mu, AxialVMF(kappa, dim)).sample(500)
        assert z.dtype == dtype and (z.norm(dim=-1) - 1).abs().max() < tolerance


@pytest.mark.parametrize(("kappa", "dim"), GRID)
def test_cosines_follow_their_distribution(kappa, dim):
    z, mu = draws(kappa, dim, 20_000)
    w = (z @ mu).clamp(-1, 1).numpy()
    # the CDF on a grid of angles, dense where the mass is
    angles = np.concatenate([[0.0], np.quantile(np.arccos(w), np.linspace(0, 1, 120)), [math.pi]])
    below = np.array(
        [integral(lambda w: 1, kappa, dim, angle) if angle > 0 else 0.0 for angle in angles]
    )
    far = np.interp(np.arccos(w), angles, below / below[-1])
    assert kstest(far, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("start", [0.0, 1.0, -1.0])
@pytest.mark.parametrize(("kappa", "dim"), [(1.0, 2), (13.0, 3), (0.5, 5), (40.0, 5)])
def test_samples_have_expected_mean_and_covariance(kappa, dim, start):
    """Also around, and opposite to, the axis that the sampler turns from."""
    axis = torch.eye(dim, dtype=torch.float64)[:1]
    law, count = AxialVMF(kappa, dim), 100_000
    z, mu = draws(kappa, dim, count, start * axis if start else None)
    assert_near(z.mean(0), law.length * mu, 5 / math.sqrt(count))
    outer = torch.outer(mu, mu)
    assert_near(
        torch.cov(z.T),
        law.across * (torch.eye(dim) - outer) + law.along * outer,
        6 / math.sqrt(count),
    )
    q = Directional(mu[None], law)
    assert_near(q.mean[0], law.length * mu)
    assert_near(
        q.variance[0], torch.diagonal(law.across * (torch.eye(dim) - outer) + law.along * outer)
    )


def test_samples_follow_generator():
    q = Directional(random_direction(3, 4), AxialVMF(13.0, 4))
    one, again, other = (q.sample(5, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert one.equal(again) and not one.equal(other)
    state = torch.random.get_rng_state()
    q.sample(5, torch.Generator().manual_seed(0))
    q.sample_prior(5, torch.Generator().manual_seed(0))
    assert torch.random.get_rng_state().equal(state)


def test_prior_is_uniform_on_the_sphere():
    z = Directional(random_direction(3, 3), AxialVMF(13.0, 3)).sample_prior(
        20_000, torch.Generator().manual_seed(0)
    )
    assert_near(z.norm(dim=-1), np.ones(20_000))
    assert (
        kstest(z[:, 1].numpy(), "uniform", args=(-1, 2)).pvalue > 1e-3
    )  # in 3 dimensions each coordinate is uniform


# ---------------------------------------------------------------- densities


@pytest.mark.parametrize(("kappa", "dim"), GRID)
def test_mean_log_ratio_is_the_kl(kappa, dim):
    law, count = AxialVMF(kappa, dim), 20_000
    z, mu = draws(kappa, dim, count)
    error = kappa * math.sqrt(law.along / count)
    assert abs(Directional(mu[None], law).log_ratio(z[:, None]).mean().item() - law.kl) < 5 * error


def test_circle_density_matches_torch():
    q, angle = (
        Directional(random_direction(6, 2), AxialVMF(7.0, 2)),
        torch.linspace(-3, 3, 6, dtype=torch.float64),
    )
    z = torch.stack([angle.cos(), angle.sin()], -1)
    reference = VonMises(torch.atan2(q.mu[:, 1], q.mu[:, 0]), 7.0).log_prob(angle)
    assert_near(q.log_ratio(z), reference + math.log(2 * math.pi), 1e-6)


def test_log_ratio_shapes_and_pairs():
    q = Directional(random_direction(6, 4), AxialVMF(13.0, 4))
    assert q.mean.shape == q.variance.shape == q.sample().shape == (6, 4) and q.kl.shape == (6, 1)
    assert (
        q.sample(3).shape == (3, 6, 4)
        and q.sample(1).shape == (1, 6, 4)
        and q.sample_prior(5).shape == (5, 4)
    )
    z = q.sample(3)
    assert q.log_ratio(z[0]).shape == (6,) and q.log_ratio(z).shape == (3, 6)
    assert_near(q.log_ratio(z[0][:, None]), q.log_ratio(z[0][:, None].expand(6, 6, 4)))
    alone = Directional(q.mu[:1], q.law)
    assert_near(alone.log_ratio(z[0][:, None])[:, 0], q.log_ratio(z[0][:, None])[:, 0])
    assert not q.splits


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize(("kappa", "dim"), [(1.0, 2), (13.0, 2), (13.0, 3), (0.5, 8), (100.0, 8)])
def test_gradients_match_expectation(kappa, dim):
    """Of E[z.c] = A mu.c and E[(z.c)^2]: central differences of the closed forms in a."""
    law, count, c = AxialVMF(kappa, dim), 200_000, random_direction(dim, seed=9)
    a = 3 * random_direction(1, dim, seed=1)

    def first(a):
        return law.length * unit_vector(a) @ c

    def second(a):
        return law.across + (law.along + law.length**2 - law.across) * (unit_vector(a) @ c).square()

    leaf = a.clone().requires_grad_()
    z = Directional(unit_vector(leaf), law).sample(count, torch.Generator().manual_seed(0))[:, 0]
    for power, closed in ((1, first), (2, second)):
        (ours,) = torch.autograd.grad((z @ c).pow(power).mean(), leaf, retain_graph=True)
        steps = 1e-5 * torch.eye(dim, dtype=torch.float64)
        reference = torch.stack([(closed(a + s) - closed(a - s))[0] / 2e-5 for s in steps])
        assert_near(ours[0], reference, 5 * power / 3 / math.sqrt(count))


def test_requesting_gradients_changes_no_sample():
    mu = random_direction(4, 3, dtype=torch.float32)
    law = AxialVMF(13.0, 3)
    free, bound = mu.clone(), mu.clone().requires_grad_()
    one, other = (
        Directional(m, law).sample(6, torch.Generator().manual_seed(1)) for m in (free, bound)
    )
    assert one.equal(other.detach()) and not one.requires_grad and other.requires_grad


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-12, 1e-6, 1.0, 1e6, 1e30])
def test_extreme_initialisation_gives_no_nan(scale):
    torch.manual_seed(0)
    head = VonMisesFisher(HIDDEN, 6, kappa=13)
    with torch.no_grad():
        for parameter in head.linear.parameters():
            parameter.mul_(scale)
    q = head(torch.randn(16, HIDDEN))
    assert_near(q.mu.detach().norm(dim=-1), np.ones(16), 1e-6)
    (q.kl.sum() + q.sample().square().sum()).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


@properties
@given(st.integers(0, 10**6), st.integers(2, 9), st.sampled_from([1e-8, 1e-3, 1.0, 1e10]))
def test_direction_is_scale_invariant_and_gradient_decreases_with_length(seed, dim, scale):
    a = random_direction(3, dim, seed=seed)
    long = (scale * a).requires_grad_()
    assert_near(unit_vector(long).detach(), a, 1e-12)
    (gradient,) = torch.autograd.grad(unit_vector(long)[:, 0].sum(), long)
    tangent = (torch.eye(dim, dtype=torch.float64)[0] - a[:, :1] * a) / scale
    assert_near(gradient * scale, tangent * scale, 1e-9)


# ---------------------------------------------------------------- the head


@properties
@given(
    st.integers(0, 10**6),
    st.floats(0.1, 500),
    st.integers(2, 40),
    st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_kl_is_constant_over_weights_and_examples(seed, kappa, latent, scale):
    torch.manual_seed(seed)
    head = VonMisesFisher(HIDDEN, latent, kappa=kappa)
    q = head(scale * torch.randn(9, HIDDEN))
    assert_near(q.kl.detach(), np.full((9, 1), head.floor()), 1e-6)
    assert_near(q.mean.norm(dim=-1).detach(), np.full(9, head.law.length), 1e-5)
    assert_near((q.variance.sum(-1) + q.mean.square().sum(-1)).detach(), np.ones(9), 1e-5)


def test_layer_second_half_is_unused_but_has_gradient():
    head = VonMisesFisher(HIDDEN, 5, kappa=13)
    q = head(torch.randn(8, HIDDEN))
    (q.kl.sum() + (q.sample() @ torch.arange(5.0)).sum()).backward()
    for parameter in head.parameters():
        assert parameter.grad[:5].ne(0).all() and parameter.grad[5:].eq(0).all()


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e4, "13", True, None])
def test_out_of_range_kappa_is_refused(value):
    with pytest.raises(InputError, match=r"^kappa=.*allowed is 0 < kappa < 10000$"):
        VonMisesFisher(HIDDEN, 4, kappa=value)


def test_one_dimension_is_refused():
    with pytest.raises(InputError, match=r"^model\.latent=1: .*allowed is at least 2$"):
        VonMisesFisher(HIDDEN, 1, kappa=13)


def test_head_file_sets_kappa_13_and_override_changes_it():
    def head(*words):
        return build(composed("head=vmf", *words).posterior, "posterior", HIDDEN, 4)

    assert head().law == AxialVMF(13.0, 4) and head("kappa=50").law == AxialVMF(50.0, 4)
