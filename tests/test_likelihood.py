"""nll by importance weighting: the fast decoder, and estimates for models with known log p(x)."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from schemas import LSTMConfig
from scipy.special import logsumexp
from scipy.stats import norm, sem
from torch.distributions import Normal

from uncollapse.data.corpus import Corpus, make_batch
from uncollapse.metrics.likelihood import importance_weighted, likelihood, log_weights
from uncollapse.models import lstm_gates
from uncollapse.models.lstm_gates import Gates
from uncollapse.posteriors import DiagonalGaussian, Gaussian

VOCABULARY = 13
properties = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)
some_lengths = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def assert_near(ours, reference, tolerance=1e-9):
    np.testing.assert_allclose(
        np.asarray(ours), np.asarray(reference), rtol=tolerance, atol=tolerance
    )


# ---------------------------------------------------------------- many codes for one sentence


def text(lengths, seed=0, vocabulary=VOCABULARY):
    """A batch of sentences of these lengths; the longest is not the first in the corpus."""
    offsets = np.cumsum([0, *lengths])
    rng = np.random.default_rng(seed)
    words = Corpus(rng.integers(3, vocabulary, offsets[-1]).astype(np.int32), offsets)
    return make_batch(words, rng.permutation(len(lengths)))


def make_model(seed=0, vocabulary=VOCABULARY, **options):
    torch.manual_seed(seed)
    sizes = {"embedding": 3, "hidden": 5, "latent": 2, **options}
    return LSTMConfig(**sizes).build(vocabulary, Gaussian).eval()


def compute_gates(model):
    """As `Decoder.many` makes them for an output layer whose inputs are the LSTM's outputs."""
    words, latent = model.decoder.words, model.decoder.cell.in_features
    return Gates(model.decoder.lstm, words.weight, words.bias, latent)


def nll_by_loop(model, batch, z):
    """One code at a time, through PyTorch's LSTM and cross entropy."""
    return torch.stack([model.nll(batch, one) for one in z])


@properties
@given(
    some_lengths,
    seeds,
    st.integers(1, 6),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5)),
    st.sampled_from([1e-3, 0.03, 1.0, 3.0, None]),
    st.sampled_from([0.0, 1.0, 30.0]),
    st.booleans(),
)
@example([1], 0, 1, (1, 1, 1), 3.0, 30.0, False)
@example([4, 4, 4], 0, 3, (5, 5, 2), 1e-3, 1.0, True)
def test_nll_of_many_codes_equals_nll_of_each(lengths, seed, n, sizes, init, scale, large):
    embedding, hidden, latent = sizes
    model = make_model(seed, embedding=embedding, hidden=hidden, latent=latent, init=init).double()
    with torch.no_grad():
        if large:
            model.decoder.words.weight.mul_(300).add_(0.1)
            model.decoder.words.bias.add_(100)
            assert not compute_gates(model).safe
        batch, z = (
            text(lengths, seed),
            scale * torch.randn(n, len(lengths), latent, dtype=torch.float64),
        )
        ours = model.nll(batch, z)
        assert ours.shape == (n, len(lengths)) and ours.dtype == torch.float64
        assert_near(ours, nll_by_loop(model, batch, z))


@pytest.mark.parametrize("init", [1e-3, 0.1, 1.0, 3.0])
def test_single_precision_suffices_for_many_codes(init):
    lengths = np.random.default_rng(0).integers(1, 30, 20)
    model = make_model(1, vocabulary=300, embedding=16, hidden=32, latent=8, init=init)
    batch, z = text(lengths, 0, 300), torch.randn(7, 20, 8)
    with torch.no_grad():
        single = model.nll(batch, z)
        assert_near(single, model.double().nll(batch, z.double()), 2e-5)


@pytest.mark.parametrize("hidden", [1, 3, 16])
def test_skipping_max_subtraction_changes_only_rounding(hidden):
    """Just within the bound and just beyond it, for logits of either sign."""
    for sign in (1, -1):
        for bound, safe in ((70.0, True), (90.0, False)):
            model = make_model(hidden=hidden)
            with torch.no_grad():
                words = model.decoder.words
                words.weight.uniform_(0, 1)
                words.weight.mul_(sign * bound / 2 / words.weight.sum(1, keepdim=True))
                words.bias.fill_(sign * bound / 2)
                gates = compute_gates(model)
                assert gates.safe is safe
                h = 2 * torch.rand(50, hidden) - 1
                reference = logsumexp(
                    (h.double() @ words.weight.double().T + words.bias.double()).numpy(), axis=1
                )
                assert_near(gates.log_normaliser(h), reference, 1e-6)


@pytest.mark.parametrize("vocabulary", [100, 20_000, 50_000])
@pytest.mark.parametrize("bias", [-79.0, 79.0])
def test_logits_at_bound_do_not_overflow(bias, vocabulary):
    model = make_model(vocabulary=vocabulary, embedding=1, hidden=1, latent=1)
    with torch.no_grad():
        model.decoder.words.weight.zero_()
        model.decoder.words.bias.fill_(bias)
        batch = text([2, 1], vocabulary=vocabulary)
        got = model.nll(batch, torch.randn(2, 2, 1))
    assert_near(got, [[3 * math.log(vocabulary), 2 * math.log(vocabulary)]] * 2, 1e-5)


@pytest.mark.parametrize("block", [1, 4 * VOCABULARY, 4 * VOCABULARY * 5, 1 << 26])
def test_logit_block_size_does_not_matter(monkeypatch, block):
    model, batch, z = make_model(), text([3, 7, 1, 3]), torch.randn(5, 4, 2)
    with torch.no_grad():
        full = model.nll(batch, z)
        monkeypatch.setattr(lstm_gates, "CACHED_LOGITS", block)
        assert_near(model.nll(batch, z), full, 1e-6)


def test_inputs_and_weights_are_unchanged():
    model, batch, z = make_model(), text([3, 7, 1]), torch.randn(4, 3, 2)
    kept, weights = z.clone(), [p.clone() for p in model.parameters()]
    with torch.no_grad():
        first = model.nll(batch, z)
        assert model.nll(batch, z).equal(first) and z.equal(kept)
        strided = torch.stack([z, z], -1)[..., 0]
        assert not strided.is_contiguous() and model.nll(batch, strided).equal(first)
        assert model.nll(batch, z[:1].expand(4, 3, 2)).shape == (4, 3)
    assert all(p.equal(old) for p, old in zip(model.parameters(), weights, strict=True))


def test_gradients_flow_through_each_code(monkeypatch):
    model, batch = make_model(), text([3, 7, 1])
    monkeypatch.setattr(model.decoder, "nll_of_many", lambda *_: pytest.fail("no gradients there"))
    z = torch.randn(4, 3, 2, requires_grad=True)
    together = model.nll(batch, z)
    parameters = [z, *model.decoder.parameters()]
    ours = torch.autograd.grad(together.sum(), parameters)
    theirs = torch.autograd.grad(nll_by_loop(model, batch, z).sum(), parameters)
    for mine, other in zip(ours, theirs, strict=True):
        assert_near(mine, other, 1e-6)
    assert all(gradient.ne(0).any() for gradient in ours)


@pytest.mark.parametrize("where", ["dropout_in", "dropout_out"])
def test_dropout_acts_on_each_code_in_training_only(where):
    batch, z = text([3, 7, 1]), torch.randn(1, 3, 2).expand(3, 3, 2)
    model, without = make_model(**{where: 0.5}), make_model()
    with torch.no_grad():
        assert_near(model.nll(batch, z), without.nll(batch, z), 1e-6)
        first, second, third = model.train().nll(batch, z)
        assert not first.equal(second) and not second.equal(third)
        assert without.train().nll(batch, z)[0].equal(without.eval().nll(batch, z)[0])


# ---------------------------------------------------------------- weights


def posterior(mean, std) -> DiagonalGaussian:
    mean = torch.as_tensor(np.asarray(mean), dtype=torch.float64)
    return DiagonalGaussian.from_std(
        mean, torch.as_tensor(np.asarray(std), dtype=torch.float64).expand(mean.shape)
    )


def toy(x):
    """`decode` of x [B, D] for p(x|z) = N(z, 1) per dimension and the prior N(0, 1).

    So p(x) = N(0, 2) and p(z|x) = N(x/2, 1/2).
    """
    return lambda z: -Normal(z, 1.0).log_prob(x).sum(-1)


def log_prob(x) -> np.ndarray:
    return norm.logpdf(x.numpy(), 0, math.sqrt(2)).sum(1)


@properties
@given(
    seeds,
    st.integers(1, 60),
    st.integers(1, 5),
    st.sampled_from([1e-3, 1.0, 50.0]),
    st.sampled_from([0.0, -2e4, 800.0]),
)
def test_estimate_is_log_of_mean_weight(seed, samples, batch, scale, shift):
    w = shift + scale * torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (samples, batch)))
    got = importance_weighted(w)
    for b, column in enumerate(w.T.tolist()):
        top = max(column)
        weights = [math.exp(value - top) for value in column]  # naive, up to a factor that cancels
        assert_near(got["nll"][b], -top - math.log(math.fsum(weights) / samples))
        assert_near(got["nelbo"][b], -math.fsum(column) / samples)
        assert_near(
            got["ess"][b], math.fsum(weights) ** 2 / math.fsum(v * v for v in weights), 1e-7
        )
    assert (got["nll"] <= got["nelbo"] + 1e-9).all()
    assert ((got["ess"] >= 1 - 1e-7) & (got["ess"] <= samples * (1 + 1e-7))).all()


def test_single_precision_weights_are_summed_in_double_precision():
    w = torch.full((1000, 2), -1e-3)
    assert_near(importance_weighted(w)["nll"], [float(-w[0, 0])] * 2, 1e-12)
    assert all(values.dtype == np.float64 for values in importance_weighted(w).values())


def test_weights_are_joint_over_posterior():
    torch.manual_seed(0)
    x, q = torch.randn(3, 2).double(), posterior(np.random.default_rng(0).normal(0, 1, (3, 2)), 0.7)
    w = log_weights(toy(x), q, 50, torch.Generator().manual_seed(5))
    z = q.sample(50, torch.Generator().manual_seed(5))
    prior, likelihood_, q_density = (
        Normal(torch.zeros(()).double(), 1.0),
        Normal(z, 1.0),
        Normal(q.mean, q.std),
    )
    assert_near(w, (likelihood_.log_prob(x) + prior.log_prob(z) - q_density.log_prob(z)).sum(-1))


@pytest.mark.parametrize("batch", [1, 2, 5, 40])
def test_code_chunk_size_does_not_matter(batch):
    x = torch.randn(batch, 2)
    q = DiagonalGaussian.from_std(0.5 * x, torch.full_like(x, 0.6))
    seen = []

    def decode(z):
        seen.append(len(z))
        return toy(x)(z)

    full = log_weights(decode, q, 23, torch.Generator().manual_seed(1), rows=10**9)
    assert seen == [23]
    for rows in (1, 7, 40, 46, 200):
        seen.clear()
        got = log_weights(decode, q, 23, torch.Generator().manual_seed(1), rows)
        assert_near(got, full, 1e-5)
        assert sum(seen) == 23 and max(seen) * batch <= max(rows, batch)


def test_text_code_chunk_size_does_not_matter():
    model, batch = make_model(), text([3, 7, 1])
    with torch.no_grad():
        q = model.encode(batch)
        ways = [
            log_weights(
                lambda z: model.nll(batch, z), q, 20, torch.Generator().manual_seed(1), rows
            )
            for rows in (1, 7, 1000)
        ]
        z = q.sample(20, torch.Generator().manual_seed(1))
        slow = -nll_by_loop(model, batch, z) - q.log_ratio(z)
    for way in ways:
        assert_near(way, slow, 1e-5)


# ---------------------------------------------------------------- a model whose log p(x) is known

X = torch.tensor([[0.3, -1.0], [2.0, 0.5], [-0.7, 1.8]]).double()
# too wide, too narrow, shifted: never the true posterior N(x / 2, 1 / 2)
WRONG = [(0.5, 1.0, 0.0), (0.5, 0.6, 0.0), (0.3, 0.8, 0.4)]


def estimates(shrink, std, shift, samples, repeats=4000, seed=0) -> dict[str, np.ndarray]:
    """Independent estimates for each x, [repeats, B]."""
    q = posterior((shrink * X + shift).repeat(repeats, 1), std)
    w = log_weights(toy(X.repeat(repeats, 1)), q, samples, torch.Generator().manual_seed(seed))
    return {
        name: values.reshape(repeats, len(X)) for name, values in importance_weighted(w).items()
    }


@pytest.mark.parametrize(("shrink", "std", "shift"), WRONG)
def test_mean_weight_is_unbiased(shrink, std, shift):
    weight = np.exp(-estimates(shrink, std, shift, 8)["nll"])
    assert (np.abs(weight.mean(0) - np.exp(log_prob(X))) < 4.5 * sem(weight)).all()


@pytest.mark.parametrize(("shrink", "std", "shift"), WRONG)
def test_nll_decreases_from_elbo_to_true_value_with_samples(shrink, std, shift):
    by_samples = {k: estimates(shrink, std, shift, k, seed=k) for k in (1, 2, 5, 20, 100)}
    truth, mean = -log_prob(X), {k: got["nll"].mean(0) for k, got in by_samples.items()}
    error = {k: sem(got["nll"]) for k, got in by_samples.items()}
    # the ELBO in closed form: E log p(x|z) - KL(q || p)
    mu, v = shrink * X.numpy() + shift, std**2
    rec = 0.5 * ((X.numpy() - mu) ** 2 + v + math.log(2 * math.pi)).sum(1)
    nelbo = rec + 0.5 * (mu**2 + v - math.log(v) - 1).sum(1)
    for k, got in by_samples.items():
        assert (np.abs(got["nelbo"].mean(0) - nelbo) < 4.5 * sem(got["nelbo"])).all()
        assert (mean[k] > truth - 4.5 * error[k]).all()
    assert_near(by_samples[1]["nll"], by_samples[1]["nelbo"])
    for fewer, more in ((1, 2), (2, 5), (5, 20), (20, 100)):
        assert (mean[fewer] - mean[more] > -4.5 * np.hypot(error[fewer], error[more])).all()
    assert (mean[1] - mean[20] > 4.5 * np.hypot(error[1], error[20])).all()
    assert (mean[100] - truth < 0.1 * (nelbo - truth)).all()


@pytest.mark.parametrize("samples", [1, 2, 50])
def test_true_posterior_gives_exact_nll_without_variance(samples):
    got = estimates(0.5, math.sqrt(0.5), 0.0, samples, repeats=20)
    assert_near(got["nll"], np.tile(-log_prob(X), (20, 1)))
    assert_near(got["nelbo"], got["nll"])
    assert_near(got["ess"], np.full((20, 3), samples))
    one = likelihood(got["nll"][0], got["ess"][0], samples, None, log_prob(X))
    assert one["oracle_gap"] == pytest.approx(0, abs=1e-9) and one[
        "oracle_gap_se"
    ] == pytest.approx(0, abs=1e-9)
    assert one["nll_ess"] == pytest.approx(samples)
    if samples > 1:
        assert one["nll_mc_se"] < 1e-6


@pytest.mark.parametrize("samples", [30, 500])
@pytest.mark.parametrize(("shrink", "std", "shift"), WRONG)
def test_monte_carlo_error_matches_spread_over_draws(shrink, std, shift, samples):
    got = estimates(shrink, std, shift, samples, repeats=800)
    spread = got["nll"].mean(1).std(ddof=1)  # for the mean over the same examples
    errors = [
        likelihood(n, e, samples, None, None)["nll_mc_se"]
        for n, e in zip(got["nll"], got["ess"], strict=True)
    ]
    assert 0.85 < np.sqrt(np.mean(np.square(errors))) / spread < 1.15


def test_monte_carlo_error_of_few_samples_is_not_too_small():
    for samples in (2, 3, 5):
        got = estimates(0.5, 0.8, 0.0, samples, repeats=3000)
        spread = got["nll"].mean(1).std(ddof=1)
        errors = [
            likelihood(n, e, samples, None, None)["nll_mc_se"]
            for n, e in zip(got["nll"], got["ess"], strict=True)
        ]
        assert 0.85 < np.sqrt(np.mean(np.square(errors))) / spread < 1.15, samples


def test_one_sample_has_no_standard_error():
    got = likelihood(np.array([1.0, 2.0]), np.array([1.0, 1.0]), 1, None, None)
    assert got["nll_mc_se"] is None or math.isnan(got["nll_mc_se"])


# ---------------------------------------------------------------- the reported numbers


def test_likelihood_by_hand():
    got = likelihood(
        np.array([2.0, 6.0]),
        np.array([4.0, 10.0]),
        20,
        np.array([1, 3]),
        log_prob=np.array([-1.5, -5.0]),
    )
    assert got["nll"] == 4.0 and got["nll_se"] == pytest.approx(2.0)
    assert got["nll_samples"] == 20 and got["nll_examples"] == 2 and got["nll_ess"] == 7.0
    # of the sum of the two log means, within the factor 20/19
    variance = (1 / 4 - 1 / 20) + (1 / 10 - 1 / 20)
    assert math.sqrt(variance) / 2 <= got["nll_mc_se"] <= math.sqrt(variance * 20 / 19) / 2 + 1e-12
    # 8 nats for 4 tokens, and both sentences have 2 nats per token
    assert got["nll_ppl"] == pytest.approx(math.exp(2)) and got["nll_ppl_se"] == pytest.approx(0)
    # gaps 0.5 and 1: the spread of 4 nats between the examples cancels
    assert got["oracle_gap"] == 0.75 and got["oracle_gap_se"] == pytest.approx(0.25)
    assert "tokens" not in got


def test_unknown_quantities_are_omitted():
    got = likelihood(np.array([2.0, 6.0]), np.array([4.0, 10.0]), 20, None, None)
    assert set(got) == {
        "nll",
        "nll_se",
        "nll_samples",
        "nll_codes",
        "nll_examples",
        "nll_mc_se",
        "nll_ess",
        "nll_ess_low",
    }


def test_equal_weights_have_zero_error_despite_rounding():
    got = likelihood(np.zeros(3), np.full(3, 20.0 * (1 + 1e-12)), 20, None, None)
    assert got["nll_mc_se"] == 0
