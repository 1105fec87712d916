"""Learned priors against torch.distributions, quadrature and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from uncollapse.errors import InputError
from uncollapse.posteriors import DiagonalGaussian, Gaussian, MixtureOfGaussians, Vamp
from uncollapse.posteriors.mog import MixturePrior, log_mixture_ratio

HIDDEN = 4
HEADS = [MixtureOfGaussians, Vamp]
properties = settings(max_examples=60, deadline=None, derandomize=True)
seeds, latents, counts = st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 7)
scales = st.sampled_from([0.0, 1e-3, 1.0, 5.0])


def posterior(cls, seed=0, batch=5, latent=3, components=4, scale=1.0) -> MixturePrior:
    """A posterior in double precision with random parameters times `scale`."""
    torch.manual_seed(seed)
    head = cls(HIDDEN, latent, components=components).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_().mul_(scale)
    return head(torch.randn(batch, HIDDEN).double())


def reference(q: MixturePrior) -> tuple[Independent, MixtureSameFamily]:
    """q(z|x) and p(z) as torch.distributions."""
    parts = Independent(Normal(q.components.mean, q.components.std), 1)
    mixture = MixtureSameFamily(
        Categorical(logits=torch.zeros(len(q.components.mean)).double()), parts
    )
    return Independent(Normal(q.mean, q.variance.sqrt()), 1), mixture


def assert_near(ours, theirs, tolerance=1e-9):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("cls", HEADS)
@properties
@given(seeds, st.integers(1, 5), latents, counts, scales)
def test_log_ratio_matches_torch_distributions_in_all_shapes(
    cls, seed, batch, latent, components, scale
):
    q = posterior(cls, seed, batch, latent, components, scale)
    own, prior = reference(q)
    for z in (q.sample(), q.sample(3), 3 * torch.randn(6, 1, latent).double()):
        exact = own.log_prob(z) - prior.log_prob(z)
        assert q.log_ratio(z).shape == exact.shape
        # terms that cancel where a sigma is small
        squares = [p.coefficients[0].abs().max() for p in (q.base, q.components)]
        tolerance = 1e-7 * (1 + own.log_prob(z).abs().max() + sum(squares)).item()
        assert_near(q.log_ratio(z), exact, tolerance)
    assert_near(
        q.kl[:, 0],
        q.log_ratio(q.sample()),
        1e-8 * (1 + (q.mean.square() / q.variance).max().item()),
    )


@pytest.mark.parametrize("cls", HEADS)
def test_mixture_shapes(cls):
    q = posterior(cls, batch=6, latent=3)
    assert q.mean.shape == q.variance.shape == q.sample().shape == (6, 3) and q.kl.shape == (6, 1)
    assert q.sample(4).shape == (4, 6, 3) and q.sample(1).shape == (1, 6, 3)
    assert q.sample_prior(7).shape == (7, 3)
    assert not q.splits


@pytest.mark.parametrize("cls", HEADS)
def test_code_and_kl_are_sampled_once_and_later_samples_differ(cls):
    q, again = posterior(cls), posterior(cls)
    z = q.sample(generator=torch.Generator().manual_seed(1))
    kl = q.kl
    assert q.sample() is z and q.kl.equal(kl)
    assert not q.sample(1)[0].equal(z)
    assert_near(kl[:, 0], q.log_ratio(z))
    first = again.kl  # computed before sampling, it belongs to the same code as well
    assert_near(first[:, 0], again.log_ratio(again.sample()))
    twins = (q.sample(3, torch.Generator().manual_seed(5)) for _ in range(2))
    assert next(twins).equal(next(twins))


def test_first_code_uses_same_noise_as_plain():
    torch.manual_seed(3)
    head, plain, h = (
        MixtureOfGaussians(HIDDEN, 2, components=3),
        Gaussian(HIDDEN, 2),
        torch.randn(5, HIDDEN),
    )
    plain.linear = head.linear
    torch.manual_seed(4)
    z = head(h).sample()
    torch.manual_seed(4)
    assert plain(h).sample().equal(z)


# ---------------------------------------------------------------- known values


def test_one_standard_component_equals_plain():
    torch.manual_seed(0)
    head = MixtureOfGaussians(HIDDEN, 3, components=1)
    assert head.means.eq(0).all() and head.log_vars.eq(0).all()  # it starts as N(0, I)
    q = head(torch.randn(5, HIDDEN))
    for z in (q.sample(), q.sample(4), torch.randn(6, 1, 3)):
        assert q.log_ratio(z).equal(q.base.log_ratio(z))
    draws = torch.stack([head(torch.zeros(20_000, HIDDEN)).kl[:, 0] for _ in range(5)]).flatten()
    exact = q.base.__class__.from_log_var(
        *head.linear(torch.zeros(1, HIDDEN)).chunk(2, -1)
    ).kl.sum()
    assert abs(draws.mean() - exact) < 5 * draws.std() / math.sqrt(len(draws))


@pytest.mark.parametrize("cls", HEADS)
def test_mean_kl_matches_quadrature_in_one_dimension(cls):
    q = posterior(cls, seed=2, batch=1, latent=1, components=3)
    mean, std = q.mean.item(), q.variance.sqrt().item()
    centres, widths = q.components.mean[:, 0].tolist(), q.components.std[:, 0].tolist()

    def integrand(z):
        log_prior = logsumexp(norm.logpdf(z, centres, widths)) - math.log(3)
        return norm.pdf(z, mean, std) * (norm.logpdf(z, mean, std) - log_prior)

    exact, _ = quad(integrand, mean - 10 * std, mean + 10 * std, limit=400)
    many = MixturePrior(
        DiagonalGaussian.from_log_var(
            *(x.expand(100_000, 1) for x in (q.base.mean, q.base.log_var))
        ),
        q.components,
    )
    assert abs(many.kl.mean() - exact) < 5 * many.kl.std() / math.sqrt(100_000)
    assert exact > 0.01


@pytest.mark.parametrize("cls", HEADS)
def test_prior_samples_have_the_mixture_moments(cls):
    q = posterior(cls, seed=1, components=3)
    z = q.sample_prior(100_000, torch.Generator().manual_seed(0))
    _, prior = reference(q)
    error = prior.stddev / math.sqrt(len(z))
    assert ((z.mean(0) - prior.mean).abs() < 5 * error).all()
    squares = (z - prior.mean).square()
    assert ((squares.mean(0) - prior.variance).abs() < 5 * squares.std(0) / math.sqrt(len(z))).all()
    # all components, about equally often
    nearest = q.components.pairs(z).argmax(-1)
    responsibility = torch.softmax(q.components.pairs(z), -1).mean(0)
    assert nearest.unique().numel() == 3 and ((responsibility - 1 / 3).abs() < 0.01).all()


@pytest.mark.parametrize("components", [1, 2, 5, 50])
def test_mog_prior_starts_near_standard_normal(components):
    torch.manual_seed(0)
    q = MixtureOfGaussians(HIDDEN, 16, components=components)(torch.randn(2, HIDDEN))
    _, prior = reference(q)
    assert_near(prior.mean, torch.zeros(16).double(), 1e-6)
    assert_near(prior.variance, torch.ones(16).double(), 1e-5)
    kl = -log_mixture_ratio(q.components, torch.randn(20_000, 16)).mean().item()
    assert -1e-6 <= kl < (0.05 if components == 50 else 0.3)


def test_vamp_prior_is_mixture_of_layer_posteriors():
    torch.manual_seed(0)
    head, plain, z = Vamp(HIDDEN, 3, components=5), Gaussian(HIDDEN, 3), torch.randn(7, 3)
    plain.linear = head.linear
    q, at_pseudo = head(torch.randn(2, HIDDEN)), plain(head.pseudo)
    densities = Independent(Normal(at_pseudo.mean, at_pseudo.std), 1).log_prob(z[:, None]).double()
    constant = 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(
        q.log_prior(z) - constant, densities.exp().mean(-1).log().float(), rtol=1e-5, atol=1e-5
    )


def test_vamp_prior_uses_weights_of_forward_pass():
    torch.manual_seed(0)
    head = Vamp(HIDDEN, 3, components=5)
    q, z = head(torch.randn(2, HIDDEN)), torch.randn(7, 1, 3)
    before = q.log_ratio(z)
    with torch.no_grad():
        head.linear.weight.add_(1)
        head.pseudo.add_(1)
    assert q.log_ratio(z).equal(before)


@pytest.mark.parametrize("cls", HEADS)
def test_kl_is_zero_when_posteriors_equal_prior(cls):
    head = cls(HIDDEN, 3, components=5)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
    q = head(torch.randn(6, HIDDEN))
    torch.testing.assert_close(q.kl, torch.zeros(6, 1), rtol=0, atol=1e-6)


# ---------------------------------------------------------------- gradients, extremes, bad input


@pytest.mark.parametrize("cls", HEADS)
def test_kl_gradients_match_formula_and_reach_every_component(cls):
    torch.manual_seed(0)
    head = cls(HIDDEN, 2, components=3).double()
    h, noise = torch.randn(5, HIDDEN).double(), torch.randn(5, 2).double()

    def formula():
        mean, log_var = head.linear(h).chunk(2, -1)
        z = mean + torch.exp(0.5 * log_var) * noise
        if cls is Vamp:
            centres, log_vars = head.linear(head.pseudo).chunk(2, -1)
        else:
            centres, log_vars = head.means, head.log_vars
        each = Normal(centres, torch.exp(0.5 * log_vars)).log_prob(z[:, None]).sum(-1)
        own = Normal(mean, torch.exp(0.5 * log_var)).log_prob(z).sum(-1)
        return own - torch.logsumexp(each, -1) + math.log(3)

    q = head(h)
    z, log_q = q.transform_noise(noise)
    ours = torch.autograd.grad((log_q - q.log_prior(z)).sum(), list(head.parameters()))
    theirs = torch.autograd.grad(formula().sum(), list(head.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        assert_near(a, b)
        assert a.abs().sum(-1).gt(0).all()


@pytest.mark.parametrize("cls", HEADS)
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 30.0])
def test_single_precision_suffices(cls, scale):
    """exp(log_var) must fit a float; at scale 30 it is e^60 and more."""
    torch.manual_seed(0)
    head, h = cls(HIDDEN, 4, components=6), torch.randn(16, HIDDEN)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(scale)
    q = head(h)
    (q.kl.sum() + q.sample().square().mean()).backward()
    assert q.kl.isfinite().all() and q.log_ratio(q.sample(3)).isfinite().all()
    assert all(p.grad.isfinite().all() for p in head.parameters())
    if scale <= 1:
        exact = head.double()(h.double())
        z, log_q = exact.transform_noise(((q.sample() - q.mean) / q.base.std).double())
        torch.testing.assert_close(
            q.kl[:, 0].double(), log_q - exact.log_prior(z), rtol=1e-4, atol=1e-4
        )


def test_kl_is_accurate_when_sigma_is_far_below_mean():
    q = DiagonalGaussian.from_log_var(torch.full((50, 2), 7.0), torch.full((50, 2), -40.0))
    kl = MixturePrior(q, DiagonalGaussian.from_log_var(torch.zeros(1, 2), torch.zeros(1, 2))).kl
    # 88 nats, where z - mean is 0 in single precision
    assert abs(kl.mean().item() - q.kl.sum(-1).mean().item()) < 1.0


@pytest.mark.parametrize("cls", HEADS)
@pytest.mark.parametrize("value", [0, -1, 2.5, "5", True, None])
def test_components_must_be_an_integer(cls, value):
    with pytest.raises(InputError) as caught:
        cls(HIDDEN, 2, components=value)
    assert str(caught.value) == f"components={value}: allowed is an integer of at least 1"
