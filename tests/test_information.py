"""mi and the components of the rate.

Compared with double loops, closed forms, derivatives by hand, and the spread over fresh data.
"""

import gc
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, Normal

from uncollapse.metrics import information as module
from uncollapse.metrics.base import Pass
from uncollapse.metrics.information import information, pointwise_information, take_batches
from uncollapse.posteriors import DiagonalGaussian

properties = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)


def gaussian(mean, std) -> DiagonalGaussian:
    mean = torch.as_tensor(np.asarray(mean), dtype=torch.float64)
    return DiagonalGaussian.from_std(
        mean, torch.as_tensor(np.asarray(std), dtype=torch.float64).expand(mean.shape)
    )


def make_posteriors(*posteriors, seed=0, z=None) -> Pass:
    torch.manual_seed(seed)
    z = torch.cat([q.sample() for q in posteriors]) if z is None else z
    kl, mean, variance = (
        torch.cat([getattr(q, name) for q in posteriors]).double().numpy()
        for name in ("kl", "mean", "variance")
    )
    return Pass(np.zeros(len(kl)), np.zeros(len(kl)), kl, mean, variance, None, z, posteriors)


def cut(q, *sizes) -> list[DiagonalGaussian]:
    """Split posteriors into batches of these sizes."""
    parts = zip(q.mean.split(sizes), q.std.split(sizes), q.log_var.split(sizes), strict=True)
    return [DiagonalGaussian(*part) for part in parts]


def random_posterior(seed, n, d) -> DiagonalGaussian:
    """Means and scales with sizes between 1e-4 and 10; some sigma are negative."""
    rng = np.random.default_rng(seed)
    mean, std = (10 ** rng.uniform(-4, 1, (n, d)) * rng.choice([-1, 1], (n, d)) for _ in range(2))
    return gaussian(mean, std)


def density(q, z, i, n) -> Tensor:
    """log q(z_i|x_n) per dimension, by torch.distributions."""
    return Normal(q.mean[n], q.std[n].abs()).log_prob(z[i])


def double_loop(q, z) -> tuple[np.ndarray, np.ndarray]:
    """log q(z_i|x_i) - log 1/N sum_n q(z_i|x_n), of the code [N] and of each dimension [D, N]."""
    n = len(z)
    both, each = np.zeros(n), np.zeros((z.shape[1], n))
    for i in range(n):
        table = torch.stack([density(q, z, i, k) for k in range(n)])  # [N, D]
        both[i] = table[i].sum() - torch.logsumexp(table.sum(1), 0) + math.log(n)
        each[:, i] = table[i] - torch.logsumexp(table, 0) + math.log(n)
    return both, each


def assert_near(ours, reference, tolerance=1e-6):
    np.testing.assert_allclose(
        np.asarray(ours), np.asarray(reference), rtol=tolerance, atol=tolerance
    )


# ---------------------------------------------------------------- densities


@properties
@given(
    seeds,
    st.integers(1, 9),
    st.integers(1, 7),
    st.integers(1, 5),
    st.sampled_from([1e-4, 1e-2, 1.0]),
)
def test_pairwise_densities_match_torch_distributions(seed, n, batch, d, scale):
    """The float32 that heads give, at codes near and far.

    The tolerance is 1e-6 of the largest term, because terms can cancel.
    """
    q = random_posterior(seed, batch, d)
    q = DiagonalGaussian.from_std(q.mean.float(), q.std.float())
    torch.manual_seed(seed)
    z = q.mean[torch.randint(batch, (n,))] + scale * torch.randn(n, d)
    mean, std = q.mean.double(), torch.exp(0.5 * q.log_var.double())
    reference = Normal(mean, std).log_prob(z[:, None].double())  # [n, B, D]
    reference = reference - Normal(torch.zeros(()).double(), 1.0).log_prob(z[:, None].double())
    size = ((z[:, None].square() + mean.square()) / std.square()).detach() + q.log_var.abs() + 1

    pairs, per_dim = q.log_ratio(z[:, None]), q.log_ratio_per_dim(z)
    assert pairs.shape == (n, batch) and per_dim.shape == (d, n, batch)
    rounding = 1e-6 if batch == 1 else 1e-13  # a single posterior keeps its own precision
    assert ((pairs - reference.sum(-1)).abs() <= rounding * size.sum(-1) + 1e-12).all()
    assert (
        (per_dim - reference.permute(2, 0, 1)).abs() <= 1e-13 * size.permute(2, 0, 1) + 1e-12
    ).all()


@pytest.mark.parametrize("std", [1e-6, 1e-5, 1e-3])
def test_narrow_posteriors_are_distinguished(std):
    torch.manual_seed(0)
    q = gaussian(torch.randn(6, 3), std)
    z = q.sample()
    pairs = q.log_ratio(z[:, None])
    reference = (
        Independent(Normal(q.mean, q.std), 1).log_prob(z[:, None])
        + 0.5 * (z.square() + math.log(2 * math.pi)).sum(1)[:, None]
    )
    assert_near(pairs.diagonal(), reference.diagonal(), 2e-3)
    assert_near(pairs, reference, 1e-9 / std)
    assert (pairs.argmax(1) == torch.arange(6)).all()


def test_single_posteriors_and_batches_of_one_work():
    q = random_posterior(3, 5, 2)
    z = q.sample(4)[:, 0]  # [4, D]
    together = q.log_ratio(z[:, None])
    apart = torch.cat([one.log_ratio(z[:, None]) for one in cut(q, 1, 1, 1, 1, 1)], -1)
    assert_near(together, apart, 1e-9)
    assert_near(q.log_ratio_per_dim(z).sum(0), together, 1e-9)


# ---------------------------------------------------------------- gains


@properties
@given(seeds, st.integers(2, 12), st.integers(1, 4))
def test_gains_match_double_loop(seed, n, d):
    q = random_posterior(seed, n, d)
    torch.manual_seed(seed)
    z = q.sample()
    both, each = double_loop(q, z)
    assert_near(
        pointwise_information(lambda codes: q.log_ratio(codes[:, None])[None], z)[0][0], both
    )
    assert_near(pointwise_information(q.log_ratio_per_dim, z)[0], each)
    got = information(make_posteriors(q, z=z))
    assert_near(got["mi"], both.mean())
    assert_near(got["mi_per_dim"], each.mean(1))
    assert_near(got["total_correlation"], each.mean(1).sum() - both.mean())


@properties
@given(seeds, st.integers(2, 8), st.integers(1, 3))
def test_influence_is_derivative_with_respect_to_example_weight(seed, n, d):
    q = random_posterior(seed, n, d)
    torch.manual_seed(seed)
    z = q.sample()
    table = torch.stack(
        [torch.stack([density(q, z, i, k).sum() for k in range(n)]) for i in range(n)]
    )

    weights = torch.ones(n, dtype=torch.float64, requires_grad=True)
    share = weights / weights.sum()
    mean = (share * (table.diagonal() - torch.logsumexp(table + share.log(), 1))).sum()
    (derivative,) = torch.autograd.grad(mean, weights)

    influence = pointwise_information(lambda codes: q.log_ratio(codes[:, None])[None], z)[1][0]
    assert_near(
        influence - influence.mean(), n * derivative, 1e-5
    )  # weights of sum n: each moves its share by 1/n
    assert_near(
        information(make_posteriors(q, z=z))["mi_se"],
        np.std(n * derivative.numpy(), ddof=1) / math.sqrt(n),
        1e-5,
    )


@pytest.mark.parametrize("cells", [1, 7, 40, 41, 10**6])
def test_block_and_batch_sizes_do_not_matter(monkeypatch, cells):
    q = gaussian(np.random.default_rng(0).normal(0, 1, (41, 3)), 0.4)
    torch.manual_seed(0)
    z = q.sample()
    full = information(make_posteriors(q, z=z))
    monkeypatch.setattr(module, "DENSITIES_AT_ONCE", cells)
    for sizes in ([41], [1] * 41, [40, 1], [7, 20, 1, 13]):
        got = information(make_posteriors(*cut(q, *sizes), z=z))
        assert got.keys() == full.keys()
        for name, value in full.items():
            assert_near(got[name], value, 1e-5)


def test_memory_does_not_grow_with_block_count(monkeypatch):
    """A few numbers per code and dimension are kept between blocks, for any number of blocks."""
    n, d = 100, 3
    q = random_posterior(0, n, d)
    blocks = []
    living = []  # number of elements in all tensors, at the first and at the last block

    def densities(z):
        blocks.append(len(z))
        if len(blocks) in (1, n):
            gc.collect()
            living.append(sum(one.numel() for one in gc.get_objects() if type(one) is Tensor))
        return q.log_ratio_per_dim(z)

    monkeypatch.setattr(module, "block_rows", lambda *_: 1)
    pointwise_information(densities, q.sample())
    assert blocks == [1] * n
    assert living[1] - living[0] < n * n * d / 5


# ---------------------------------------------------------------- known values


@pytest.mark.parametrize(
    ("a", "s", "v"), [(0.1, 1.0, 1.0), (0.7, 1.3, 0.5), (1.0, 2.0, 0.3), (3.0, 1.0, 0.4)]
)
def test_mi_of_gaussian_channel_matches_shannon_formula(a, s, v):
    n = 3000
    x = np.random.default_rng(5).normal(0, s, (n, 1))
    got = information(make_posteriors(gaussian(a * x, math.sqrt(v)), seed=5))
    known = 0.5 * math.log(1 + a * a * s * s / v)
    # a finite mixture is biased low by about E[q(z|x) / q(z)] / (2N), here below e^2I / N
    assert abs(got["mi"] - known) < 4 * got["mi_se"] + math.exp(2 * known) / n
    assert 0 < got["mi_se"] < 0.05 and got["mi_n"] == n and not got["mi_saturated"]
    assert_near(got["mi_per_dim"], [got["mi"]])
    assert_near(got["total_correlation"], 0)
    # the aggregate is N(0, a^2 s^2 + v)
    variance = a * a * s * s + v
    assert (
        abs(got["marginal_kl"] - 0.5 * (variance - 1 - math.log(variance)))
        < 4 * got["marginal_kl_se"] + math.exp(2 * known) / n
    )


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.9])
def test_total_correlation_of_gaussian_aggregate_matches_log_determinant(rho):
    """Aggregate N(0, C): means N(0, C - v), noise v; C has ones and rho."""
    n, v = 3000, 0.1
    aggregate = np.array([[1, rho], [rho, 1]])
    mean = np.random.default_rng(7).multivariate_normal([0, 0], aggregate - v * np.eye(2), n)
    got = information(make_posteriors(gaussian(mean, math.sqrt(v)), seed=7))
    known = -0.5 * math.log(1 - rho * rho)
    bias = math.sqrt(np.linalg.det(aggregate)) / v / n + 1 / n / v
    assert abs(got["total_correlation"] - known) < 4 * got["total_correlation_se"] + bias
    # each dimension is N(0, 1), so the marginal KL is zero
    assert abs(got["dimension_kl"]) < 4 * got["dimension_kl_se"] + bias
    for apart, error in zip(
        got["dimension_kl_per_dim"], got["dimension_kl_per_dim_se"], strict=True
    ):
        assert abs(apart) < 4 * error + bias
    assert abs(got["marginal_kl"] - known) < 4 * got["marginal_kl_se"] + bias
    assert (
        abs(got["mi"] - 0.5 * math.log(np.linalg.det(aggregate) / v**2)) < 4 * got["mi_se"] + bias
    )
    for gain, error in zip(got["mi_per_dim"], got["mi_per_dim_se"], strict=True):
        assert abs(gain - 0.5 * math.log(1 / v)) < 4 * error + bias


@pytest.mark.parametrize("n", [2, 3, 50, 400])
def test_mi_of_separated_codes_is_at_its_ceiling(n):
    got = information(make_posteriors(gaussian(np.arange(n)[:, None] * [[1.0, -2.0]], 1e-3)))
    assert (
        abs(got["mi"] - math.log(n)) < 1e-3
        and got["mi_ceiling"] == math.log(n)
        and got["mi"] <= math.log(n) + 1e-9
    )
    assert got["mi_saturated"] and got["mi_se"] < 1e-3
    assert_near(got["mi_per_dim"], [math.log(n)] * 2, 1e-3)
    assert_near(got["total_correlation"], math.log(n), 1e-3)


@pytest.mark.parametrize("mean", [0.0, 1.5])
def test_equal_posteriors_have_zero_mi_and_all_rate_is_marginal(mean):
    got = information(make_posteriors(gaussian(np.full((40, 2), mean), 0.7)))
    kl = 0.5 * (mean**2 + 0.49 - math.log(0.49) - 1)
    assert_near([got["mi"], *got["mi_per_dim"], got["total_correlation"]], [0] * 4)
    assert_near([got["mi_se"], got["marginal_kl_se"], got["total_correlation_se"]], [0] * 3)
    assert_near(
        [got["marginal_kl"], got["dimension_kl"], *got["dimension_kl_per_dim"]],
        [2 * kl, 2 * kl, kl, kl],
    )
    assert not got["mi_saturated"]


def test_posterior_equal_to_prior_has_zero_components():
    got = information(make_posteriors(gaussian(np.zeros((30, 3)), 1.0)))
    assert got["mi"] == got["marginal_kl"] == got["total_correlation"] == got["dimension_kl"] == 0


def test_saturation_starts_half_a_nat_below_ceiling():
    """N examples in groups of m equal ones, groups far apart: mi = ln(N / m)."""
    for m, saturated in ((1, True), (2, False)):
        centres = np.repeat(np.arange(12 // m), m)[:, None] * 10.0
        got = information(make_posteriors(gaussian(centres, 0.01)))
        assert_near(got["mi"], math.log(12 / m), 1e-3)
        assert got["mi_saturated"] is saturated


@properties
@given(
    seeds,
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(1, 4),
    st.none() | st.integers(1, 20),
)
def test_components_sum_to_rate(seed, sizes, d, limit):
    one = make_posteriors(*(random_posterior(seed + i, n, d) for i, n in enumerate(sizes)))
    got = information(replace(one, mixture=limit))
    if not got:
        assert sum(sizes) == 1 or sizes[0] == 1 == limit
        return
    kl = one.kl.sum(1).mean()
    size = 1e-12 * (1 + np.abs(one.kl).max())
    assert got["mi"] + got["marginal_kl"] == pytest.approx(kl, abs=size)
    assert got["total_correlation"] + got["dimension_kl"] == pytest.approx(
        got["marginal_kl"], abs=size
    )
    assert sum(got["mi_per_dim"]) - got["total_correlation"] == pytest.approx(got["mi"], abs=size)
    assert_near(np.add(got["mi_per_dim"], got["dimension_kl_per_dim"]), one.kl.mean(0), size)
    assert sum(got["dimension_kl_per_dim"]) == pytest.approx(got["dimension_kl"], abs=size)
    assert got["mi"] <= got["mi_ceiling"] + 1e-9 and got["mi_ceiling"] == math.log(got["mi_n"])


# ---------------------------------------------------------------- errors


def correlated(rng, n, d, a, v) -> DiagonalGaussian:
    """Codes of examples whose d latents have correlation 0.6; float32, as heads give them."""
    x = rng.multivariate_normal(np.zeros(d), 0.6 + 0.4 * np.eye(d), n)
    q = gaussian(a * x, math.sqrt(v))
    return DiagonalGaussian.from_std(q.mean.float(), q.std.float())


def errors_over_spread(draw, names, repeats=200, limit=None) -> dict:
    """RMS of the reported errors divided by the spread of the values over fresh data, by name."""
    drawn = (draw(np.random.default_rng((3, i)), i) for i in range(repeats))
    rows = [information(replace(one, mixture=limit)) for one in drawn]
    errors = {
        name: np.sqrt(np.mean([np.square(row[f"{name}_se"]) for row in rows], 0)) for name in names
    }
    return {name: errors[name] / np.std([row[name] for row in rows], 0, ddof=1) for name in names}


PARTS = (
    "mi",
    "marginal_kl",
    "total_correlation",
    "dimension_kl",
    "mi_per_dim",
    "dimension_kl_per_dim",
)


@pytest.mark.parametrize(("a", "v"), [(0.03, 1.0), (0.3, 0.9), (0.8, 0.3), (2.0, 0.1)])
@pytest.mark.slow
def test_errors_match_spread_over_fresh_data(a, v):
    ratios = errors_over_spread(
        lambda rng, i: make_posteriors(correlated(rng, 200, 2, a, v), seed=i), PARTS
    )
    for name, ratio in ratios.items():
        assert np.all((ratio > 0.75) & (ratio < 1.35)), (name, ratio)


@pytest.mark.parametrize(("a", "v"), [(5.0, 0.01), (10.0, 0.01)])
def test_errors_of_saturated_mi_are_small_and_others_accurate(a, v):
    """At its ceiling mi hardly moves.

    The rest comes from pairs of neighbours, which a first derivative underestimates.
    """
    ratios = errors_over_spread(
        lambda rng, i: make_posteriors(correlated(rng, 200, 2, a, v), seed=i), PARTS, 100
    )
    for name in ("marginal_kl", "dimension_kl", "dimension_kl_per_dim"):
        assert np.all((ratios[name] > 0.75) & (ratios[name] < 1.35)), (name, ratios[name])
    for name in ("mi", "mi_per_dim", "total_correlation"):
        assert np.all((ratios[name] > 0.5) & (ratios[name] < 1.35)), (name, ratios[name])
    got = information(make_posteriors(correlated(np.random.default_rng(0), 200, 2, a, v)))
    assert got["mi_saturated"] and got["mi_se"] < 0.05


@pytest.mark.parametrize(("loudness", "std"), [(1.0, 0.5), (2.0, 0.3)])
def test_errors_are_accurate_when_mixture_is_a_subset(loudness, std):
    """Half of the examples say nothing, half say much.

    The rate is estimated from all 400 examples, mi from 100.
    """

    def draw(rng, i):
        def batch():
            loud = rng.integers(0, 2, (50, 1))
            mean = loud * rng.normal(0, loudness, (50, 6))
            return gaussian(mean, np.where(loud, std, 1.0) + 0 * mean)

        return make_posteriors(*(batch() for _ in range(8)), seed=i)

    ratios = errors_over_spread(draw, PARTS, limit=100)
    for name, ratio in ratios.items():
        assert np.all((ratio > 0.75) & (ratio < 1.35)), (name, ratio)


# ---------------- few examples, and other posteriors


def test_mixture_needs_two_examples():
    assert information(make_posteriors(gaussian([[0.3, 1.0]], 0.5))) == {}
    two = make_posteriors(gaussian([[0.3]], 0.5), gaussian([[0.1]], 0.5))
    assert information(replace(two, mixture=1)) == {}
    for posteriors in (
        [gaussian([[0.3], [0.1]], 0.5)],
        [gaussian([[0.3]], 0.5), gaussian([[0.1]], 0.5)],
    ):
        got = information(make_posteriors(*posteriors))
        assert got["mi_n"] == 2 and got["mi"] <= math.log(2) and math.isfinite(got["mi_se"])


def test_limit_counts_complete_batches():
    posteriors = [gaussian(np.random.default_rng(i).normal(0, 1, (4, 2)), 0.5) for i in range(3)]
    one = make_posteriors(*posteriors)
    for limit, count in ((1, 4), (4, 4), (5, 8), (8, 8), (9, 12), (99, 12), (None, 12)):
        assert take_batches(posteriors, limit) == posteriors[: count // 4]
        got = information(replace(one, mixture=limit))
        alone = information(make_posteriors(*posteriors[: count // 4], z=one.z[:count]))
        assert got["mi_n"] == count and got["mi"] == alone["mi"] and got["mi_se"] == alone["mi_se"]
        assert_near(
            got["marginal_kl"], one.kl.sum(1).mean() - alone["mi"]
        )  # the rate is that of all examples


@dataclass(frozen=True)
class Undecomposable:
    """A Gaussian whose densities and KL are known for all dimensions together only."""

    q: DiagonalGaussian
    columns: int = 1
    splits = False

    @property
    def mean(self):
        return self.q.mean

    @property
    def variance(self):
        return self.q.variance

    @property
    def kl(self):
        return self.q.kl.sum(1, keepdim=True) if self.columns == 1 else self.q.kl

    def sample(self):
        return self.q.sample()

    def log_ratio(self, z):
        return self.q.log_ratio(z)


@dataclass(frozen=True)
class Split(Undecomposable):
    """The same with densities per dimension, and a KL that does not split."""

    splits = True

    def log_ratio_per_dim(self, z):
        return self.q.log_ratio_per_dim(z)


@pytest.mark.parametrize("wrap", [Undecomposable, lambda q: Undecomposable(q, 3), Split])
def test_undecomposable_rate_gives_nulls_and_same_totals(wrap):
    q = gaussian(np.random.default_rng(0).normal(0, 1, (30, 3)), 0.5)
    known = information(make_posteriors(q, seed=1))
    got = information(
        make_posteriors(*(wrap(part) for part in cut(q, 10, 20)), z=make_posteriors(q, seed=1).z)
    )
    assert got.keys() == known.keys()
    for name, value in got.items():
        if "per_dim" in name or "total_correlation" in name or "dimension_kl" in name:
            assert value is None, name
        else:
            assert_near(value, known[name])


def test_one_dimensional_code_splits():
    q = gaussian(np.random.default_rng(0).normal(0, 1, (30, 1)), 0.5)
    got, known = (information(make_posteriors(one, seed=1)) for one in (Split(q), q))
    assert got == known and got["mi_per_dim"] == pytest.approx([got["mi"]])


def test_broken_codes_give_nan():
    mean = np.zeros((5, 2))
    mean[3] = np.nan
    got = information(make_posteriors(gaussian(mean, 0.5)))
    assert math.isnan(got["mi"]) and math.isnan(got["mi_se"]) and not got["mi_saturated"]
