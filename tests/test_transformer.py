"""The Transformer text VAE against an independent implementation, and under every head.

The reference handles one sentence, one attention head and one word at a time.
"""

import math
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, composed, folder_of, rows, summary
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from schemas import TransformerConfig
from test_procedures import check_against_differences, first_batch
from torch.nn import functional

from uncollapse.building import prepare
from uncollapse.config import knobs_of
from uncollapse.console import Console
from uncollapse.contract import SHORT, Stop, require_same
from uncollapse.data.corpus import BOS, EOS, UNK, Corpus, make_batch
from uncollapse.decoders import Options
from uncollapse.decoders.lipschitz import Lipschitz
from uncollapse.decoders.plain import Plain
from uncollapse.decoders.skip import Skip
from uncollapse.errors import InputError
from uncollapse.metrics.likelihood import importance_weighted, log_weights
from uncollapse.models import transformer
from uncollapse.models import word_losses as word_losses_module
from uncollapse.posteriors import BatchNormTau, Gaussian
from uncollapse.procedures.semi_amortized import SemiAmortized, twice_differentiable
from uncollapse.run import run
from uncollapse.runs.checkpoint import load_model, save_model

VOCABULARY, WIDTH, LATENT = 13, 6, 2
OUTPUTS = {"plain": Plain, "skip": Skip, "lipschitz": partial(Lipschitz, inverse_lipschitz=0.7)}
VARIANTS = [
    {},
    {"pool": "summary"},
    {"inject": "prefix"},
    {"inject": "add", "attention_heads": 1, "width": 5},
]
some_lengths = st.lists(st.integers(1, 9), min_size=1, max_size=6)
variants, seeds = st.sampled_from(VARIANTS), st.integers(0, 10**6)
properties = settings(max_examples=8, deadline=None, derandomize=True)
TIES = [8, 8, 6, 4, 4, 4, 2, 2]


def make_corpus(lengths, seed=0, vocabulary=VOCABULARY) -> Corpus:
    offsets = np.cumsum([0, *lengths])
    return Corpus(
        np.random.default_rng(seed).integers(4, vocabulary, offsets[-1]).astype(np.int32), offsets
    )


def text(lengths, seed=0, vocabulary=VOCABULARY):
    return make_batch(
        make_corpus(lengths, seed, vocabulary),
        np.random.default_rng(seed).permutation(len(lengths)),
    )


def make_model(
    seed=0, output="plain", head=Gaussian, vocabulary=VOCABULARY, word_dropout=0.0, **options
):
    torch.manual_seed(seed)
    sizes = {"width": WIDTH, "layers": 2, "attention_heads": 2, "latent": LATENT, **options}
    model = TransformerConfig(**sizes).build(
        vocabulary, head, Options(word_dropout, OUTPUTS[output])
    )
    with torch.no_grad():
        for parameter in model.decoder.output.parameters():
            parameter.normal_()
    return model


def assert_near(ours, reference, tolerance=1e-9):
    torch.testing.assert_close(ours, reference, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- by definition


def normed(norm, x):
    away = x - x.mean()
    return away / torch.sqrt(away.square().mean() + 1e-5) * norm.weight + norm.bias


def naive_stack(stack, xs, causal):
    """The outputs of one sentence's tokens, a list of [width]."""
    for layer in stack.layers:
        heads, attended = layer.attention_heads, [[] for _ in xs]
        apart = [layer.queries_keys_values(normed(layer.norm, x)).chunk(3) for x in xs]
        for head in range(heads):
            q, k, v = ([tokens[i].chunk(heads)[head] for tokens in apart] for i in range(3))
            for t, query in enumerate(q):
                seen = range(t + 1) if causal else range(len(xs))
                weights = torch.stack([query @ k[s] / math.sqrt(len(query)) for s in seen]).exp()
                attended[t].append(weights / weights.sum() @ torch.stack([v[s] for s in seen]))
        xs = [x + layer.joined(torch.cat(parts)) for x, parts in zip(xs, attended, strict=True)]
        norm, up, _, down = layer.feed
        xs = [x + down(up(normed(norm, x)).clamp_min(0)) for x in xs]
    return [normed(stack.norm, x) for x in xs]


def encode_position(time, width, like):
    half = (width + 1) // 2
    angles = [time / 10_000 ** (i / half) for i in range(half)]
    return like.new_tensor([*map(math.sin, angles), *map(math.cos, angles)][:width])


def naive_state(model, words):
    """The encoder state of one sentence, with its end symbol."""
    encoder, table = model.encoder, model.encoder.embed.weight
    xs = [table[w] + encode_position(t, table.shape[1], table) for t, w in enumerate((*words, EOS))]
    if encoder.summary is not None:
        return naive_stack(encoder.stack, [encoder.summary, *xs], causal=False)[0]
    return torch.stack(naive_stack(encoder.stack, xs, causal=False)).mean(0)


def naive_nll(model, words, z, fed=None):
    """-log p(words, end | z) of one sentence.

    `fed` are the decoder's input words, by default the true ones.
    """
    decoder, table = model.decoder, model.decoder.words.weight
    width, xs = table.shape[1], []
    for t, w in enumerate((BOS, *words) if fed is None else fed):
        xs.append(math.sqrt(width) * table[w] + encode_position(t, width, table))
        if decoder.add is not None:
            xs[-1] = xs[-1] + decoder.add.weight @ z
    if decoder.prefix is not None:
        xs.insert(0, decoder.prefix.weight @ z + decoder.prefix.bias)
    hs, total = naive_stack(decoder.stack, xs, causal=True), 0
    for h, target in zip(hs[decoder.prefix is not None :], (*words, EOS), strict=True):
        logits = decoder.output(decoder.words, h, decoder.output.features(z))
        total = total + torch.logsumexp(logits, 0) - logits[target]
    return total


def words_of(batch, row):
    return batch.tokens[row, : batch.lengths[row] - 1].tolist()


@pytest.mark.parametrize("lengths", [[1], [5, 3, 3, 1, 1]])
@pytest.mark.parametrize(
    ("options", "output"), [*zip(VARIANTS, ["plain", "skip", "lipschitz", "plain"], strict=True)]
)
def test_states_nll_and_gradients_match_single_sentences(options, output, lengths):
    model, batch = make_model(output=output, **options).double(), text(lengths)
    z = torch.randn(len(lengths), LATENT, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(len(lengths), dtype=torch.float64)

    states, nll = model.encoder(batch), model.nll(batch, z)
    naive_states = torch.stack(
        [naive_state(model, words_of(batch, row)) for row in range(len(batch))]
    )
    naive = torch.stack(
        [naive_nll(model, words_of(batch, row), z[row]) for row in range(len(batch))]
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


@properties
@given(some_lengths, seeds, variants)
@example(TIES, 1, {})
def test_padding_order_and_batch_mates_do_not_matter(lengths, seed, options):
    words, model = make_corpus(lengths, seed), make_model(seed, **options).double()
    codes = torch.randn(len(lengths), LATENT, dtype=torch.float64)

    def values(examples):
        batch = make_batch(words, examples)
        with torch.no_grad():
            columns = torch.cat(
                [model.encode(batch).mean, model.nll(batch, codes[batch.examples])[:, None]], 1
            )
        return dict(zip(batch.examples.tolist(), columns, strict=True))

    together = values(np.arange(len(lengths)))
    shuffled = values(np.random.default_rng(seed).permutation(len(lengths)))
    for i, value in together.items():
        assert_near(shuffled[i], value)
        assert_near(values(np.array([i]))[i], value)


def word_losses(model, words, z):
    """-log p of each word of one sentence under the model, [T]."""
    batch, caught = make_batch(Corpus(np.array(words), np.array([0, len(words)])), np.arange(1)), []
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        inner = transformer.word_losses
        patch.setattr(
            transformer, "word_losses", lambda *seen: caught.append(inner(*seen)) or caught[-1]
        )
        model.nll(batch, z)
    assert torch.equal(batch.targets, batch.tokens[0])
    return caught[0]


@pytest.mark.parametrize("options", VARIANTS)
def test_decoder_is_causal(options):
    model, words, z = (
        make_model(**options).double(),
        [5, 9, 4, 7, 11, 4, 6],
        torch.randn(1, LATENT).double(),
    )
    losses = word_losses(model, words, z)
    for t in range(len(words)):
        changed = word_losses(model, [*words[:t], 12, *words[t + 1 :]], z)
        assert torch.allclose(changed[:t], losses[:t], rtol=0, atol=1e-12)
        assert (changed[t:] != losses[t:]).all()
    # the length of the sentence does not matter either
    assert torch.allclose(word_losses(model, words[:4], z)[:4], losses[:4], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("inject", "ways"), [("both", ["prefix", "add"]), ("prefix", ["prefix"]), ("add", ["add"])]
)
def test_z_reaches_every_word_only_by_configured_paths(inject, ways):
    words, z = [5, 9, 4, 7], torch.ones(1, LATENT)
    for way in ways:
        model = make_model(inject=inject)
        assert {
            name for name in ("prefix", "add") if getattr(model.decoder, name) is not None
        } == set(ways)
        with torch.no_grad():
            for other in set(ways) - {way}:
                getattr(model.decoder, other).weight.zero_()
            assert (word_losses(model, words, z) != word_losses(model, words, -z)).all()
            getattr(model.decoder, way).weight.zero_()
            assert torch.equal(word_losses(model, words, z), word_losses(model, words, -z))


def test_encoder_depends_on_word_order():
    model = make_model().double()
    one, other = (
        make_batch(Corpus(np.array(w), np.array([0, 3])), np.arange(1))
        for w in ([5, 9, 4], [9, 5, 4])
    )
    assert (model.encode(one).mean - model.encode(other).mean).abs().max() > 1e-3


def test_uniform_decoder_nll_is_token_count_times_ln_v():
    model = make_model()
    with torch.no_grad():
        model.decoder.words.weight.zero_()
        model.decoder.words.bias.zero_()
    batch = make_batch(make_corpus([4, 1, 7]), np.arange(3))
    expected = torch.tensor([8.0, 5.0, 2.0]) * math.log(
        VOCABULARY
    )  # the end counts, start, prefix and padding do not
    torch.testing.assert_close(model.nll(batch, torch.zeros(3, LATENT)), expected)


def test_sentence_can_be_longer_than_any_seen():
    model = make_model()
    nll = model.nll(text([2000, 3]), torch.zeros(2, LATENT))
    assert nll.isfinite().all() and nll[0] > 100 * nll[1]
    assert model.encode(text([2000, 3])).mean.isfinite().all()


def test_tied_embeddings_are_one_matrix_also_on_disk(tmp_path: Path):
    model, batch = make_model(), text([5, 3])
    tables = [
        name
        for name, p in model.decoder.named_parameters()
        if VOCABULARY in p.shape and p.dim() == 2
    ]
    assert tables == ["words.weight"]
    x = torch.zeros(2, LATENT)
    before = model.nll(batch, x)
    save_model(tmp_path / "model.safetensors", model)
    other = make_model(seed=1)
    load_model(tmp_path / "model.safetensors", other)
    assert torch.equal(other.nll(batch, x), before) and not torch.equal(
        make_model(seed=1).nll(batch, x), before
    )


# ---------------------------------------------------------------- many codes for one sentence


@properties
@given(
    some_lengths,
    seeds,
    variants,
    st.sampled_from(list(OUTPUTS)),
    st.integers(1, 6),
    st.sampled_from([0.0, 1.0, 30.0]),
)
def test_nll_of_many_codes_equals_nll_of_each(lengths, seed, options, output, n, scale):
    model, batch = make_model(seed, output, **options).double().eval(), text(lengths, seed)
    z = scale * torch.randn(n, len(lengths), LATENT, dtype=torch.float64)
    one_by_one = torch.stack([model.nll(batch, one) for one in z])
    together = model.nll(batch, z)
    assert together.shape == (n, len(lengths)) and together.requires_grad
    assert_near(together, one_by_one)
    with torch.no_grad():
        assert_near(model.nll(batch, z), one_by_one.detach())


def test_gradients_of_many_codes_equal_gradients_of_each():
    model, batch = make_model(output="skip").double(), text([3, 7, 1])
    z = torch.randn(4, 3, LATENT, dtype=torch.float64, requires_grad=True)
    wanted = [z, *model.decoder.parameters()]
    ours = torch.autograd.grad(model.nll(batch, z).sum(), wanted)
    theirs = torch.autograd.grad(sum(model.nll(batch, one).sum() for one in z), wanted)
    for mine, other in zip(ours, theirs, strict=True):
        assert_near(mine, other)
    assert all(gradient.ne(0).any() for gradient in ours)


@pytest.mark.parametrize(
    ("tokens", "logits"),
    [(1, 1), (40, 4 * VOCABULARY), (1 << 12, VOCABULARY - 1), (1 << 30, 1 << 30)],
)
def test_chunk_size_bounds_memory_without_changing_numbers(monkeypatch, tokens, logits):
    model, batch, z = (
        make_model().double().eval(),
        text([3, 7, 1, 3]),
        torch.randn(50, 4, LATENT).double(),
    )
    full, held = model.nll(batch, z).detach(), {"tokens": 0, "logits": 0}
    stack, write_gradients = model.decoder.stack.forward, word_losses_module.write_gradients

    def counted(x, *rest, **more):
        held["tokens"] = max(held["tokens"], len(x))
        return stack(x, *rest, **more)

    def counted_logits(*arguments):
        losses, by_logits = write_gradients(*arguments)
        held["logits"] = max(held["logits"], by_logits.numel())
        return losses, by_logits

    monkeypatch.setattr(transformer, "MAX_TOKENS", tokens)
    monkeypatch.setattr(word_losses_module, "MOST_LOGITS", logits)
    monkeypatch.setattr(model.decoder.stack, "forward", counted)
    monkeypatch.setattr(word_losses_module, "write_gradients", counted_logits)
    with torch.no_grad():
        assert_near(model.nll(batch, z), full)
    one_code = len(batch.targets) + len(batch)  # with the prefixes
    assert held["tokens"] <= max(one_code, tokens * one_code / len(batch.targets))
    assert 0 < held["logits"] <= max(VOCABULARY, logits)


def test_single_precision_suffices_for_many_codes():
    lengths = np.random.default_rng(0).integers(1, 30, 20)
    model = make_model(1, vocabulary=300, width=32, latent=8).eval()
    batch, z = text(lengths, 0, 300), torch.randn(7, 20, 8)
    with torch.no_grad():
        single = model.nll(batch, z)
        assert_near(single.double(), model.double().nll(batch, z.double()), 2e-5)


@pytest.mark.parametrize("inject", transformer.INJECTIONS)
def test_importance_bound_lies_between_elbo_and_exact_log_likelihood(inject):
    """With one latent dimension log p(x) is an integral over a line."""
    model, batch = make_model(latent=1, inject=inject).double().eval(), text([6, 4, 2])
    grid = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    prior = -0.5 * (grid.square() + math.log(2 * math.pi))
    with torch.no_grad():
        joint = prior[:, None] - model.nll(batch, grid[:, None, None].expand(-1, 3, 1))
        exact = -(torch.logsumexp(joint, 0) + math.log(float(grid[1] - grid[0]))).numpy()
        weights = log_weights(
            partial(model.nll, batch), model.encode(batch), 5000, torch.Generator().manual_seed(0)
        )
    few, many = importance_weighted(weights[:20]), importance_weighted(weights)
    assert (few["nelbo"] >= few["nll"]).all()
    error = np.sqrt((len(weights) / many["ess"] - 1) / len(weights))
    assert (np.abs(many["nll"] - exact) < 5 * error + 1e-6).all()


# ---------------------------------------------------------------- generation


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("options", VARIANTS)
@torch.no_grad()
def test_generated_sentences_match_nll_probabilities(options, output):
    model, batch = (
        make_model(output=output, **options).double().eval(),
        text([4, 4, 4]),
    )
    z, total = torch.randn(3, LATENT).double(), torch.zeros(3).double()
    next_logits, tokens = model.decoder.writer(z), functional.pad(batch.tokens, (1, 0), value=BOS)
    for t in range(1, tokens.shape[1]):
        total -= next_logits(tokens[:, :t]).log_softmax(1)[torch.arange(3), tokens[:, t]]
    assert_near(model.nll(batch, z), total)


def test_sampling_depends_on_seed_and_greedy_generation_does_not():
    model, z = make_model().eval(), torch.randn(20, LATENT)
    drawn = [model.generate(z, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert (
        len(drawn[0]) == 20
        and drawn[0].tokens.tolist() == drawn[1].tokens.tolist() != drawn[2].tokens.tolist()
    )
    state = torch.get_rng_state()
    assert (
        model.generate(z, greedy=True).tokens.tolist()
        == model.generate(z, greedy=True).tokens.tolist()
    )
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------- dropout


@pytest.mark.parametrize("where", ["dropout_in", "dropout_out"])
def test_dropout_acts_in_training_independently_per_code(where):
    batch, z = text(TIES), torch.ones(len(TIES), LATENT)
    model, without = make_model(**{where: 0.5}), make_model()
    assert not model.nll(batch, z).equal(model.nll(batch, z))
    first, second = model.nll(batch, z.expand(2, -1, -1))
    assert not first.equal(second)
    assert model.eval().nll(batch, z).equal(without.nll(batch, z))


def test_word_dropout_hides_inputs_but_not_targets(monkeypatch):
    model, batch, z = (
        make_model(word_dropout=0.5).double(),
        text([7, 5, 5, 2]),
        torch.randn(4, LATENT).double(),
    )
    fed, dropping = [], transformer.drop_words
    monkeypatch.setattr(
        transformer, "drop_words", lambda *given: fed.append(dropping(*given)) or fed[-1]
    )
    nll = model.nll(batch, z)
    inputs = batch.tokens.new_zeros(batch.tokens.shape)
    inputs[batch.owner, batch.time] = fed[0][0]
    assert inputs[:, 0].eq(BOS).all() and inputs.eq(UNK).any() and UNK not in batch.targets
    by_hand = [
        naive_nll(model, words_of(batch, i), z[i], inputs[i, :length].tolist())
        for i, length in enumerate(batch.lengths)
    ]
    assert_near(nll, torch.stack(by_hand))
    without, state = make_model().double().nll(batch, z), torch.get_rng_state()
    assert model.eval().nll(batch, z).equal(without) and len(fed) == 1
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------- initialisation, components, sizes


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("head", [Gaussian, partial(BatchNormTau, tau=0.5)])
def test_shared_components_start_from_same_weights(head, output):
    plain, after_plain = make_model(5).state_dict(), torch.rand(3)
    torch.manual_seed(5)
    sizes = {"width": WIDTH, "layers": 2, "attention_heads": 2, "latent": LATENT}
    ours = (
        TransformerConfig(**sizes)
        .build(VOCABULARY, head, Options(output=OUTPUTS[output]))
        .state_dict()
    )
    assert torch.equal(torch.rand(3), after_plain)
    assert all(torch.equal(weight, ours[name]) for name, weight in plain.items())


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("options", VARIANTS)
def test_components_hold_every_parameter_once_and_use_it(options, output):
    model = make_model(output=output, **options)
    held = [p for part in model.parts().values() for p in part]
    assert (
        len(held)
        == len({id(p) for p in held})
        == len(list(model.parameters()))
        == len(model.state_dict()) - (output == "lipschitz")
    )
    assert {id(p) for p in model.posterior.parameters()} <= {
        id(p) for p in model.parts()["encoder"]
    }
    batch = text(TIES)
    q = model.encode(batch)
    (model.nll(batch, q.sample()) + q.kl.sum(-1)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in held)


def test_initial_loss_is_near_uniform_guess():
    """Tied embeddings of unit scale would begin far above it.

    As outputs they are scaled by 1 / sqrt(width).
    """
    model = TransformerConfig().build(366, Gaussian)
    batch = text(np.random.default_rng(0).integers(5, 29, 32), 0, 366)
    per_token = model.nll(batch, torch.randn(32, 16)).detach().sum() / len(batch.targets)
    assert abs(per_token - math.log(366)) < 1
    assert model.encode(batch).mean.std(0).mean() > 0.02  # and codes differ


@pytest.mark.parametrize("name", ["width", "layers", "attention_heads", "latent"])
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


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("width=7", "model.width=7: allowed is a multiple of model.attention_heads=2"),
        ("pool=last", "model.pool=last: allowed are mean, summary"),
        ("inject=memory", "model.inject=memory: allowed are both, prefix, add"),
    ],
)
def test_mismatched_settings_are_refused_before_data_is_read(word, message, monkeypatch):
    from uncollapse.data.builtin import GrammarConfig

    monkeypatch.setattr(GrammarConfig, "load", lambda *_: pytest.fail("data were read"))
    with pytest.raises(InputError) as caught:
        prepare(composed("head=plain", *TINY, f"model.{word}"), "plain")
    assert str(caught.value) == message


# ---------------------------------------------------------------- under every head

TINY = [
    "model=transformer",
    "model.width=8",
    "model.layers=1",
    "model.attention_heads=2",
    "model.latent=4",
    *(word for word in SMALL if not word.startswith("model.")),
]


def words_for(head: str, *more: str) -> list[str]:
    return [
        *TINY,
        *(f"{knob}={SHORT[knob]}" for knob in sorted(knobs_of(head) & SHORT.keys())),
        *more,
    ]


def run_tiny(results: Path, head: str, *more: str) -> Path:
    """The folder of a small run; the same arguments resume the same run."""
    words = words_for(head, *more)
    run(composed(f"head={head}", f"results={results}", *words), head, words)
    return folder_of(results, head)


@cache
def weights_at_start(head: str) -> dict[str, torch.Tensor]:
    return prepare(composed(f"head={head}", *words_for(head)), head).model.state_dict()


# heads that act on different components of the model
DIFFERENT = ("plain", "bn_mu", "vmf", "aggressive", "word_dropout", "skip", "lm", "lipschitz")


@pytest.mark.parametrize("head", DIFFERENT)
@pytest.mark.slow
def test_every_head_trains_and_keeps_its_floor(head: str, tmp_path: Path):
    plain, start = weights_at_start("plain"), weights_at_start(head)
    shared = plain.keys() & start.keys()
    assert {name for name in plain if not name.startswith("posterior.")} <= shared
    assert all(torch.equal(plain[name], start[name]) for name in shared)

    folder = run_tiny(tmp_path, head)
    seen = rows(folder)
    assert all(math.isfinite(row["nelbo"]) and math.isfinite(row["ppl"]) for row in seen)
    assert all(
        row["kl_minus_floor"] > -1e-4
        for row in seen
        if row["mode"] == "train" and row["floor"] is not None
    )
    end = load_file(folder / "model.safetensors")
    assert end.keys() == start.keys()
    moved = {
        name.split(".")[0] for name, weight in end.items() if not torch.equal(weight, start[name])
    }
    assert moved >= {"decoder"} | ({"encoder"} if head != "lm" else set())


@pytest.mark.parametrize(
    "head",
    [
        "word_dropout",
        "ae_pretrain",
        *(
            pytest.param(h, marks=pytest.mark.slow)
            for h in ("bn_tau", "aggressive", "semi_amortized")
        ),
    ],
)
def test_resumed_run_equals_uninterrupted_run(
    head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dropout = ("model.dropout_in=0.3", "model.dropout_out=0.3", "trainer.eval_every=4")

    def cut(console: Console, step: int, *rest: object) -> None:
        if step == 9:  # the last checkpoint is of step 8, an epoch has 6
            raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Console, "stepped", cut)
        run_tiny(tmp_path / "cut", head, *dropout)
    resumed, full = (
        run_tiny(tmp_path / "cut", head, *dropout),
        run_tiny(tmp_path / "full", head, *dropout),
    )
    assert rows(full) == rows(resumed) and summary(full) == summary(resumed)
    assert (full / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
    one, other = (torch.load(folder / "state.pt", weights_only=True) for folder in (full, resumed))
    clock = {"seconds": 0, "digest": ""}  # the digest is of the clock, too
    require_same({**one, **clock}, {**other, **clock})


@pytest.mark.parametrize("head", ["plain", "skip"])
@pytest.mark.parametrize("seed", range(2))
def test_gradients_through_refinement_match_finite_differences(head: str, seed: int):
    parts = prepare(composed(f"head={head}", *TINY, f"seed={seed}"), head)
    with twice_differentiable():  # the default training kernels have no second derivative
        check_against_differences(
            SemiAmortized(3, 0.2, 0.5, 5.0), parts.model.double(), first_batch(parts), seed
        )


def test_single_batch_is_learned(tmp_path: Path):
    folder = run_tiny(
        tmp_path,
        "plain",
        "data.train=16",
        "trainer.epochs=80",
        "trainer.eval_every=80",
        "trainer.lr=1e-2",
    )
    first, last = (row["rec"] for row in rows(folder) if row["split"] == "train")
    assert last < 0.7 * first
