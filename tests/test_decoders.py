"""Decoder remedies against independent formulas, one sentence at a time, and their guarantees."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, composed, folder_of, rows, run_here
from hypothesis import given, settings
from hypothesis import strategies as st
from schemas import LinearConfig, LSTMConfig
from torch import nn

from uncollapse.building import prepare
from uncollapse.data.corpus import BOS, EOS, UNK, Corpus, make_batch
from uncollapse.decoders import Options
from uncollapse.decoders.lipschitz import Lipschitz, make_orthonormal
from uncollapse.decoders.plain import Plain
from uncollapse.decoders.skip import Skip
from uncollapse.decoders.word_dropout import drop_words
from uncollapse.errors import InputError
from uncollapse.interfaces.decoder import join_features
from uncollapse.metrics.likelihood import importance_weighted, log_weights
from uncollapse.models.lstm_gates import rescale_features
from uncollapse.models.word_losses import word_losses
from uncollapse.posteriors import Gaussian

VOCABULARY, LEAST = 13, 0.7
OUTPUTS = {"plain": Plain, "skip": Skip, "lipschitz": partial(Lipschitz, inverse_lipschitz=LEAST)}
properties = settings(max_examples=40, deadline=None, derandomize=True)
seeds, some_lengths = st.integers(0, 10**6), st.lists(st.integers(1, 7), min_size=1, max_size=6)
scales = st.sampled_from([1e-3, 1.0, 1e3])


def text(lengths, seed=0, vocabulary=VOCABULARY):
    offsets = np.cumsum([0, *lengths])
    words = np.random.default_rng(seed).integers(4, vocabulary, offsets[-1]).astype(np.int32)
    return make_batch(Corpus(words, offsets), np.arange(len(lengths)))


def make_model(output="plain", seed=0, vocabulary=VOCABULARY, word_dropout=0.0, **sizes):
    """A model in double precision whose output layer has moved from its initial weights."""
    torch.manual_seed(seed)
    sizes = {"embedding": 3, "hidden": 5, "latent": 2, **sizes}
    return LSTMConfig(**sizes).build(vocabulary, Gaussian, Options(word_dropout, OUTPUTS[output]))


def randomise_output(model, scale=1.0):
    """The model in double precision, its output layer's own weights drawn at random."""
    model = model.double()
    with torch.no_grad():
        for parameter in model.decoder.output.parameters():
            parameter.normal_(0, scale)
    return model


def logits_by_hand(decoder, fed, z):
    """Logits [T, V] for one sentence's inputs `fed` [T] and its code, from the formulas.

    No product is shared; P is a V x V matrix.
    """
    inputs = torch.stack([torch.cat([decoder.embed.weight[w], z]) for w in fed])
    cell = decoder.cell.weight @ z
    h, _ = decoder.lstm(inputs[None], (torch.tanh(cell)[None, None], cell[None, None]))
    out, h = decoder.output, h[0]
    if isinstance(out, Skip):
        return h @ decoder.words.weight.T + out.skip @ z + decoder.words.bias
    if isinstance(out, Lipschitz):
        q = out.frame
        kept = torch.eye(len(q)).to(q) - q @ q.T
        bends = torch.tanh(out.slopes @ z + out.shifts) * torch.log1p(out.heights.exp())
        return (
            h @ decoder.words.weight.T @ kept
            + q @ (LEAST * z + out.slopes.T @ bends)
            + decoder.words.bias
        )
    return h @ decoder.words.weight.T + decoder.words.bias


def nll_by_hand(model, batch, z, fed=None):
    """-log p(x|z) [B] of z [B, D].

    `fed` [B, T] are the decoder's input words, by default the true ones.
    """
    total = []
    for i, length in enumerate(batch.lengths.tolist()):
        words = batch.tokens[i, :length]
        before = torch.cat([torch.tensor([BOS]), words[:-1]]) if fed is None else fed[i, :length]
        chosen = torch.log_softmax(logits_by_hand(model.decoder, before, z[i]), 1)[
            torch.arange(length), words
        ]
        total.append(-chosen.sum())
    return torch.stack(total)


def assert_near(ours, reference, tolerance=1e-9):
    torch.testing.assert_close(ours, reference, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- every output layer


@pytest.mark.parametrize("output", OUTPUTS)
@properties
@given(
    some_lengths,
    seeds,
    st.integers(1, 4),
    st.sampled_from([1e-3, 1.0, 30.0]),
    st.sampled_from([1e-3, 1.0, 30.0]),
)
def test_nll_of_one_and_many_codes_matches_formula(output, lengths, seed, n, size, far):
    model, batch = randomise_output(make_model(output, seed), size), text(lengths, seed)
    z = far * torch.randn(n, len(lengths), 2, dtype=torch.float64)
    with torch.no_grad():
        reference = torch.stack([nll_by_hand(model, batch, one) for one in z])
        assert_near(torch.stack([model.nll(batch, one) for one in z]), reference)
        assert_near(model.nll(batch, z), reference)
    assert_near(model.nll(batch, z).detach(), reference)  # with gradients: one code after the other


@pytest.mark.parametrize("output", OUTPUTS)
def test_gradients_match_formula(output):
    model, batch = randomise_output(make_model(output)), text([5, 3, 3, 1])
    z = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    wanted = [z, *model.decoder.parameters()]
    ours = torch.autograd.grad(model.nll(batch, z).sum(), wanted)
    for mine, theirs in zip(
        ours, torch.autograd.grad(nll_by_hand(model, batch, z).sum(), wanted), strict=True
    ):
        assert_near(mine, theirs)
    many = torch.autograd.grad(model.nll(batch, z.expand(3, -1, -1)).sum(), wanted)
    for mine, theirs in zip(many, ours, strict=True):
        assert_near(mine, 3 * theirs)


@pytest.mark.parametrize("size", [0.1, 30.0])
@pytest.mark.parametrize("output", OUTPUTS)
def test_single_precision_suffices_for_many_codes(output, size):
    model = randomise_output(
        make_model(output, 1, 300, embedding=16, hidden=32, latent=8), size
    ).float()
    batch, z = text(np.random.default_rng(0).integers(1, 30, 20), 0, 300), 2 * torch.randn(7, 20, 8)
    with torch.no_grad():
        single = model.nll(batch, z)
        assert_near(single.double(), model.double().nll(batch, z.double()), 5e-5)


@pytest.mark.parametrize("init", [None, 0.01, 3.0])
@pytest.mark.parametrize("output", OUTPUTS)
def test_shared_components_start_from_plain_weights(output, init):
    plain, after_plain = make_model("plain", 5, init=init).state_dict(), torch.rand(3)
    ours, after_ours = make_model(output, 5, init=init).state_dict(), torch.rand(3)
    assert all(torch.equal(weight, ours[name]) for name, weight in plain.items())
    assert torch.equal(after_plain, after_ours)


@pytest.mark.parametrize("output", OUTPUTS)
def test_components_hold_every_parameter_exactly_once(output):
    linear = LinearConfig(latent=2).build(5, Gaussian, Options(output=OUTPUTS[output]))
    for model in (make_model(output), linear):
        held = [p for part in model.parts().values() for p in part]
        assert len(held) == len({id(p) for p in held}) == len(list(model.parameters()))


@pytest.mark.parametrize("output", OUTPUTS)
def test_linear_model_has_same_output_layers(output):
    torch.manual_seed(0)
    model = LinearConfig(latent=2).build(5, Gaussian, Options(output=OUTPUTS[output])).double()
    z, out = torch.randn(3, 4, 2).double(), model.output
    with torch.no_grad():
        for parameter in out.parameters():
            parameter.normal_()
        mean = z @ model.decoder.weight.T + model.decoder.bias
        if isinstance(out, Skip):
            mean = mean + z @ out.skip.T
        if isinstance(out, Lipschitz):
            own = z @ model.decoder.weight.T
            mean = mean - own @ out.frame @ out.frame.T + out.features(z) @ out.frame.T
        assert_near(out(model.decoder, z, out.features(z)), mean)


@pytest.mark.parametrize("output", OUTPUTS)
def test_importance_bound_lies_between_elbo_and_exact_log_likelihood(output):
    """With one latent dimension log p(x) is an integral over a line."""
    model, batch = randomise_output(make_model(output, latent=1)), text([6, 4, 2])
    grid = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    prior = -0.5 * (grid.square() + math.log(2 * math.pi))
    with torch.no_grad():
        joint = prior[:, None] - model.nll(batch, grid[:, None, None].expand(-1, 3, 1))
        exact = -(torch.logsumexp(joint, 0) + math.log(float(grid[1] - grid[0]))).numpy()
        weights = log_weights(
            partial(model.nll, batch), model.encode(batch), 20_000, torch.Generator().manual_seed(0)
        )
    few, many = importance_weighted(weights[:20]), importance_weighted(weights)
    assert (few["nelbo"] >= few["nll"]).all() and (many["nelbo"] > many["nll"] - 1e-12).all()
    error = np.sqrt((len(weights) / many["ess"] - 1) / len(weights))
    assert (np.abs(many["nll"] - exact) < 5 * error + 1e-6).all()
    assert (many["nelbo"] > exact - 5 * weights.std(0).numpy() / math.sqrt(len(weights))).all()


@properties
@given(seeds, st.sampled_from([1e-6, 1.0, 1e4]), st.integers(1, 5))
def test_scaled_features_give_same_outputs_within_unit_range(seed, far, width):
    rng = torch.Generator().manual_seed(seed)
    weight, h, features = (
        torch.randn(*shape, generator=rng).double()
        for shape in ((7, 3 + width), (4, 3), (4, width))
    )
    same, small = rescale_features(weight, far * features)
    assert_near(join_features(h, small) @ same.T, join_features(h, far * features) @ weight.T)
    assert small.abs().max() <= 1
    assert rescale_features(weight, None) == (weight, None)


# ---------------------------------------------------------------- word dropout


def test_words_but_not_start_symbol_are_dropped_at_given_rate():
    torch.manual_seed(0)
    tokens = torch.randint(4, VOCABULARY, (200, 101))
    tokens[:, 0] = BOS
    fed = drop_words(tokens, 0.3)
    assert fed[:, 0].eq(BOS).all()
    hidden = fed[:, 1:] == UNK
    assert torch.equal(fed[:, 1:][~hidden], tokens[:, 1:][~hidden])
    assert abs(hidden.double().mean() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / hidden.numel())
    assert torch.equal(drop_words(tokens, 0.0), tokens)
    assert drop_words(tokens, 1.0)[:, 1:].eq(UNK).all()


def test_word_dropout_hides_inputs_but_not_targets():
    model, batch = make_model(word_dropout=0.5).double().train(), text([7, 5, 5, 2])
    z = torch.randn(4, 2).double()
    before = nn.functional.pad(batch.tokens[:, :-1], (1, 0), value=BOS)
    torch.manual_seed(3)
    fed = drop_words(before, 0.5)
    torch.manual_seed(3)
    assert_near(model.nll(batch, z), nll_by_hand(model, batch, z, fed))
    assert EOS in batch.targets and UNK not in batch.targets and not torch.equal(fed, before)


def test_words_are_dropped_in_training_independently_per_code():
    model, batch = make_model(word_dropout=0.5), text([7, 5, 5, 2])
    z = torch.randn(4, 2).expand(3, -1, -1)
    with torch.no_grad():
        one, two, _ = model.train().nll(batch, z)
        assert (one != two).any()
        a, b, _ = model.eval().nll(batch, z)
        assert torch.equal(a, b) and torch.equal(
            model.nll(batch, z[0]), make_model().eval().nll(batch, z[0])
        )


def test_zero_dropout_draws_no_random_numbers():
    model, batch, z = make_model().train(), text([3, 2]), torch.zeros(2, 2)
    state = torch.get_rng_state()
    model.nll(batch, z)
    assert torch.equal(torch.get_rng_state(), state)


def test_zero_word_dropout_equals_plain_bit_for_bit(tmp_path: Path):
    run_here(tmp_path, "plain")
    run_here(tmp_path, "word_dropout", "word_dropout=0")
    plain, ours = folder_of(tmp_path, "plain"), folder_of(tmp_path, "word_dropout")
    assert rows(plain) == rows(ours)
    assert (plain / "model.safetensors").read_bytes() == (ours / "model.safetensors").read_bytes()


@pytest.mark.parametrize("value", ["1.1", "much", "-0.1", "nan"])
def test_invalid_word_dropout_is_refused(value):
    with pytest.raises(InputError, match=r"^word_dropout=.*: .*allowed is 0 <= word_dropout"):
        prepare(composed("head=word_dropout", f"word_dropout={value}", *SMALL), "word_dropout")


def test_linear_model_refuses_word_dropout():
    with pytest.raises(InputError, match=r"^word_dropout=0.4: the linear decoder reads no words"):
        prepare(composed("head=word_dropout", "model=linear", "data=gaussian"), "word_dropout")


def test_combination_has_both_remedies_and_their_knobs():
    both = composed("head=bn_mu_word_dropout", "gamma=0.9", "word_dropout=0.2")
    assert both.posterior == composed("head=bn_mu", "gamma=0.9").posterior
    assert both.decoder == composed("head=word_dropout", "word_dropout=0.2").decoder
    assert both.label not in (composed("head=bn_mu").label, composed("head=word_dropout").label)


# ---------------------------------------------------------------- skip


def test_skip_connection_starts_at_plain_loss_and_learns():
    batch, z = text([5, 3, 1]), torch.randn(3, 2)
    skip = make_model("skip", 4)
    loss = skip.nll(batch, z)
    assert_near(loss, make_model("plain", 4).nll(batch, z), 1e-6)
    loss.sum().backward()
    assert skip.decoder.output.skip.grad.abs().max() > 0


def test_skip_connection_reaches_every_word_without_recurrent_state():
    model, batch = randomise_output(make_model("skip")), text([4])
    with torch.no_grad():
        model.decoder.words.weight.zero_()
        logits = (
            model.decoder.words.bias
            + torch.tensor([1.5, -1.0]).double() @ model.decoder.output.skip.T
        )
        assert_near(
            model.nll(batch, torch.tensor([[1.5, -1.0]]).double()),
            -torch.log_softmax(logits, 0)[batch.targets].sum(0, True),
        )


# ---------------------------------------------------------------- inverse Lipschitz


def make_lipschitz_layer(seed, latent, outputs, least, size=1.0, bends=1.0):
    """A Lipschitz output layer and the linear layer it sits on, double precision, random weights of
    these sizes."""
    torch.manual_seed(seed)
    output, layer = Lipschitz(latent, outputs, least).double(), nn.Linear(4, outputs).double()
    output.frame = torch.linalg.qr(output.frame).Q  # orthonormal in double precision, too
    with torch.no_grad():
        layer.weight.normal_(0, size)
        for parameter in output.parameters():
            parameter.normal_(0, bends)
    return output, layer


@properties
@given(seeds, st.integers(1, 12), st.integers(0, 30))
def test_frame_is_orthonormal_and_ignores_constants(seed, latent, more):
    frame = make_orthonormal(latent + more, latent, torch.Generator().manual_seed(seed)).double()
    assert_near(frame.T @ frame, torch.eye(latent).double(), 1e-6)
    if more:
        assert_near(frame.sum(0), torch.zeros(latent).double(), 1e-5)


def test_frame_depends_on_seed_and_is_in_checkpoint():
    def frame(seed):
        torch.manual_seed(seed)
        torch.rand(seed + 3)  # the state of the global generator does not matter
        return Lipschitz(3, 9, 1.0).state_dict()["frame"]

    assert torch.equal(frame(1), frame(1)) and not torch.equal(frame(1), frame(2))


@properties
@given(seeds, st.integers(1, 6), st.integers(0, 9), scales)
def test_lstm_logits_are_orthogonal_to_frame(seed, latent, more, size):
    output, layer = make_lipschitz_layer(seed, latent, latent + more, 1.0, size)
    weight = output.weight(layer).detach()
    assert torch.equal(weight[:, 4:], output.frame)
    assert (output.frame.T @ weight[:, :4]).abs().max() < 1e-12 * size


@properties
@given(seeds, st.integers(1, 6), st.sampled_from([1e-3, 1.0, 1e3]), scales, scales)
def test_map_is_gradient_of_strongly_convex_potential(seed, latent, least, bends, far):
    output, _ = make_lipschitz_layer(seed, latent, 9, least, bends=bends)
    z = (far * torch.randn(latent).double()).requires_grad_()
    inner = output.slopes @ z + output.shifts
    log_cosh = inner.abs() + torch.log1p(torch.exp(-2 * inner.abs())) - math.log(2)
    potential = (
        0.5 * least * z.square().sum() + (nn.functional.softplus(output.heights) * log_cosh).sum()
    )
    (slope,) = torch.autograd.grad(potential, z)
    assert_near(output.features(z), slope, 1e-8)
    jacobian = torch.autograd.functional.jacobian(output.features, z)
    largest = float(jacobian.abs().max())
    assert_near(jacobian, jacobian.T, 1e-10 * largest)
    assert torch.linalg.eigvalsh(jacobian).min() >= least - 1e-10 * largest


@properties
@given(
    seeds,
    st.integers(1, 6),
    st.integers(1, 9),
    st.sampled_from([1e-3, 1.0, 1e3]),
    scales,
    scales,
    scales,
)
def test_logits_and_log_probabilities_keep_promised_distance(
    seed, latent, more, least, size, bends, far
):
    output, layer = make_lipschitz_layer(seed, latent, latent + more, least, size, bends)
    z, other = far * torch.randn(2, 50, latent).double()
    h, other_h = 2 * torch.rand(2, 50, 4).double() - 1
    with torch.no_grad():
        one, two = (
            output(layer, h, output.features(z)),
            output(layer, other_h, output.features(other)),
        )
        promised = least * (z - other).norm(dim=1)
        between = (output.features(z) - output.features(other)).norm(dim=1)
        tiny = 1e-12 * (one.abs().max() + two.abs().max())  # allowance for rounding
        assert (between >= promised - tiny).all()
        assert ((one - two).norm(dim=1) >= between - tiny).all()
        assert ((one.log_softmax(1) - two.log_softmax(1)).norm(dim=1) >= promised - tiny).all()


@pytest.mark.parametrize("init", [None, 0.01, 3.0])
@pytest.mark.parametrize("far", [1e-2, 1.0, 1e2])
def test_decoder_separates_codes_at_every_word_for_any_weights(init, far, monkeypatch):
    """In the model as it is used, in single precision.

    The logits are caught on their way to the loss.
    """
    model, batch = make_model("lipschitz", 2, init=init), text([7, 5, 4, 1])
    caught = []

    def catch(seen, weight, bias, targets):
        caught.append(nn.functional.linear(seen, weight, bias))
        return word_losses(seen, weight, bias, targets)

    monkeypatch.setattr("uncollapse.models.lstm.word_losses", catch)
    z, other = far * torch.randn(2, 4, 2)
    with torch.no_grad():
        for code in (z, other):
            assert model.nll(batch, code).isfinite().all()
    promised = LEAST * (z - other).norm(dim=1)[batch.owner]
    one, two = caught
    assert ((one - two).norm(dim=1) >= 0.9999 * promised).all()
    assert ((one.log_softmax(1) - two.log_softmax(1)).norm(dim=1) >= 0.9999 * promised).all()


@pytest.mark.parametrize("far", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("bends", [0.0, 1.0, 1e4])
def test_gradients_are_finite_for_huge_codes_and_weights(bends, far):
    model, batch = make_model("lipschitz"), text([5, 2])
    with torch.no_grad():
        for parameter in model.decoder.output.parameters():
            parameter.normal_(0, bends)
    loss = model.nll(batch, far * torch.randn(2, 2)).sum()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.decoder.parameters())


@pytest.mark.parametrize("value", ["0", "-1", "inf", "much"])
def test_invalid_lipschitz_constant_is_refused(value):
    with pytest.raises(InputError, match=r"^inverse_lipschitz="):
        prepare(composed("head=lipschitz", f"inverse_lipschitz={value}", *SMALL), "lipschitz")


def test_too_many_latent_dimensions_are_refused():
    with pytest.raises(
        InputError, match=r"^inverse_lipschitz=5: .* 6 outputs at a time for 7 dimensions"
    ):
        prepare(
            composed("head=lipschitz", "model=linear", "data=gaussian", "model.latent=7"),
            "lipschitz",
        )


@pytest.mark.parametrize("least", [1.0, 2.0])
@pytest.mark.slow
def test_linear_model_keeps_all_dimensions_where_plain_loses_two(
    least: float, tmp_path: Path
) -> None:
    """With decoder slopes of at least L and variance 1, the optimal q has v <= 1 / (1 + L^2).

    So KL_j >= (v - 1 - ln v) / 2. Plain loses the two axes whose eigenvalues, 0.7 and 0.3, are
    below the decoder variance (tests/test_linear.py).
    """
    overrides = [
        "experiment=linear",
        f"inverse_lipschitz={least}",
        "trainer.epochs=150",
        "trainer.decay_from_epoch=100",
    ]
    cfg = composed("head=lipschitz", f"results={tmp_path}", *overrides)
    from uncollapse.run import run

    run(cfg, "lipschitz", overrides)
    test = next(
        row for row in rows(folder_of(tmp_path, "lipschitz", "linear")) if row["split"] == "test"
    )
    v = 1 / (1 + least**2)
    assert min(test["kl_per_dim"]) > 0.5 * (v - 1 - math.log(v))


# ---------------------------------------------------------------- precision


def layer_and_code(output):
    torch.manual_seed(0)
    layer, made = nn.Linear(5, 11), output(3, 11)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made, layer, torch.randn(4, 5), torch.randn(4, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("output", [Plain, Skip, partial(Lipschitz, inverse_lipschitz=2.0)])
def test_output_layers_work_under_autocast_and_low_precision(output, dtype):
    made, layer, h, z = layer_and_code(output)
    exact = made(layer, h, made.features(z))
    with torch.autocast("cpu", dtype=dtype):
        cast = made(layer, h, made.features(z))
    narrow = made.to(dtype)(layer.to(dtype), h.to(dtype), made.features(z.to(dtype)))
    for found in (cast, narrow):
        assert found.dtype == dtype
        assert_near(found.float().detach(), exact.detach(), 0.1)
    narrow.sum().backward()
    assert layer.weight.grad.isfinite().all()


def test_lipschitz_bound_holds_under_autocast():
    made, layer, _, z = layer_and_code(partial(Lipschitz, inverse_lipschitz=2.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = made.weight(layer), made.features(z)
    assert all(
        a.equal(b) for a, b in zip(cast, (made.weight(layer), made.features(z)), strict=True)
    )
