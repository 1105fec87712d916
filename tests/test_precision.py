"""Heads and metrics in bfloat16, float16 and float64, compared with float32."""

import copy
import math
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uncollapse import posteriors
from uncollapse.config import heads
from uncollapse.contract import KINDS, RUN, Case, make_one_step, make_silent_trainer
from uncollapse.distributions.moments import Moments, NotFinite, population
from uncollapse.errors import InputError
from uncollapse.metrics.likelihood import importance_weighted, log_weights
from uncollapse.metrics.one_pass import collect, evaluate, recompute_population, statistics
from uncollapse.objectives.elbo import ELBO
from uncollapse.objectives.mmd import InfoVAE
from uncollapse.posteriors import BatchNormMu, BatchNormTau, DiagonalGaussian, Gaussian, RMSNormTau
from uncollapse.procedures.semi_amortized import SemiAmortized

HIDDEN, LATENT, BATCH = 8, 6, 12
KNOBS: dict[str, dict[str, Any]] = {
    "BatchNormMu": {"gamma": 0.6},
    "BatchNormTau": {"tau": 0.5},
    "RMSNormTau": {"tau": 0.5},
    "LayerNormMu": {"gamma": 0.6},
    "Delta": {"delta": 0.1},
    "DeltaAR1": {"delta": 0.1},
    "DU": {"gamma": 0.6, "alpha": 1.0, "dropout": 0.0},
    "InverseAutoregressiveFlow": {"depth": 2},
    "MixtureOfGaussians": {"components": 5},
    "Vamp": {"components": 5},
    "VonMisesFisher": {"kappa": 9.0},
    "Scale": {"std": 1.0},
    "Gaussian": {},
    "NoCode": {},
}
HEADS = [n for n in posteriors.__all__ if n not in ("DiagonalGaussian", "Posterior")]
bf16, f16, f32, f64 = torch.bfloat16, torch.float16, torch.float32, torch.float64
# use of a head: (dtype of its weights, of h, of autocast), and the dtypes of its KL and codes
USES = {
    "autocast to bfloat16": (f32, f32, bf16, f32, f32),
    "autocast to float16": (f32, f32, f16, f32, f32),
    "autocast, states rounded before": (f32, bf16, bf16, f32, f32),
    "autocast of a float64 head": (f64, f64, bf16, f64, f64),
    ".bfloat16()": (bf16, bf16, None, f32, bf16),
    ".half()": (f16, f16, None, f32, f16),
    ".half() under autocast": (f16, f16, f16, f32, f16),
    ".double()": (f64, f64, None, f64, f64),
    "bfloat16 states only": (f32, bf16, None, f32, f32),
    "float64 states only": (f32, f64, None, f64, f32),
    "float32 states, .half() head": (f16, f32, None, f32, f16),
}
# the head without weights has no dtype for its codes
WEIGHTLESS = {
    "bfloat16 states only": bf16,
    "float64 states only": f64,
    "float32 states, .half() head": f32,
    ".half() under autocast": f32,
}
CASES = [pytest.param(name, use) for name in HEADS for use in USES]


def autocast(dtype: torch.dtype | None) -> AbstractContextManager:
    return nullcontext() if dtype is None else torch.autocast("cpu", dtype=dtype)


def make(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    head = getattr(posteriors, name)(HIDDEN, LATENT, **KNOBS[name])
    with torch.no_grad(), population(head.train()):  # so that evaluation has statistics
        head(torch.randn(200, HIDDEN))
    return head


class Rounded(nn.Module):
    """A layer whose output, in any precision, is converted to float32 or better."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.layer, self.in_features = [layer], layer.in_features  # hidden from `.float()`

    def forward(self, h: Tensor) -> Tensor:
        (layer,) = self.layer
        found = layer(h)
        return found if found.dtype == f64 else found.float()


def reference(head: nn.Module, h: Tensor, cast: torch.dtype | None) -> Any:
    """q of the same head in float32 (float64) from the same rounded outputs, without autocast."""
    twin = copy.deepcopy(head)
    for part in list(twin.modules()):
        for name, layer in list(part.named_children()):
            if isinstance(layer, nn.Linear):
                rounded = Rounded(copy.deepcopy(layer))
                setattr(part, name, rounded)
                inner = rounded.forward

                def run_under_autocast(h: Tensor, inner: Any = inner) -> Tensor:
                    with autocast(cast):
                        return inner(h)

                rounded.forward = run_under_autocast  # type: ignore[method-assign]
    wide = f64 if h.dtype == f64 or next(head.parameters(), h).dtype == f64 else f32
    for parameter in twin.parameters():
        parameter.data = parameter.data.to(wide)
    if hasattr(twin, "pseudo"):  # converted in the layer like h
        twin.pseudo.data = twin.pseudo.data.to(head.pseudo.dtype)
    return twin(h)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(("name", "use"), CASES)
def test_low_precision_matches_float32_from_rounded_inputs(name: str, use: str, mode: str) -> None:
    weights, states, cast, kl_dtype, code_dtype = USES[use]
    head, h = (
        make(name).to(weights).train(mode == "train"),
        torch.randn(BATCH, HIDDEN).to(states).requires_grad_(),
    )
    if name == "NoCode":
        code_dtype = WEIGHTLESS.get(use, code_dtype)
    if states != weights and cast is None and name != "NoCode":
        same = copy.deepcopy(head).to(torch.promote_types(weights, states))
        torch.manual_seed(1)
        expected = same(h.detach().to(torch.promote_types(weights, states)))
    else:
        torch.manual_seed(1)
        expected = reference(head, h.detach(), cast)
    torch.manual_seed(1)
    with autocast(cast):
        q = head(h)
        torch.manual_seed(2)
        z, kl, many = q.sample(), q.kl, q.sample(3)
        ratio, ratios, prior = q.log_ratio(z), q.log_ratio(z[:, None]), q.sample_prior(4)
    torch.manual_seed(2)
    expected.sample()
    torch.testing.assert_close(kl, expected.kl, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ratio, expected.log_ratio(z), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ratios, expected.log_ratio(z[:, None]), rtol=1e-4, atol=1e-4)
    assert kl.dtype == q.mean.dtype == q.variance.dtype == kl_dtype and ratio.dtype in (f32, f64)
    assert z.dtype == many.dtype == prior.dtype == code_dtype
    if name != "NoCode":
        (kl.sum() + (z.float() * torch.arange(LATENT)).sum()).backward()
        touched = [h, *(p for n, p in head.named_parameters() if n.startswith("linear"))]
        assert all(x.grad is not None and x.grad.isfinite().all() and x.grad.any() for x in touched)


@pytest.mark.parametrize(
    "use", [".bfloat16()", ".half()", "autocast to bfloat16", "autocast to float16"]
)
@pytest.mark.parametrize(
    "name", ["BatchNormMu", "BatchNormTau", "RMSNormTau", "LayerNormMu", "Delta", "DeltaAR1", "DU"]
)
def test_floors_hold_in_every_precision(name: str, use: str) -> None:
    weights, states, cast, *_ = USES[use]
    head = make(name).to(weights).train()
    for size in (0.05, 1.0, 5.0):
        with autocast(cast):
            kl = head((size * torch.randn(40, HIDDEN)).to(states)).kl.sum(-1).mean()
        assert kl.isfinite() and kl.item() >= head.floor() - 2e-4


@pytest.mark.parametrize("name", ["BatchNormMu", "BatchNormTau", "RMSNormTau", "DU"])
def test_running_statistics_stay_in_float32(name: str) -> None:
    exact, narrow = make(name), make(name).half()
    assert [b.dtype for b in narrow.buffers()] == [f32] * len(list(exact.buffers()))
    assert all(a.equal(b) for a, b in zip(exact.buffers(), narrow.buffers(), strict=True))
    h = torch.randn(BATCH, HIDDEN).half()
    narrow.train()(h)
    narrow.to(bf16).train()(h.to(bf16))
    with population(narrow):
        narrow(h.to(bf16))
    assert all(b.dtype == f32 and b.isfinite().all() for b in narrow.buffers())
    assert all(b.dtype == f64 for b in make(name).double().buffers())
    fresh = make(name, seed=1).half()
    fresh.load_state_dict(exact.state_dict())
    assert all(a.equal(b) for a, b in zip(exact.buffers(), fresh.buffers(), strict=True))


def test_low_precision_model_trains_with_matching_decoder() -> None:
    for dtype in (bf16, f16):
        head, decoder = make("BatchNormTau").to(dtype), nn.Linear(LATENT, 3).to(dtype)
        q = head(torch.randn(BATCH, HIDDEN, dtype=dtype))
        loss = ELBO()(decoder(q.sample()).square().sum(-1), q, q.sample(), 0.0)
        loss.total.backward()
        assert loss.total.dtype == f32 and decoder.weight.grad.any() and head.theta.grad.any()


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # deprecated, still in use
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
def test_quantised_layer_is_accepted() -> None:
    head = torch.ao.quantization.quantize_dynamic(Gaussian(HIDDEN, LATENT), {nn.Linear})
    q = head(torch.randn(3, HIDDEN))
    assert q.kl.dtype == q.sample().dtype == f32


def test_gaussian_of_low_precision_tensors_has_exact_kl() -> None:
    mean, log_var = torch.full((2, 3), 0.03, dtype=bf16), torch.full((2, 3), -0.04, dtype=bf16)
    q, m, v = DiagonalGaussian.from_log_var(mean, log_var), float(mean[0, 0]), float(log_var[0, 0])
    assert q.kl[0, 0].item() == pytest.approx(0.5 * (m * m + math.exp(v) - v - 1), rel=1e-3)
    assert q.kl.dtype == f32 and q.sample().dtype == bf16 and q.log_ratio(q.sample()).dtype == f32


@dataclass
class States:
    """A batch of encoder states."""

    x: Tensor
    lengths: None = None
    chars: None = None
    bytes: None = None

    def __len__(self) -> int:
        return len(self.x)


def test_objectives_and_metrics_accumulate_in_float32_or_better() -> None:
    torch.manual_seed(0)
    head, x = make("Gaussian"), torch.randn(40, HIDDEN)

    def nll(batch: States, z: Tensor) -> Tensor:
        return (100 + (batch.x[:, :LATENT] - z).square().sum(-1)).to(bf16)

    def numbers() -> dict:
        torch.manual_seed(3)
        seen = collect(lambda batch: q, nll, [States(x)])
        found = importance_weighted(log_weights(lambda z: nll(States(x), z), q, 8, None))
        return {**statistics(seen), **{name: values.tolist() for name, values in found.items()}}

    with torch.no_grad():
        q = head(x)
        plain = numbers()
        with torch.autocast("cpu", dtype=bf16):
            cast = numbers()
    assert plain == cast and plain["mi"] > 0.1
    z = q.sample()
    with torch.autocast("cpu", dtype=bf16):
        loss = ELBO()(nll(States(x), z), q, z, 0.0)
        other = InfoVAE(alpha=0.5, scale=2.0)(nll(States(x), z), q, z, 0.0)
    assert float(loss.terms["rec"]) == pytest.approx(
        float(nll(States(x), z).double().mean()), rel=1e-6
    )
    assert all(term.dtype == f32 for term in (*loss.terms.values(), *other.terms.values()))


@pytest.mark.parametrize("head", heads())
def test_every_remedy_trains_and_evaluates_under_autocast(head: str, tmp_path: Path) -> None:
    try:
        parts = Case(head, KINDS["vectors"], tmp_path).parts(*RUN)
    except InputError:  # word dropout needs words
        assert "word_dropout" in head
        return
    trainer = make_silent_trainer(parts, tmp_path)
    parts.procedure.begin(trainer.training)
    for step in range(2):
        with torch.autocast("cpu", dtype=bf16):
            make_one_step(trainer, step)
    found = []
    for cast in (bf16, None):
        with autocast(cast):
            recompute_population(parts.model, parts.data, 64)
            found.append(evaluate(parts.model, parts.data, "valid", "eval"))
    for name in ("kl", "mi", "rec"):
        assert found[0][name] == pytest.approx(found[1][name], rel=0.03, abs=0.03)


def test_refined_codes_keep_encoder_dtype() -> None:
    model, q = (
        SimpleNamespace(),
        DiagonalGaussian.from_log_var(torch.randn(4, 3).bfloat16(), torch.randn(4, 3).bfloat16()),
    )
    dtypes: list[torch.dtype] = []

    def nll(batch: Any, z: Tensor) -> Tensor:
        dtypes.append(z.dtype)
        return z.square().sum(-1)

    model.nll, model.encode = nll, lambda batch: q
    refined = SemiAmortized(2, 0.1, 0.5, 5.0).infer(model, None)
    assert dtypes == [bf16] * 2 and refined.sample().dtype == bf16 and refined.kl.dtype == f32


# ---------------------------------------------------------------- refused inputs


@pytest.mark.parametrize("name", HEADS)
def test_states_of_wrong_shape_or_type_are_refused(name: str) -> None:
    head = make(name)
    for h, words in (
        (torch.randn(4, 7, HIDDEN), ["h: shape [4, 7, 8]", "[B, 8]", "pool", "h.flatten(0, 1)"]),
        (torch.randn(4, HIDDEN, 3, 3), ["h: shape [4, 8, 3, 3]", "[B, 8]", "pool", "h.flatten(1)"]),
        (torch.randn(HIDDEN), ["h: shape [8]", "h[None]"]),
        (torch.randn(4, HIDDEN + 1), ["h: shape [4, 9]", "hidden=8"]),
        (torch.ones(4, HIDDEN, dtype=torch.long), ["h: type torch.int64", "h.float()"]),
        ([[0.0] * HIDDEN], ["h: a list", "[B, 8]"]),
    ):
        before = [b.clone() for b in head.buffers()]
        for mode in (True, False):
            with pytest.raises(InputError) as caught:
                head.train(mode)(h)
            assert all(word in str(caught.value) for word in words) and "\n" not in str(
                caught.value
            )
        assert all(a.equal(b) for a, b in zip(before, head.buffers(), strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["BatchNormMu", "BatchNormTau", "RMSNormTau", "DU"])
def test_one_bad_number_does_not_corrupt_running_statistics(name: str, bad: float) -> None:
    head, h = make(name), torch.randn(BATCH, HIDDEN)
    h[3, 2] = bad
    before = [b.clone() for b in head.buffers()]
    with pytest.raises(
        NotFinite, match=r"batch statistics of mu.*: \d+ of \d+ dimensions are not finite"
    ):
        head.train()(h)
    assert issubclass(NotFinite, InputError) and issubclass(NotFinite, FloatingPointError)
    assert all(a.equal(b) for a, b in zip(before, head.buffers(), strict=True))


def test_batch_of_one_error_names_the_fix() -> None:
    with pytest.raises(
        InputError,
        match=r"at least 2 examples in a batch, got 1: .*drop_last=True.* or head\.eval\(\)",
    ):
        make("DU").train()(torch.randn(1, HIDDEN))


@pytest.mark.parametrize("cls", [BatchNormMu, BatchNormTau, RMSNormTau])
def test_untrained_head_in_evaluation_mode_warns_once(cls: Any) -> None:
    knob = KNOBS[cls.__name__]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        head = cls(HIDDEN, LATENT, **knob).eval()
        head(torch.randn(3, HIDDEN))
        head(torch.randn(3, HIDDEN))
    assert len(caught) == 1 and "the batch statistics are still 0 and 1" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        used = cls(HIDDEN, LATENT, **knob)
        used.train()(torch.randn(9, HIDDEN))
        used.eval()(torch.randn(3, HIDDEN))
        loaded = cls(HIDDEN, LATENT, **knob)
        loaded.load_state_dict(used.state_dict())
        loaded.eval()(torch.randn(3, HIDDEN))
    assert sorted(used.state_dict()) == sorted(head.state_dict())


def test_moments_accept_float64() -> None:
    module, x = Moments(2, 1e-8), torch.randn(50, 2, dtype=f64)
    assert module(x).dtype == f64 and module.mean.dtype == f32
    assert module.eval()(x).dtype == f64
