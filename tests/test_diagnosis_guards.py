"""Guards of `diagnose` against silently wrong results.

Modes, order, precision, batches of pairs, and callables that return something else.
"""

import copy
import functools
import math
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_diagnosis import MLP, linear_gaussian, same, toy
from test_precision import KNOBS
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from uncollapse import diagnose, posteriors
from uncollapse.diagnosis.doubts import doubt_beaten_entropy
from uncollapse.diagnosis.facts import BatchFacts
from uncollapse.diagnosis.modes import evaluation_mode, find_modules
from uncollapse.distributions import moments
from uncollapse.errors import InputError


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def diagnose_quietly(*args: Any, **kwargs: Any) -> dict:
    """A diagnosis that has nothing to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = diagnose(*args, **kwargs)
    assert found["warnings"] == []
    return found


def diagnose_with_warnings(*args: Any, **kwargs: Any) -> tuple[dict, list[str]]:
    """A diagnosis and its warnings, of which it keeps the same list."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = diagnose(*args, **kwargs)
    said = [str(w.message) for w in caught]
    assert found["warnings"] == said and all("\n" not in text for text in said)
    return found, said


# ---------------------------------------------------------------- precision


def narrow_pair(dtype: torch.dtype) -> tuple[Any, Any, float]:
    """A nearly collapsed encoder with outputs of this dtype, a decoder, and the outputs' KL."""
    g = torch.Generator().manual_seed(0)
    mean, log_var = (
        0.05 * torch.randn(64, 4, generator=g),
        0.05 * torch.randn(64, 4, generator=g) - 0.02,
    )
    pair = mean.to(dtype), log_var.to(dtype)
    m, v = (part.double() for part in pair)
    return (
        pair,
        lambda x, z: (x[:, :4] - z).square().sum(-1) + 20,
        float((0.5 * (m * m + v.exp() - v - 1)).sum(1).mean()),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_encoder_reports_kl_and_rounding_size(
    dtype: torch.dtype,
) -> None:
    pair, nll, kl = narrow_pair(dtype)
    x = torch.rand(64, 6)
    found, (said,) = diagnose_with_warnings(
        lambda x: [part[: len(x)] for part in pair], nll, [x], samples=5
    )
    assert found["kl"] == pytest.approx(kl, rel=1e-4) and kl < 0.02
    assert all(value >= 0 for value in found["kl_per_dim"])
    assert said.startswith(f"encode: returns {str(dtype)[6:]}; kl (")
    limit = float(said.split("up to ")[1].split()[0])
    m, v = (part.double() for part in pair)
    expected = (
        torch.finfo(dtype).eps
        / 2
        * float((m.square() + 0.5 * torch.expm1(v).abs() * v.abs()).sum(1).mean())
    )
    assert limit == pytest.approx(expected, rel=0.5) and "float32" in said

    def normal(x: Tensor) -> Normal:
        mean, log_var = (part[: len(x)] for part in pair)
        return Normal(mean, torch.exp(0.5 * log_var.float()).to(dtype))

    given, _ = diagnose_with_warnings(normal, nll, [x], samples=5)
    assert given["kl"] == pytest.approx(kl, abs=0.02)


def test_decoder_gets_float32_codes_or_its_own_dtype() -> None:
    pair, _, _ = narrow_pair(torch.bfloat16)
    wide, narrow = nn.Linear(4, 6), nn.Linear(4, 6).to(torch.bfloat16)
    dtypes: list[torch.dtype] = []

    def nll(layer: nn.Linear, x: Tensor, z: Tensor) -> Tensor:
        found = layer(z)
        dtypes.append(z.dtype)
        return (x - found.float()).square().sum(-1)

    for layer in (wide, narrow):
        diagnose_with_warnings(
            lambda x: pair, functools.partial(nll, layer), [torch.rand(64, 6)], samples=5
        )
        assert set(dtypes) == {layer.weight.dtype}
        dtypes.clear()


def test_low_precision_nll_is_summed_in_float32() -> None:
    encode, nll, x, _ = linear_gaussian()
    exact = diagnose_quietly(encode, nll, x, samples=20)
    found, (said,) = diagnose_with_warnings(
        encode, lambda x, z: nll(x, z).to(torch.bfloat16), x, samples=20
    )
    assert found["nll"] == pytest.approx(exact["nll"], abs=0.02)
    assert said.startswith("nll: returns bfloat16, which rounds each value by up to 0.0")


def test_low_precision_posterior_is_reported() -> None:
    encode, nll, x, _ = linear_gaussian()

    def narrow(x: Tensor) -> Any:
        q = posteriors.DiagonalGaussian.from_log_var(*encode(x))
        kl = q.kl.to(torch.bfloat16)
        return SimpleNamespace(
            mean=q.mean, variance=q.variance, kl=kl, sample=q.sample, log_ratio=q.log_ratio
        )

    _, (said,) = diagnose_with_warnings(narrow, nll, x, samples=5)
    assert said.startswith(
        "encode: its posterior computes kl in bfloat16, which can shift it by 0.0"
    )


def test_autocast_does_not_change_diagnosis() -> None:
    encode, nll, x, _ = linear_gaussian()
    plain = diagnose_quietly(encode, nll, x, samples=20)

    def off(function: Any) -> Any:
        def run(*args: Any) -> Any:
            with torch.autocast("cpu", enabled=False):
                return function(*args)

        return run

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same(plain, diagnose(off(encode), off(nll), x, samples=20))


# ---------------------------------------------------------------- every posterior


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", KNOBS)
def test_every_package_posterior_can_be_diagnosed(name: str, training: bool) -> None:
    torch.manual_seed(0)
    x, _ = toy(60)
    head, decoder = getattr(posteriors, name)(24, 4, **KNOBS[name]), nn.Linear(4, 24)
    with torch.no_grad(), moments.population(head.train()):
        head(x)
    nll = functools.partial(
        lambda decoder, x, z: -Bernoulli(logits=decoder(z)).log_prob(x).sum(-1), decoder
    )
    before = copy.deepcopy(head.state_dict())
    head.train(training)
    found, said = diagnose_with_warnings(head, nll, x, samples=30)
    assert found["nll"] < 30 and abs(found["nelbo"] - found["rec"] - found["kl"]) < 1e-4
    assert all(a.equal(b) for a, b in zip(before.values(), head.state_dict().values(), strict=True))
    assert (
        head.training == training
        and all(("training mode" in text) for text in said)
        and len(said) <= training
    )


# ---------------------------------------------------------------- modes


class BatchNormVAE(nn.Module):
    """Batch norm and dropout in the encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(24, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.5))
        self.head, self.decoder = nn.Linear(16, 8), nn.Linear(4, 24)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.head(self.body(x)).chunk(2, -1)
        return mean, log_var

    def nll(self, x: Tensor, z: Tensor) -> Tensor:
        return -Bernoulli(logits=self.decoder(z)).log_prob(x).sum(-1)


class Encoder(nn.Module):
    """A model that encodes when called."""

    def __init__(self, model: BatchNormVAE):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.encode(x)


GLOBAL: Any = None  # set by the test


def from_global(x: Tensor) -> Any:
    return GLOBAL.encode(x)


def ways_to_pass_encoder(model: BatchNormVAE) -> dict[str, Any]:
    """The ways in which people hand over an encoder."""
    holder, table = SimpleNamespace(parts={"vae": model}), {"vae": [model]}

    class Wrapper:
        def __init__(self, inner: Any):
            self.inner = inner

        def __call__(self, x: Tensor) -> Any:
            return self.inner.encode(x)

        def encode(self, x: Tensor) -> Any:
            return self.inner.encode(x)

    def with_default(x: Tensor, m: Any = model) -> Any:
        return m.encode(x)

    def nested(x: Tensor) -> Any:
        return (lambda y: model.encode(y))(x)

    return {
        "bound method": model.encode,
        "lambda": lambda x: model.encode(x),
        "module": Encoder(model),
        "partial": functools.partial(BatchNormVAE.encode, model),
        "partial of a lambda": functools.partial(lambda m, x: m.encode(x), model),
        "default": with_default,
        "inner function": nested,
        "attribute of an object": lambda x: holder.parts["vae"].encode(x),
        "dictionary": lambda x: table["vae"][0].encode(x),
        "callable object": Wrapper(model),
        "method of an object": Wrapper(model).encode,
        "global": from_global,
        "function around a function": lambda x: with_default(x),
        "part of it": lambda x: model.head(model.body(x)).chunk(2, -1),
    }


@pytest.mark.parametrize("way", ways_to_pass_encoder(BatchNormVAE()))
def test_training_mode_is_switched_off_and_restored(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    x, _ = toy(90)
    model = BatchNormVAE()
    for _ in range(20):
        model.body(x)  # its own statistics
    monkeypatch.setitem(globals(), "GLOBAL", model)
    encode, nll = ways_to_pass_encoder(model)[way], model.nll
    model.eval()
    truth = diagnose_quietly(encode, nll, x, samples=5)
    model.train()
    model.head.eval()  # each module returns to its own mode
    flags, state = [m.training for m in model.modules()], copy.deepcopy(model.state_dict())
    found, (said,) = diagnose_with_warnings(encode, nll, x, samples=5)
    found.pop("warnings"), truth.pop("warnings")
    assert found == truth and "in training mode; evaluated in evaluation mode" in said
    assert flags == [m.training for m in model.modules()]
    assert all(a.equal(b) for a, b in zip(state.values(), model.state_dict().values(), strict=True))


def test_modes_are_restored_when_user_code_fails() -> None:
    model = BatchNormVAE()

    def encode(x: Tensor) -> Any:
        model.encode(x)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), pytest.warns(UserWarning, match="in training mode"):
        diagnose(encode, model.nll, toy(20)[0])
    assert all(m.training for m in model.modules())


def test_model_without_dropout_or_batch_norm_gets_no_mode_warning() -> None:
    model, (x, _) = MLP(), toy(60)
    diagnose_quietly(model.encode, model.nll, x, samples=5)
    assert model.training


def test_modules_are_found_once_without_children() -> None:
    model = BatchNormVAE()
    assert find_modules(model.encode, lambda x: model.body(x), model.body) == [model]
    assert find_modules(len, np.sum, torch.relu, print, 3, None) == []
    with evaluation_mode([model]) as names:
        assert names == ["BatchNormVAE"] and not model.body[3].training
    assert model.body[3].training


def test_hidden_dropout_is_detected() -> None:
    (x, _), model = toy(90), MLP()

    def dropped(x: Tensor) -> Any:
        mean, log_var = model.encode(nn.functional.dropout(x, 0.3))
        return mean, log_var

    _, (said,) = diagnose_with_warnings(dropped, model.nll, x, samples=5)
    assert (
        said.startswith("encode: returns different values for the same input") and "dropout" in said
    )
    _, (said,) = diagnose_with_warnings(
        model.encode, lambda x, z: model.nll(x, nn.functional.dropout(z, 0.3)), x, samples=5
    )
    assert said.startswith("nll: returns different values for the same input")


def test_hidden_batch_statistics_are_detected() -> None:
    (x, _), model = toy(90), MLP()
    _, (said,) = diagnose_with_warnings(
        lambda x: model.encode((x - x.mean(0)) / (x.std(0) + 0.1)), model.nll, x, samples=5
    )
    assert said.startswith(
        "encode: returns different values for the same examples in a smaller batch: batch stat"
    )
    norm = nn.BatchNorm1d(24, track_running_stats=False).eval()
    _, (said,) = diagnose_with_warnings(lambda x: model.encode(norm(x)), model.nll, x, samples=5)
    assert "in a smaller batch: batch statistics" in said


SPOILT = {
    "divided by the batch": (lambda nll: nll / len(nll), "in a smaller batch"),
    "sum of the batch": (lambda nll: nll.sum() + 0 * nll, "exactly the same number"),
    "mean of the batch": (lambda nll: nll.mean().expand(len(nll)), "exactly the same number"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT)
def test_nll_that_mixes_examples_is_detected(spoil: Any, words: str) -> None:
    (x, _), model = toy(40), MLP()
    _, said = diagnose_with_warnings(
        model.encode, lambda x, z: spoil(model.nll(x, z)), x, samples=5
    )
    assert said[0].startswith("nll: ") and words in said[0] and "averages over the batch" in said[0]


def test_untrained_batch_norm_is_reported() -> None:
    (x, _), model = toy(60), BatchNormVAE().eval()
    _, (said,) = diagnose_with_warnings(model.encode, model.nll, x, samples=5)
    assert said.startswith("body.1: the batch statistics") and "0 and 1" in said
    head, decoder = posteriors.RMSNormTau(24, 4, tau=0.5).eval(), nn.Linear(4, 24)
    _, (said,) = diagnose_with_warnings(
        head, lambda x, z: -Bernoulli(logits=decoder(z)).log_prob(x).sum(-1), x, samples=5
    )
    assert said.startswith("mu_moments: the batch statistics")


# ---------------------------------------------------------------- order


class Stream(IterableDataset):
    def __init__(self, x: Tensor):
        self.x = x

    def __iter__(self) -> Any:
        return iter(self.x)


class CustomLoader:
    """Batches in an order of its own."""

    def __init__(self, x: Tensor):
        self.x = x

    def __iter__(self) -> Any:
        return iter(self.x.split(20))


X, KIND = toy(80)
SET = list(X)  # a data set of single tensors, whose batches are tensors
ORDERED = {
    "tensor": X,
    "array": X.numpy(),
    "list": list(X.split(20)),
    "tuple": X.split(20),
    "loader": DataLoader(SET, batch_size=20),
    "loader with a collate_fn": DataLoader(
        TensorDataset(X, KIND),
        batch_size=20,
        collate_fn=lambda rows: torch.stack([x for x, _ in rows]),
    ),
    "loader with the usual samplers": DataLoader(
        SET, batch_sampler=BatchSampler(SequentialSampler(SET), 20, False)
    ),
    "loader without batching": DataLoader(list(X.split(20)), batch_size=None),
}
UNORDERED = {
    "DataLoader that shuffles": DataLoader(SET, batch_size=20, shuffle=True),
    "RandomSampler": DataLoader(SET, batch_size=20, sampler=RandomSampler(SET)),
    "WeightedRandomSampler": DataLoader(
        SET, batch_size=20, sampler=WeightedRandomSampler([1.0] * 80, 80)
    ),
    "SubsetRandomSampler": DataLoader(SET, batch_size=20, sampler=SubsetRandomSampler(range(80))),
    "sampler of one's own": DataLoader(SET, batch_size=20, sampler=list(range(79, -1, -1))),
    "batch_sampler": DataLoader(SET, batch_sampler=[list(range(40)), list(range(40, 80))]),
    "RandomSampler in batches": DataLoader(
        SET, batch_sampler=BatchSampler(RandomSampler(SET), 20, False)
    ),
    "IterableDataset": DataLoader(Stream(X), batch_size=20),
    "shuffled without batching": DataLoader(list(X.split(20)), batch_size=None, shuffle=True),
    "generator": (batch for batch in X.split(20)),
    "iterator": iter(X.split(20)),
    "map": map(torch.clone, X.split(20)),
    "walker": CustomLoader(X),
}


def patterns(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[:, :8], torch.full((len(x), 8), -4.0)


@pytest.mark.parametrize("data", ORDERED.values(), ids=ORDERED)
def test_labels_match_examples_when_order_is_known(data: Any) -> None:
    found = diagnose(
        patterns, lambda x, z: (x[:, :8] - z).square().sum(-1), data, labels=KIND, samples=2
    )
    assert found["probe"] > 0.8


@pytest.mark.parametrize("data", UNORDERED.values(), ids=UNORDERED)
def test_labels_and_log_prob_are_refused_when_order_is_unknown(data: Any) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError

    for name, values in (("labels", KIND), ("log_prob", -torch.ones(80))):
        with pytest.raises(
            InputError, match=f"^{name}: cannot be matched to the examples, because data is a "
        ):
            diagnose(never, never, data, **{name: values})


def test_any_order_is_accepted_without_labels() -> None:
    model = MLP()
    diagnose_quietly(
        model.encode, model.nll, DataLoader(SET, batch_size=20, shuffle=True), samples=2
    )


# ---------------------------------------------------------------- batches of several tensors


def pairs() -> DataLoader:
    return DataLoader(TensorDataset(X, KIND), batch_size=20)


def test_loader_of_pairs_error_suggests_working_fixes() -> None:
    model = MLP().eval()
    with pytest.raises(InputError) as caught:
        diagnose(model.encode, model.nll, pairs(), samples=2)
    text = str(caught.value)
    assert (
        "each batch is a list of 2 (float32 [20, 24], int64 [20]), and encode failed" in text
        and "\n" not in text
    )
    assert (
        "(x for x, _ in loader)" in text and "encode=lambda batch: model.encode(batch[0])" in text
    )
    assert (
        isinstance(caught.value.__cause__, TypeError)
        and caught.value.__cause__.__traceback__ is not None
    )
    a = diagnose_quietly(model.encode, model.nll, (x for x, _ in pairs()), samples=2)
    b = diagnose_quietly(
        lambda batch: model.encode(batch[0]),
        lambda batch, z: model.nll(batch[0], z),
        pairs(),
        samples=2,
    )
    assert a == b
    with pytest.raises(InputError, match=r"and nll failed on one \(\w+: "):
        diagnose(lambda batch: model.encode(batch[0]), model.nll, pairs(), samples=2)


def test_loader_of_dicts_or_single_tensors_is_explained() -> None:
    model = MLP().eval()
    dicts = DataLoader(
        [{"image": x, "label": k} for x, k in zip(X, KIND, strict=True)], batch_size=20
    )
    with pytest.raises(
        InputError,
        match=r"a dict of 2 \(image: float32 \[20, 24\], label: int64 \[20\]\).*batch\['image'\]",
    ):
        diagnose(model.encode, model.nll, dicts)
    with pytest.raises(InputError, match=r"a list of 1 \(float32 \[20, 24\]\)"):
        diagnose(model.encode, model.nll, DataLoader(TensorDataset(X), batch_size=20))


def test_other_user_errors_are_not_rewritten() -> None:
    def broken(x: Any) -> Any:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        diagnose(broken, broken, X)
    with pytest.raises(ZeroDivisionError):
        diagnose(lambda batch: 1 / 0, broken, pairs())


# ---------------------------------------------------------------- impossible numbers


def bernoulli() -> tuple[Any, Any, Tensor]:
    """64 noisy bits of one of 16 patterns, an encoder that detects the pattern, and its decoder."""
    g = torch.Generator().manual_seed(1)
    means, rows = 1.5 * torch.randn(16, 4, generator=g), 0.7 * torch.randn(4, 64, generator=g)
    kind = torch.randint(16, (300,), generator=g)
    x = torch.bernoulli(torch.sigmoid(means[kind] @ rows), generator=g)

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        fit = -nn.functional.binary_cross_entropy_with_logits(
            (means @ rows).expand(len(x), 16, 64), x[:, None].expand(-1, 16, 64), reduction="none"
        ).sum(-1)
        return fit.softmax(1) @ means, torch.full((len(x), 4), -2.0)

    def nll(x: Tensor, z: Tensor) -> Tensor:
        return -Bernoulli(logits=z @ rows).log_prob(x).sum(-1)

    return encode, nll, x


def test_healthy_models_get_no_warning() -> None:
    encode, nll, x, log_prob = linear_gaussian()
    found = diagnose_quietly(encode, nll, x, samples=200, log_prob=log_prob)
    assert found["nll"] == pytest.approx(-float(log_prob.mean()), abs=1e-4) and found[
        "nll_ess"
    ] == pytest.approx(200, rel=1e-3)
    encode, nll, x = bernoulli()
    found = diagnose_quietly(encode, nll, x, samples=200)
    assert found["mi"] > 2 and found["rec"] > 1
    model = MLP()  # untrained
    diagnose_quietly(model.encode, model.nll, X, samples=100)
    nothing = torch.zeros(len(X), 3)
    diagnose_quietly(
        lambda x: (nothing[: len(x)], nothing[: len(x)]),
        lambda x, z: nll_of_bits(x),
        X,
        samples=100,
    )


def nll_of_bits(x: Tensor) -> Tensor:
    p = X.mean(0).clamp(0.01, 0.99)
    return -(x * p.log() + (1 - x) * (1 - p).log()).sum(-1)


@pytest.mark.parametrize(
    "spread", [lambda v: v.exp(), lambda v: (0.5 * v).exp()], ids=["variance", "sigma"]
)
def test_sigma_passed_as_log_var_is_reported(spread: Any) -> None:
    encode, nll, x, _ = linear_gaussian()
    _, said = diagnose_with_warnings(
        lambda x: (encode(x)[0], spread(encode(x)[1])), nll, x, samples=100
    )
    assert (
        said[0].startswith("encode: its second tensor is positive throughout")
        and "ln sigma²" in said[0]
    )


def test_mean_instead_of_sum_is_reported() -> None:
    encode, nll, x = bernoulli()
    _, said = diagnose_with_warnings(encode, lambda x, z: nll(x, z) / 64, x, samples=100)
    assert any(
        text.startswith("nll: x costs ") and "averaged over pixels or words" in text
        for text in said
    )
    encode, nll, x, log_prob = linear_gaussian()
    _, said = diagnose_with_warnings(
        encode, lambda x, z: nll(x, z) / 3, x, samples=100, log_prob=log_prob
    )
    assert any("below the exact -log p" in text and "averaged" in text for text in said)


def test_average_of_a_collapsed_model_is_reported() -> None:
    """No code contradicts it, but fewer nats than distinct examples need."""
    nothing = torch.zeros(len(X), 3)

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        return nothing[: len(x)], nothing[: len(x)]

    _, said = diagnose_with_warnings(encode, lambda x, z: nll_of_bits(x) / 64, X, samples=10)
    (text,) = [text for text in said if text.startswith("nll is ")]
    assert f"gives {len(X)} such examples" in text and "averaged over pixels or words" in text


def test_memorised_examples_are_not_doubted() -> None:
    """A model that gives each distinct example its share reaches the bound and no warning."""
    x = torch.arange(40).remainder(10)[:, None] * torch.tensor([[1, 0, 1]])
    padded = torch.cat([x, x[:, -1:].expand(-1, 4)], 1)
    facts = BatchFacts()
    facts.note_data([x], is_single=True)
    facts.note_data([padded], is_single=True)  # the same examples in a longer batch
    assert len(facts.counts) == 10 and facts.counts.total() == 80
    assert facts.empirical_entropy() == pytest.approx(math.log(10))
    reached = np.full(80, math.log(10))
    assert doubt_beaten_entropy(reached, facts) == []
    assert doubt_beaten_entropy(reached - 0.1, facts)
    facts.note_data([x, x], is_single=False)  # pairs: nll may be that of one given the other
    assert doubt_beaten_entropy(reached - 0.1, facts) == []


def test_missing_minus_sign_is_reported() -> None:
    encode, nll, x = bernoulli()
    found, (said,) = diagnose_with_warnings(encode, lambda x, z: -nll(x, z), x, samples=100)
    assert "-log p of integers is never negative" in said
    assert "or nll returns log p in place of -log p" in found["verdict"]
    _, said = diagnose_with_warnings(encode, nll, x, samples=10, log_prob=20 * torch.ones(300))
    assert any(text.startswith("log_prob: 20 for an example of integers") for text in said)


def test_posterior_with_wrong_kl_is_reported() -> None:
    encode, nll, x, _ = linear_gaussian()

    def posterior(kl: float) -> Any:
        def made(x: Tensor) -> Any:
            q = posteriors.DiagonalGaussian.from_log_var(*encode(x))
            return SimpleNamespace(
                mean=q.mean,
                variance=q.variance,
                kl=q.kl * 0 + kl,
                sample=q.sample,
                log_ratio=q.log_ratio,
            )

        return made

    _, said = diagnose_with_warnings(posterior(-1.0), nll, x, samples=10)
    assert said[0].startswith("encode: its posteriors have a kl of -2 nats, and no KL is negative")
    _, said = diagnose_with_warnings(posterior(0.0), nll, x, samples=10)
    assert said[0].startswith("nelbo is ") and "below nll, which is impossible" in said[0]


def test_few_effective_codes_warning_names_the_argument() -> None:
    encode, nll, x, _ = linear_gaussian()

    def narrow(x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = encode(x)
        return mean + 3, log_var

    _, (said,) = diagnose_with_warnings(narrow, nll, x, samples=100)
    assert said.startswith("nll_ess is ") and "encode's second tensor is not ln sigma²" in said
    assert math.isfinite(float(said.split()[2]))


def test_page_shows_warnings(tmp_path: Any) -> None:
    encode, nll, x, _ = linear_gaussian()
    _, (said, *_) = diagnose_with_warnings(
        lambda x: (encode(x)[0], encode(x)[1].exp()), nll, x, samples=5, page=tmp_path
    )
    assert said[:40] in (tmp_path / "index.html").read_text()
    diagnose_quietly(encode, nll, x, samples=5, page=tmp_path)
    assert "Doubtful" not in (tmp_path / "index.html").read_text()


class Slots:
    __slots__ = ("net",)

    def __init__(self, net: nn.Module):
        self.net = net

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(x)


def nested(net: nn.Module, depth: int) -> Any:
    return net if depth == 0 else (lambda inner: lambda x: inner(x))(nested(net, depth - 1))


class HiddenModules(nn.Module):
    """Keeps its network where `modules()` does not look."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.parts = [net]

    def forward(self, x: Tensor) -> Tensor:
        return self.parts[0](x)


HIDING = {
    "slots": Slots,
    "a deep closure": lambda net: nested(net, 12),
    "a plain list of a module": lambda net: HiddenModules(net).eval(),
    "a large dict": lambda net: functools.partial(
        lambda d, x: d[150](x), dict.fromkeys(range(200), net)
    ),
    "a global by name": lambda net: (
        globals().__setitem__("hidden_net", net),
        lambda x: globals()["hidden_net"](x),
    )[1],
}


@pytest.mark.parametrize("hide", HIDING)
def test_hidden_modules_switch_mode_when_called(hide: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    x = torch.randn(256, 4)
    with torch.no_grad():
        net(3 * x + 1)  # running averages of different data
    net.train()
    before = copy.deepcopy(net.state_dict())
    call = HIDING[hide](net)

    def nll(x: Tensor, z: Tensor) -> Tensor:
        return (x[:, :2] - z).square().sum(-1) + 20

    found, said = diagnose_with_warnings(lambda x: call(x).chunk(2, -1), nll, x, samples=5)
    assert net.training and all(
        torch.equal(net.state_dict()[key], value) for key, value in before.items()
    )
    assert any("in training mode" in text for text in said)
    net.eval()
    expected = diagnose_quietly(lambda x: net(x).chunk(2, -1), nll, x, samples=5)
    assert found["kl"] == pytest.approx(expected["kl"], rel=1e-6)
