"""Every metric on a model with hand-computed numbers; evaluation without side effects."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from schemas import LSTMConfig
from scipy.stats import gmean, sem
from torch import Tensor, nn

from uncollapse.data.corpus import Corpus
from uncollapse.data.text import TextData
from uncollapse.distributions.moments import Moments
from uncollapse.metrics.base import Pass, standard_error, with_error
from uncollapse.metrics.one_pass import (
    collect,
    derangement,
    evaluate,
    evaluating,
    evaluation_batches,
    recompute_population,
    statistics,
)
from uncollapse.metrics.rates import floor_distance, per_token, perplexity, rates
from uncollapse.metrics.usage import COLLAPSE_EPS, active_units, collapse, moments, shuffle_gap
from uncollapse.posteriors import BatchNormMu, BatchNormTau, DiagonalGaussian, Gaussian, RMSNormTau

# ---------------------------------------------------------------- a model known by hand


@dataclass
class Items:
    """A batch: example numbers and, if known, their token counts."""

    examples: np.ndarray
    lengths: Tensor | None
    chars: np.ndarray | None = None
    bytes: np.ndarray | None = None

    def __len__(self):
        return len(self.examples)

    def to(self, device):
        return self


class Numbers:
    """Examples 0 ... n-1 in order, in batches of `size`, the last one short.

    Example i has i mod 3 + 1 tokens.
    """

    batch_size = 4

    def __init__(self, n, size=4, counted=True):
        self.n, self.size, self.counted = n, size, counted

    def batches(self, split, seed, epoch, size=None, batching=None):
        return [np.arange(i, min(i + self.size, self.n)) for i in range(0, self.n, self.size)]

    def batch(self, split, examples):
        return Items(examples, torch.from_numpy(examples % 3 + 1) if self.counted else None)


@dataclass
class Exact:
    """A posterior without noise: z = mean. Its KL and variance are given."""

    mean: Tensor
    variance: Tensor
    kl: Tensor
    splits = False

    def sample(self):
        return self.mean

    def log_ratio(self, z):
        """Equal densities: no code identifies its example."""
        return torch.zeros(torch.broadcast_shapes(z.shape, self.mean.shape)[:-1])


class OneHot(nn.Module):
    """Example i: code e_i, variance i/10, KL [i, 1], nll = i + heed |z - e_i|^2.

    Another example's code costs 2 heed.
    """

    def __init__(self, n, heed):
        super().__init__()
        self.posterior, self.n, self.heed = nn.Linear(1, 1), n, heed

    def encode(self, batch):
        i = torch.from_numpy(batch.examples).float()
        codes = torch.eye(self.n)[batch.examples]
        return Exact(
            codes, (i / 10)[:, None].expand(-1, self.n), torch.stack([i, torch.ones_like(i)], 1)
        )

    def nll(self, batch, z):
        i = torch.from_numpy(batch.examples)
        return i.float() + self.heed * (z - torch.eye(self.n)[i]).square().sum(-1)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_all_metrics_by_hand_for_any_batch_size(mode, size):
    got = evaluate(OneHot(6, heed=1.5), Numbers(6, size), "test", mode, floor=1.25)
    assert (
        got["rec"] == 2.5
        and got["kl"] == 3.5
        and got["kl_per_dim"] == [2.5, 1.0]
        and got["nelbo"] == 6.0
    )
    assert got["shuffle_gap"] == 3.0
    assert got["tokens"] == 12 and got["ppl"] == pytest.approx(math.exp(36 / 12))
    for name, numbers in {
        "rec": range(6),
        "kl": range(1, 7),
        "nelbo": range(1, 12, 2),
        "shuffle_gap": [3.0] * 6,
    }.items():
        assert got[f"{name}_se"] == pytest.approx(np.std(numbers, ddof=1) / math.sqrt(6)), name
    assert got["au"] == 6  # each code is 1 for one example of six: variance 5/36
    assert got["floor"] == 1.25 and got["kl_minus_floor"] == 2.25
    assert got["examples"] == 6
    np.testing.assert_allclose(got["moments"]["mu"], [1 / 6] * 6)
    np.testing.assert_allclose(got["moments"]["mu_sq"], [1 / 6] * 6)
    np.testing.assert_allclose(got["moments"]["sigma_sq"], [0.25] * 6, rtol=1e-6)
    assert got["mi"] == 0 == got["mi_se"] and got["marginal_kl"] == 3.5 and got["mi_n"] == 6
    # KL of the two dimensions: 0 ... 5 over the examples, and always 1
    share = dict(zip(got["collapse"]["eps"], got["collapse"]["share"], strict=True))
    assert share[1.0] == 0 and share[1.78] == 0.5 and share[3.16] == 0.5 and share[10.0] == 1


def test_decoder_ignoring_z_has_zero_gap():
    assert evaluate(OneHot(9, heed=0.0), Numbers(9, 3), "test", "eval")["shuffle_gap"] == 0.0


def test_short_last_batch_is_weighted_by_size():
    got = evaluate(OneHot(6, heed=1.0), Numbers(6, 4), "test", "eval")
    assert got["rec"] == 2.5 and got["shuffle_gap"] == 2.0


def test_single_example_batches_give_null_gap_only():
    got = evaluate(OneHot(5, heed=1.0), Numbers(5, 4), "test", "eval")
    assert got["shuffle_gap"] is None and got["shuffle_gap_se"] is None
    assert got["rec"] == 2.0 and got["examples"] == 5 and got["mi_n"] == 5


def test_one_example_gives_means_without_errors_or_mixture():
    got = evaluate(OneHot(1, heed=1.0), Numbers(1), "test", "eval")
    assert (
        got["rec"] == 0
        and got["kl"] == 1
        and got["nelbo"] == 1
        and got["ppl"] == pytest.approx(math.e)
    )
    assert all(math.isnan(got[f"{name}_se"]) for name in ("rec", "kl", "nelbo", "ppl"))
    assert got["au"] == 0 and "mi" not in got


def test_perplexity_requires_token_counts():
    got = evaluate(OneHot(4, heed=1.0), Numbers(4, counted=False), "test", "eval")
    assert "ppl" not in got and "ppl_se" not in got and "tokens" not in got


def test_limit_counts_complete_batches():
    for limit, examples in ((1, 4), (4, 4), (5, 8), (8, 8), (99, 10), (None, 10)):
        assert (
            evaluate(OneHot(10, 1.0), Numbers(10, 4), "train", "eval", limit)["examples"]
            == examples
        )


@pytest.mark.parametrize("n", [2, 3, 4, 7, 64])
def test_derangement_pairs_each_example_with_another_code(n):
    for seed in range(200):
        torch.manual_seed(seed)
        partner = derangement(n)
        assert sorted(partner.tolist()) == list(range(n)) and not partner.eq(torch.arange(n)).any()


def test_derangement_is_uniform_over_other_examples():
    torch.manual_seed(0)
    count = torch.zeros(5, 5)
    for _ in range(4000):
        count[torch.arange(5), derangement(5)] += 1
    assert count.diagonal().eq(0).all()
    off = count[~torch.eye(5, dtype=torch.bool)]
    assert ((off - 1000).abs() < 5 * math.sqrt(4000 * 3 / 16)).all()


# ---------------------------------------------------------------- the functions alone


def make_pass(
    rec=(1.0, 2.0), shuffled=(1.0, 4.0), kl=((1.0, 0.0), (3.0, 0.5)), mean=None, tokens=(3, 7)
) -> Pass:
    kl = np.array(kl)
    n = len(kl)  # examples; the other columns are repeated
    mean = np.zeros((n, 2)) if mean is None else np.asarray(mean)
    tokens = None if tokens is None else np.resize(tokens, n)
    z = torch.from_numpy(mean)
    rec, shuffled = np.resize(rec, n), np.resize(shuffled, n)
    return Pass(rec, shuffled, kl, mean, np.ones_like(mean), tokens, z, [])


def test_rates_and_perplexity_by_hand():
    # two values a, b: the standard error of their mean is |a - b| / 2
    assert rates(make_pass()) == {
        "rec": 1.5,
        "rec_se": pytest.approx(0.5),
        "kl": 2.25,
        "kl_se": pytest.approx(1.25),
        "kl_per_dim": [2.0, 0.25],
        "nelbo": 3.75,
        "nelbo_se": pytest.approx(1.75),
    }
    # nelbo 2 and 5.5 for 3 and 7 tokens: 0.75 nats a token, residuals -0.25 and 0.25, mean length 5
    ppl = math.exp(0.75)
    assert perplexity(make_pass()) == {
        "ppl": pytest.approx(ppl),
        "ppl_se": pytest.approx(ppl * 0.25 / 5),
        "tokens": 10,
    }
    assert shuffle_gap(make_pass()) == {"shuffle_gap": 1.0, "shuffle_gap_se": pytest.approx(1.0)}
    assert perplexity(make_pass(tokens=None)) == {} == perplexity(make_pass(tokens=(0, 0)))
    assert floor_distance(replace(make_pass(), floor=2.0)) == {"floor": 2.0, "kl_minus_floor": 0.25}
    assert floor_distance(make_pass()) == {"floor": None, "kl_minus_floor": None}


def test_standard_errors_match_bootstrap():
    rng = np.random.default_rng(0)
    n, draws = 400, 2000
    tokens = rng.integers(3, 30, n)
    kl = rng.gamma(2, 1, (n, 3))
    rec = 3.0 * tokens + 2 * kl.sum(1) + rng.normal(0, 4, n)
    shuffled = rec + rng.gamma(3, 2, n)
    one = Pass(rec, shuffled, kl, kl, kl, tokens, torch.zeros(n, 3), [])

    def numbers(i):
        nelbo = rec[i] + kl[i].sum(1)
        ppl = math.exp(nelbo.sum() / tokens[i].sum())
        return rec[i].mean(), kl[i].sum(1).mean(), nelbo.mean(), (shuffled[i] - rec[i]).mean(), ppl

    spread = np.std([numbers(rng.integers(0, n, n)) for _ in range(draws)], axis=0)
    got = rates(one) | shuffle_gap(one) | perplexity(one)
    found = [got[f"{name}_se"] for name in ("rec", "kl", "nelbo", "shuffle_gap", "ppl")]
    # the spread of 2000 draws is accurate to 1.6 %
    np.testing.assert_allclose(found, spread, rtol=0.07)
    # the length is in both sums
    assert got["ppl_se"] < got["ppl"] * standard_error(rec + kl.sum(1)) / tokens.mean()


def test_standard_errors_match_spread_over_fresh_examples():
    """Of the gap too, although each code is used twice: for its own example and for another."""
    rng, n, names = np.random.default_rng(1), 60, ("rec", "kl", "nelbo", "shuffle_gap", "ppl")

    def evaluation(seed):
        x = torch.from_numpy(rng.normal(0, 1, (n, 2)))
        lengths = torch.from_numpy(rng.integers(2, 9, n))
        torch.manual_seed(seed)

        def encode(batch):
            return DiagonalGaussian.from_std(
                0.8 * x[batch.examples], torch.full((len(batch), 2), 0.6).double()
            )

        def nll(batch, z):  # z [2, B, D]
            length = lengths[batch.examples]
            return 1.5 * length - (x[batch.examples] * z).sum(-1) + 0.3 * length * z[..., 0]

        batches = [Items(np.arange(i, i + 20), lengths[i : i + 20]) for i in range(0, n, 20)]
        return statistics(collect(encode, nll, batches))

    rows = [evaluation(seed) for seed in range(400)]
    for name in names:
        spread = np.std([row[name] for row in rows], ddof=1)
        error = np.sqrt(np.mean([row[f"{name}_se"] ** 2 for row in rows]))
        # a code that is bad or good for all examples cancels in the mean gap, but not in its error
        assert 0.88 < error / spread < (1.6 if name == "shuffle_gap" else 1.12), name


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_standard_error_matches_scipy(values):
    values = np.array(values)
    assert with_error("x", values) == {
        "x": values.mean(),
        "x_se": pytest.approx(sem(values), rel=1e-9, abs=1e-12),
    }
    assert standard_error(values) == with_error("x", values)["x_se"]
    assert math.isnan(standard_error(values[:1]))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(2, 40))
def test_perplexity_is_geometric_mean_over_all_tokens(seed, n):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 20, n)
    costs = [rng.gamma(2, 1.5, length) for length in lengths]  # nats of each token
    nll, order = np.array([c.sum() for c in costs]), rng.permutation(n)
    got = per_token(nll, lengths, "nll_")
    assert got["nll_ppl"] == pytest.approx(gmean(np.exp(np.concatenate(costs))))
    assert got["tokens"] == lengths.sum()
    assert per_token(nll[order], lengths[order], "nll_") == pytest.approx(got)


# ---------------------------------------------------------------- collapse


def test_collapse_curve_by_hand():
    """100 examples, 4 dimensions: unused, and used by one, by two and by all examples."""
    kl = np.full((100, 4), 1e-6)
    kl[:1, 1] = kl[:2, 2] = 2.0
    kl[:, 3] = 0.5
    got = collapse(make_pass(kl=kl))["collapse"]
    assert got["delta"] == 0.01 and got["eps"] == list(COLLAPSE_EPS) and len(COLLAPSE_EPS) == 17
    assert (
        COLLAPSE_EPS[0] == 0.001
        and COLLAPSE_EPS[4] == 0.01
        and COLLAPSE_EPS[8] == 0.1
        and COLLAPSE_EPS[12] == 1
        and COLLAPSE_EPS[16] == 10
    )
    share = dict(zip(got["eps"], got["share"], strict=True))
    for eps, expected in share.items():
        assert expected == (0.5 if eps <= 0.5 else 0.75 if eps <= 2.0 else 1.0), eps


@pytest.mark.parametrize(("away", "collapsed"), [(0, 1), (1, 1), (2, 1), (3, 0), (200, 0)])
def test_collapse_tolerates_one_example_in_a_hundred(away, collapsed):
    kl = np.zeros((200, 1))
    kl[:away] = 50.0
    assert collapse(make_pass(kl=kl))["collapse"]["share"] == [collapsed] * 17


@pytest.mark.parametrize("delta", [0.0, 0.01, 0.05, 0.1, 0.25, 0.3, 0.5])
def test_collapse_tolerates_exactly_fraction_delta(delta):
    n, allowed = 200, round(200 * delta)
    for away in (allowed, allowed + 1):
        kl = np.zeros((n, 2))
        kl[:away, 0] = 50.0
        assert collapse(make_pass(kl=kl), delta)["collapse"]["share"][-1] == (
            1.0 if away == allowed else 0.5
        )


def test_kl_equal_to_eps_is_not_collapsed():
    share = dict(
        zip(
            COLLAPSE_EPS,
            collapse(make_pass(kl=np.full((3, 1), 0.1)))["collapse"]["share"],
            strict=True,
        )
    )
    assert share[0.1] == 0 and share[0.178] == 1 and share[0.0562] == 0
    kl = np.zeros((3, 1))
    kl[0] = 50.0
    assert set(collapse(make_pass(kl=kl))["collapse"]["share"]) == {0.0}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 5))
def test_collapse_curve_is_fraction_of_quantiles_below_eps(seed, n, d):
    rng = np.random.default_rng(seed)
    kl = np.exp(rng.normal(-2, 1, (n, d)) + rng.normal(0, 3, d))
    share = collapse(make_pass(kl=kl))["collapse"]["share"]
    quantile = np.quantile(
        kl, 0.99, axis=0, method="inverted_cdf"
    )  # the least value with at least 99 % at or below it
    assert share == [float((quantile < eps).mean()) for eps in COLLAPSE_EPS]
    assert share == sorted(share)


# ---------------------------------------------------------------- units and moments


def test_undecomposable_kl_is_one_column():
    assert rates(make_pass(kl=[[1.0], [4.0]]))["kl_per_dim"] == [2.5]


def test_active_units_have_variance_above_one_hundredth():
    # variances of two values +-x are x^2
    assert active_units(make_pass(mean=[[0.099, 0.101, 5, 1], [-0.099, -0.101, 5, -1]])) == {
        "au": 2
    }


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(2, 30))
def test_population_moments(seed, n):
    rng = np.random.default_rng(seed)
    mean, variance = rng.normal(2, 3, (n, 3)), rng.gamma(2, 1, (n, 3))
    got = moments(Pass(mean[:, 0], mean[:, 0], mean, mean, variance, None, torch.zeros(n, 3), []))[
        "moments"
    ]
    np.testing.assert_allclose(got["mu"], [sum(column) / n for column in mean.T])
    np.testing.assert_allclose(got["mu_sq"], [sum(x * x for x in column) / n for column in mean.T])
    np.testing.assert_allclose(got["sigma_sq"], [sum(column) / n for column in variance.T])


def test_nan_values_stay_visible():
    nan = float("nan")
    broken = make_pass(rec=(nan, 1.0))
    assert (
        math.isnan(rates(broken)["rec"])
        and math.isnan(rates(broken)["nelbo"])
        and rates(broken)["kl"] == 2.25
    )
    assert math.isnan(rates(broken)["rec_se"]) and math.isnan(rates(broken)["nelbo_se"])
    assert math.isnan(perplexity(broken)["ppl"])
    no_gap = {"shuffle_gap": None, "shuffle_gap_se": None}
    assert shuffle_gap(broken) == no_gap == shuffle_gap(make_pass(shuffled=(nan, 1.0)))
    assert collapse(make_pass(kl=[[nan, 0.0], [1.0, 0.0]]))["collapse"]["share"] == [0.5] * 17
    assert perplexity(make_pass(rec=(1e9, 1e9)))["ppl"] == math.inf
    assert active_units(make_pass(mean=[[nan, 1], [0, -1]])) == {"au": 1}


# ---------------------------------------------------------------- the text VAE

HEADS = {
    "plain": Gaussian,
    "bn_mu": lambda h, d: BatchNormMu(h, d, gamma=0.6),
    "bn_tau": lambda h, d: BatchNormTau(h, d, tau=0.5),
    "rms_tau": lambda h, d: RMSNormTau(h, d, tau=0.5),
}


def text(n=300, batch_size=16, seed=0) -> TextData:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 8, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    corpus = Corpus(rng.integers(3, 20, offsets[-1]), offsets)
    return TextData({"train": corpus, "test": corpus}, tuple(map(str, range(20))), batch_size)


def model_of(head, **options):
    torch.manual_seed(0)
    return LSTMConfig(embedding=6, hidden=8, latent=3, **options).build(20, HEADS[head])


def snapshot_state(model):
    """Everything that an evaluation must leave as it was."""
    tensors = [*model.state_dict().values(), torch.get_rng_state()]
    return (
        [t.clone() for t in tensors],
        [m.training for m in model.modules()],
        [p.grad for p in model.parameters()],
    )


@pytest.mark.filterwarnings("ignore:evaluation mode, but the batch statistics")
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("head", list(HEADS))
def test_evaluation_has_no_side_effects_and_is_repeatable(head, mode, training):
    model, data = model_of(head, dropout_in=0.3, dropout_out=0.3).train(training), text(60)
    tensors, modes, gradients = snapshot_state(model)
    first = evaluate(model, data, "test", mode)
    after, modes_after, gradients_after = snapshot_state(model)
    assert all(a.equal(b) for a, b in zip(tensors, after, strict=True))
    assert modes == modes_after and gradients == gradients_after
    torch.rand(7)
    assert evaluate(model, data, "test", mode) == first


@pytest.mark.filterwarnings("ignore:evaluation mode, but the batch statistics")
@pytest.mark.parametrize("train", [True, False])
def test_failed_evaluation_has_no_side_effects(train):
    model = model_of("bn_tau")
    tensors, modes, _ = snapshot_state(model)
    with pytest.raises(RuntimeError), evaluating(model, train):
        assert model.training is train and not torch.is_grad_enabled()
        model.posterior(torch.randn(9, 8))
        torch.rand(3)
        raise RuntimeError
    after, modes_after, _ = snapshot_state(model)
    assert all(a.equal(b) for a, b in zip(tensors, after, strict=True))
    assert modes == modes_after and torch.is_grad_enabled()


def test_text_decoder_ignoring_z_has_zero_gap():
    model = model_of("plain")
    assert evaluate(model, text(60), "test", "eval")["shuffle_gap"] != 0
    with torch.no_grad():
        model.decoder.cell.weight.zero_()
        model.decoder.lstm.weight_ih_l0[:, 6:].zero_()
    assert evaluate(model, text(60), "test", "eval")["shuffle_gap"] == 0


def test_tokens_include_words_and_end_symbols():
    data = text(60)
    got = evaluate(model_of("plain"), data, "test", "eval")
    assert got["tokens"] == data.corpora["test"].lengths.sum() + 60
    assert got["ppl"] == pytest.approx(math.exp(got["nelbo"] * 60 / got["tokens"]))


def test_perplexity_does_not_depend_on_batching():
    model = model_of("plain")
    with torch.no_grad():  # the noise depends on the batching; without it z is the mean
        model.posterior.linear.weight[3:] = 0
        model.posterior.linear.bias[3:] = -80
    values = [evaluate(model, text(300, size), "test", "eval")["ppl"] for size in (1, 200, 300)]
    np.testing.assert_allclose(values, values[0], rtol=1e-5)


@pytest.mark.parametrize("head", ["bn_mu", "bn_tau", "rms_tau"])
def test_training_mode_meets_floor_and_evaluation_mode_uses_population(head):
    model, data = model_of(head), text()
    recompute_population(model, data, 10**6)
    floor = model.posterior.floor()
    train, fair = (evaluate(model, data, "train", mode, floor=floor) for mode in ("train", "eval"))
    assert train["kl_minus_floor"] > -1e-3
    # over all training data both modes normalise by the population, on average
    for got in (train, fair):
        np.testing.assert_allclose(got["moments"]["mu"], [0] * 3, atol=1e-4)
        mean_square, total = (
            got["moments"]["mu_sq"],
            np.add(got["moments"]["mu_sq"], got["moments"]["sigma_sq"]),
        )
        np.testing.assert_allclose(
            *((mean_square, 0.36) if head == "bn_mu" else (total, 1)), rtol=1e-2
        )
    assert train["kl"] != fair["kl"]


@pytest.mark.parametrize("head", ["bn_mu", "bn_tau", "rms_tau"])
def test_mean_squares_agree_between_modes_on_fresh_data(head):
    model, data, fresh = model_of(head), text(2000), text(1500, seed=1)
    data = replace(data, corpora={**data.corpora, "test": fresh.corpora["test"]})
    recompute_population(model, data, 2000)
    training = np.array(evaluate(model, data, "train", "train")["moments"]["mu_sq"])
    with evaluating(model, train=False):
        make_pass = collect(
            model.encode, model.nll, evaluation_batches(model, data, "test", "eval", None)
        )
    error = (make_pass.mean**2).std(0) * math.sqrt(1 / 1500 + 1 / 2000)
    assert (np.abs((make_pass.mean**2).mean(0) - training) < 4 * error).all()
    with torch.no_grad():  # statistics of other data must fail the same check
        next(m for m in model.posterior.modules() if isinstance(m, Moments)).var.mul_(1.5)
    with evaluating(model, train=False):
        make_pass = collect(
            model.encode, model.nll, evaluation_batches(model, data, "test", "eval", None)
        )
    assert (np.abs((make_pass.mean**2).mean(0) - training) > 4 * error).all()


@pytest.mark.parametrize("head", ["bn_mu", "bn_tau", "rms_tau"])
def test_recomputed_statistics_are_training_moments_without_dropout(head):
    model, data = model_of(head), text()
    model.encoder = nn.Sequential(model.encoder, nn.Dropout(0.5))
    before = [b.clone() for b in model.posterior.buffers()]
    recompute_population(model, data, 10**6)
    assert model.training and model.posterior.training and model.encoder.training
    with torch.no_grad():
        states = model.eval().encoder(data.batch("train", np.arange(300)))
        a, b = (half.double().numpy() for half in model.posterior.linear(states).chunk(2, -1))
    found = dict(model.posterior.named_buffers())
    normalised = np.concatenate([a, b], 1) if head == "bn_tau" else a
    first = "mu_moments" if head == "rms_tau" else "moments"
    np.testing.assert_allclose(found[f"{first}.mean"], normalised.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[f"{first}.var"], normalised.var(0), rtol=1e-4)
    if head == "rms_tau":
        assert found["sigma_moments.mean"].eq(0).all()
        np.testing.assert_allclose(
            found["sigma_moments.var"], (np.log1p(np.exp(b)) ** 2).mean(0), rtol=1e-4
        )
    assert not any(
        b.equal(old) for b, old in zip(found.values(), before, strict=True) if b.ne(0).any()
    )


def test_recomputed_statistics_use_fixed_data_and_no_randomness():
    model, data = model_of("bn_mu"), text(600)
    state = torch.get_rng_state()
    recompute_population(model, data, 100)
    part = model.posterior.moments.mean.clone()
    recompute_population(model, data, 100)
    assert model.posterior.moments.mean.equal(part) and torch.get_rng_state().equal(state)
    recompute_population(model, data, 600)
    assert not model.posterior.moments.mean.equal(part)


def test_heads_without_statistics_skip_recomputation(monkeypatch):
    model = model_of("plain")
    monkeypatch.setattr(model, "encode", lambda batch: pytest.fail("the encoder ran"))
    recompute_population(model, text(60), 100)
