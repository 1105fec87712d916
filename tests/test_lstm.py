"""The LSTM text VAE against the equations of an LSTM, one sentence and one step at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, composed, folder_of, rows, run_here, summary
from hypothesis import example, given, settings
from hypothesis import strategies as st
from schemas import LSTMConfig

from uncollapse.building import prepare
from uncollapse.data.corpus import BOS, EOS, Corpus, make_batch
from uncollapse.errors import InputError
from uncollapse.models.lstm import reverse_words
from uncollapse.posteriors import BatchNormMu, BatchNormTau, Gaussian, LayerNormMu, RMSNormTau

VOCABULARY, EMBEDDING, HIDDEN, LATENT = 13, 3, 5, 2
HEADS = {
    "plain": Gaussian,
    "bn_mu": lambda h, d: BatchNormMu(h, d, gamma=0.6),
    "ln_mu": lambda h, d: LayerNormMu(h, d, gamma=0.6),
    "bn_tau": lambda h, d: BatchNormTau(h, d, tau=0.5),
    "rms_tau": lambda h, d: RMSNormTau(h, d, tau=0.5),
}
some_lengths = st.lists(st.integers(1, 9), min_size=1, max_size=14)
TIES = [8, 8, 6, 4, 4, 4, 2, 2]  # equal lengths on both sides of a quarter of the batch


def make_corpus(lengths, seed=0) -> Corpus:
    offsets = np.cumsum([0, *lengths])
    return Corpus(
        np.random.default_rng(seed).integers(3, VOCABULARY, offsets[-1]).astype(np.int32), offsets
    )


def make_model(head="plain", seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"embedding": EMBEDDING, "hidden": HIDDEN, "latent": LATENT, **options}
    return LSTMConfig(**sizes).build(VOCABULARY, HEADS[head])


def naive_lstm(lstm, inputs, h, c):
    """The outputs of a one-layer LSTM by its definition (Hochreiter & Schmidhuber 1997).

    The gates are in PyTorch's order.
    """
    outputs = []
    for x in inputs:
        gates = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
        i, f, g, o = gates.split(len(h))
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return outputs


def naive_state(model, words):
    """Last encoder state of one sentence, with its end symbol."""
    inputs = [model.encoder.embed.weight[w] for w in (*words, EOS)]
    zero = inputs[0].new_zeros(model.encoder.lstm.hidden_size)
    return naive_lstm(model.encoder.lstm, inputs, zero, zero)[-1]


def naive_nll(model, words, z):
    """-log p(words, end | z) of one sentence."""
    decoder = model.decoder
    inputs = [torch.cat([decoder.embed.weight[w], z]) for w in (BOS, *words)]
    cell = decoder.cell.weight @ z
    total = 0
    for h, target in zip(
        naive_lstm(decoder.lstm, inputs, torch.tanh(cell), cell), (*words, EOS), strict=True
    ):
        logits = decoder.words.weight @ h + decoder.words.bias
        total = total + torch.logsumexp(logits, 0) - logits[target]
    return total


def words_of(corpus, i):
    return corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1]].tolist()


def assert_near(ours, reference):
    torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-10)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(some_lengths, st.integers(0, 1000))
@example(TIES, 0)
def test_states_nll_and_gradients_match_single_sentences(lengths, seed):
    corpus, model = make_corpus(lengths, seed), make_model(seed=seed).double()
    batch = make_batch(corpus, np.random.default_rng(seed).permutation(len(lengths)))
    z = torch.randn(len(lengths), LATENT, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(len(lengths), dtype=torch.float64)

    states, nll = model.encoder(batch), model.nll(batch, z)
    naive_states = torch.stack([naive_state(model, words_of(corpus, i)) for i in batch.examples])
    naive = torch.stack(
        [naive_nll(model, words_of(corpus, i), z[row]) for row, i in enumerate(batch.examples)]
    )
    assert_near(states, naive_states)
    assert_near(nll, naive)
    linear = model.posterior.linear
    assert_near(
        model.encode(batch).mean, (naive_states @ linear.weight.T + linear.bias)[:, :LATENT]
    )

    parameters = [z, *model.encoder.parameters(), *model.decoder.parameters()]
    ours = torch.autograd.grad((weights * nll).sum() + (weights @ states).sum(), parameters)
    theirs = torch.autograd.grad(
        (weights * naive).sum() + (weights @ naive_states).sum(), parameters
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert_near(mine, other)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(some_lengths, st.integers(0, 1000))
@example(TIES, 1)
def test_order_and_batch_mates_do_not_matter(lengths, seed):
    corpus, model = make_corpus(lengths, seed), make_model(seed=seed).double()
    rng, codes = np.random.default_rng(seed), torch.randn(len(lengths), LATENT, dtype=torch.float64)

    def values(examples):
        batch = make_batch(corpus, examples)
        with torch.no_grad():
            columns = torch.cat(
                [model.encode(batch).mean, model.nll(batch, codes[batch.examples])[:, None]], 1
            )
        return dict(zip(batch.examples.tolist(), columns, strict=True))

    together = values(np.arange(len(lengths)))
    shuffled = values(rng.permutation(len(lengths)))
    alone = {i: values(np.array([i]))[i] for i in range(len(lengths))}
    for i, value in together.items():
        assert_near(shuffled[i], value)
        assert_near(alone[i], value)


def test_uniform_decoder_nll_is_token_count_times_ln_v():
    model = make_model()
    torch.nn.init.zeros_(model.decoder.words.weight)
    torch.nn.init.zeros_(model.decoder.words.bias)
    batch = make_batch(make_corpus([4, 1, 7]), np.arange(3))
    expected = torch.tensor([8.0, 5.0, 2.0]) * np.log(
        VOCABULARY
    )  # the end counts, start and padding do not
    torch.testing.assert_close(model.nll(batch, torch.zeros(3, LATENT)), expected)


def test_decoder_receives_z_at_start_and_every_step():
    batch = make_batch(make_corpus([6]), np.arange(1))
    for deaf in ("cell", "input"):
        model = make_model()
        with torch.no_grad():
            (
                model.decoder.cell.weight
                if deaf == "cell"
                else model.decoder.lstm.weight_ih_l0[:, EMBEDDING:]
            ).zero_()
            assert model.nll(batch, torch.ones(1, LATENT)) != model.nll(
                batch, -torch.ones(1, LATENT)
            )
    with torch.no_grad():
        model.decoder.cell.weight.zero_()
        assert model.nll(batch, torch.ones(1, LATENT)) == model.nll(batch, -torch.ones(1, LATENT))


@pytest.mark.parametrize("where", ["dropout_in", "dropout_out"])
def test_dropout_acts_in_training_only(where):
    batch, z = make_batch(make_corpus(TIES), np.arange(len(TIES))), torch.ones(len(TIES), LATENT)
    model, without = make_model(**{where: 0.5}), make_model()
    assert not model.nll(batch, z).equal(model.nll(batch, z))
    assert model.eval().nll(batch, z).equal(without.nll(batch, z))


# ---------------- bidirectional encoders and pooling

ENCODERS = [
    (bidirectional, pool) for bidirectional in (False, True) for pool in ("last", "mean", "max")
]
encoders = pytest.mark.parametrize(("bidirectional", "pool"), ENCODERS)


def compute_torch_states(model, words, pool):
    """The pooled states of one sentence, from one `nn.LSTM` of PyTorch's that has the encoder's
    weights."""
    directions = [lstm for lstm in (model.encoder.lstm, model.encoder.reverse) if lstm is not None]
    reference = torch.nn.LSTM(EMBEDDING, HIDDEN, bidirectional=len(directions) == 2).double()
    with torch.no_grad():
        for lstm, suffix in zip(directions, ("", "_reverse"), strict=False):
            for name, weight in lstm.named_parameters():
                getattr(reference, name + suffix).copy_(weight)
    outputs, (last, _) = reference(model.encoder.embed.weight[[*words, EOS]])
    return {"last": last.flatten(), "mean": outputs.mean(0), "max": outputs.amax(0)}[pool]


@encoders
@settings(max_examples=8, deadline=None, derandomize=True)
@given(some_lengths, st.integers(0, 1000))
@example(TIES, 0)
def test_pooled_states_match_torch_lstm_on_single_sentences(bidirectional, pool, lengths, seed):
    corpus, model = (
        make_corpus(lengths, seed),
        make_model(seed=seed, bidirectional=bidirectional, pool=pool).double(),
    )
    batch = make_batch(corpus, np.random.default_rng(seed).permutation(len(lengths)))
    states = model.encoder(batch)
    assert states.shape == (len(lengths), HIDDEN * (1 + bidirectional))
    with torch.no_grad():
        assert_near(
            states,
            torch.stack(
                [compute_torch_states(model, words_of(corpus, i), pool) for i in batch.examples]
            ),
        )
        linear = model.posterior.linear
        assert_near(model.encode(batch).mean, (states @ linear.weight.T + linear.bias)[:, :LATENT])
        for row, i in enumerate(batch.examples):
            assert_near(model.encoder(make_batch(corpus, np.array([i])))[0], states[row])


@encoders
def test_encoder_gradients_match_single_sentences(bidirectional, pool):
    corpus, model = make_corpus(TIES), make_model(bidirectional=bidirectional, pool=pool).double()
    batch = make_batch(corpus, np.arange(len(TIES)))
    weights = torch.rand(len(TIES), HIDDEN * (1 + bidirectional), dtype=torch.float64)

    def states(words):
        inputs = [model.encoder.embed.weight[w] for w in (*words, EOS)]
        zero = inputs[0].new_zeros(HIDDEN)
        runs = [naive_lstm(model.encoder.lstm, inputs, zero, zero)]
        if bidirectional:
            runs.append(naive_lstm(model.encoder.reverse, inputs[::-1], zero, zero))
        outputs = [torch.stack(run) for run in runs]
        pooled = {"last": lambda h: h[-1], "mean": lambda h: h.mean(0), "max": lambda h: h.amax(0)}[
            pool
        ]
        return torch.cat([pooled(h) for h in outputs])

    parameters = list(model.encoder.parameters())
    ours = torch.autograd.grad((weights * model.encoder(batch)).sum(), parameters)
    naive = torch.stack([states(words_of(corpus, i)) for i in batch.examples])
    for mine, other in zip(
        ours, torch.autograd.grad((weights * naive).sum(), parameters), strict=True
    ):
        assert_near(mine, other)


def test_each_sentence_is_reversed_from_its_own_end():
    batch = make_batch(Corpus(np.array([4, 5, 6, 7, 8, 9]), np.array([0, 1, 4, 6])), np.arange(3))
    assert batch.examples.tolist() == [1, 2, 0]
    # at each step, the words of the sentences that have not ended
    assert reverse_words(batch).tolist() == [EOS, EOS, EOS, 7, 9, 4, 6, 8, 5]


def test_default_encoder_is_unidirectional_and_pools_add_no_weights():
    plain = make_model(seed=5).state_dict()
    assert not any("reverse" in name for name in plain)
    for pool in ("last", "mean", "max"):
        other = make_model(seed=5, pool=pool).state_dict()
        assert plain.keys() == other.keys() and all(
            torch.equal(w, other[name]) for name, w in plain.items()
        )
    assert make_model(seed=5, bidirectional=True).posterior.linear.in_features == 2 * HIDDEN


@pytest.mark.parametrize("head", ["plain", "bn_tau", "semi_amortized"])
def test_bidirectional_runs_finish_and_repeat_bit_for_bit(head: str, tmp_path: Path):
    short = ["svi_steps=2"] if head == "semi_amortized" else []
    words = [
        "model.bidirectional=true",
        "model.pool=max",
        "model.dropout_in=0.3",
        "model.init=0.1",
        *short,
    ]
    for name in ("one", "two"):
        run_here(tmp_path / name, head, *words)
    one, two = (folder_of(tmp_path / name, head) for name in ("one", "two"))
    assert rows(one) == rows(two) and summary(one) == summary(two)
    assert all(np.isfinite(row["nelbo"]) for row in rows(one))


def test_unknown_pool_is_refused():
    with pytest.raises(InputError) as caught:
        prepare(composed("head=plain", *SMALL, "model.pool=first"), "plain")
    assert str(caught.value) == "model.pool=first: allowed are last, mean, max"


# ---------------------------------------------------------------- initialisation and components


@pytest.mark.parametrize("init", [None, 0.02])
@pytest.mark.parametrize("head", list(HEADS))
def test_every_head_starts_from_same_weights(head, init):
    plain, other = make_model("plain", seed=5, init=init), make_model(head, seed=5, init=init)
    ours = other.state_dict()
    for name, tensor in plain.state_dict().items():
        assert ours[name].equal(tensor), name
    assert set(dict(other.named_parameters())) - set(plain.state_dict()) <= {
        "posterior.beta",
        "posterior.theta",
    }
    assert not make_model(head, seed=6, init=init).encoder.lstm.weight_hh_l0.equal(
        other.encoder.lstm.weight_hh_l0
    )


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("head", list(HEADS))
def test_components_hold_every_parameter_exactly_once(head, bidirectional):
    model = make_model(head, bidirectional=bidirectional)
    listed = [id(p) for parameters in model.parts().values() for p in parameters]
    assert len(listed) == len(set(listed)) and set(listed) == {id(p) for p in model.parameters()}
    assert set(model.parts()) == {"encoder", "decoder"}
    assert {id(p) for p in model.posterior.parameters()} <= {
        id(p) for p in model.parts()["encoder"]
    }


@pytest.mark.parametrize("head", list(HEADS))
def test_init_sets_weight_range_and_embeddings_use_a_tenth(head):
    model = make_model(head, embedding=20, hidden=30, latent=10, init=0.01, bidirectional=True)
    for name, parameter in model.named_parameters():
        if name in ("posterior.beta", "posterior.theta"):
            assert parameter.eq(0).all()
            continue
        half_width = 0.1 if "embed" in name else 0.01
        assert parameter.abs().max() <= half_width
        assert parameter.max() > 0.7 * half_width and parameter.min() < -0.7 * half_width, name


@pytest.mark.parametrize("name", ["embedding", "hidden", "latent"])
@pytest.mark.parametrize("value", [0, -3, 2.5, True])
def test_sizes_below_one_are_refused(name, value):
    with pytest.raises(InputError) as caught:
        make_model(**{name: value})
    assert str(caught.value) == f"model.{name}={value}: allowed is an integer of at least 1"


@pytest.mark.parametrize("name", ["dropout_in", "dropout_out"])
@pytest.mark.parametrize("value", [1.0, -0.1, float("nan")])
def test_out_of_range_dropout_is_refused(name, value):
    with pytest.raises(
        InputError, match=rf"^model\.{name}={value}: out of range; allowed is 0 <= {name} < 1$"
    ):
        make_model(**{name: value})


@pytest.mark.parametrize("value", [0, -1.5, float("inf")])
def test_invalid_init_is_refused(value):
    with pytest.raises(
        InputError, match=rf"^model\.init={value}: out of range; allowed is 0 < model\.init$"
    ):
        make_model(init=value)
