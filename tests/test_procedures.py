"""Procedures: partial steps, the aggressive encoder, refinement with gradients through it, and
pretraining as an autoencoder.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, composed, folder_of, rows, run_here, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from schemas import LinearConfig
from torch import Tensor

from uncollapse.building import Parts, build_trainer, prepare
from uncollapse.config import heads
from uncollapse.data.vectors import VectorBatch
from uncollapse.errors import InputError
from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.procedure import Training
from uncollapse.metrics.one_pass import evaluate, recompute_population
from uncollapse.models.linear import LinearVAE
from uncollapse.objectives.elbo import ELBO
from uncollapse.posteriors import DiagonalGaussian, Gaussian
from uncollapse.procedures import aggressive
from uncollapse.procedures.ae_pretrain import AEPretrain
from uncollapse.procedures.aggressive import Aggressive, estimate_information
from uncollapse.procedures.joint import Joint
from uncollapse.procedures.semi_amortized import SemiAmortized, clip_rows, twice_differentiable
from uncollapse.runs.checkpoint import save_model
from uncollapse.runs.layout import Run
from uncollapse.training.config import OPTIMIZERS
from uncollapse.training.schedules import Delayed
from uncollapse.training.trainer import Trainer

properties = settings(max_examples=30, deadline=None, derandomize=True)


def build_components(head: str, *words: str) -> Parts:
    return prepare(composed(f"head={head}", *SMALL, *words), head)


def make_training(
    parts: Parts, optimizer: str = "adam", lr: float = 0.01, clip: float | None = 5.0
) -> Training:
    """The `Training` that the trainer makes for an objective without weights."""
    optimizers = {
        part: OPTIMIZERS[optimizer](weights, lr) for part, weights in parts.model.parts().items()
    }
    per_epoch = len(parts.data.batches("train", 0, 0))
    return Training(
        parts.model,
        parts.objective,
        parts.data,
        optimizers,
        clip,
        0,
        per_epoch,
        next(parts.model.parameters()).device,
    )


def first_batch(parts: Parts) -> Any:
    return parts.data.batch("train", parts.data.batches("train", 0, 0)[0])


def snapshot(model: Any) -> dict[str, list[Tensor]]:
    return {part: [p.detach().clone() for p in weights] for part, weights in model.parts().items()}


def has_moved(before: dict[str, list[Tensor]], model: Any) -> dict[str, bool]:
    """Whether any weight of a part has changed in any bit."""
    return {
        part: any(not torch.equal(a, b) for a, b in zip(before[part], after, strict=True))
        for part, after in snapshot(model).items()
    }


# ---------------------------------------------------------------- partial steps, extra batches


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("head", ["plain", "bn_tau"])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_partial_step_moves_only_its_component_despite_momentum(
    head: str, part: str, optimizer: str
) -> None:
    parts = build_components(head)
    training = make_training(parts, optimizer)
    batch = first_batch(parts)
    # Adam now remembers a gradient for both
    training.update(training.loss(batch, parts.model.encode(batch)).total)
    before = snapshot(parts.model)
    training.update(training.loss(batch, parts.model.encode(batch)).total, (part,))
    other = {"encoder": "decoder", "decoder": "encoder"}[part]
    assert has_moved(before, parts.model) == {part: True, other: False}


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_partial_step_clips_its_gradient_separately(
    part: str,
) -> None:
    parts, clip = build_components("plain"), 0.01
    batch, gradients = first_batch(parts), {}
    for names in (None, (part,)):
        training = make_training(parts, "sgd", lr=1e-9, clip=None if names is None else clip)
        torch.manual_seed(0)
        training.update(training.loss(batch, parts.model.encode(batch)).total, names)
        gradients[names] = [p.grad for p in parts.model.parts()[part]]
    full = gradients[None]
    norm = torch.cat([g.flatten() for g in full]).norm()
    assert norm > clip
    for mine, all_of_it in zip(gradients[(part,)], full, strict=True):
        np.testing.assert_allclose(mine, all_of_it * (clip / norm), rtol=1e-3, atol=1e-8)


def test_extra_batches_depend_only_on_seed_and_step() -> None:
    def examples(seed: int, step: int, count: int = 15) -> list[list[int]]:
        training.seed, training.step = seed, step
        return [sorted(batch.examples.tolist()) for batch in islice(training.more_batches(), count)]

    training = make_training(build_components("plain"))
    torch.manual_seed(1)
    first = examples(0, 7)
    torch.manual_seed(2)
    np.random.seed(3)
    assert first == examples(0, 7)  # 15 batches are two and a half epochs
    assert first != examples(0, 8) and first != examples(1, 7)
    assert sorted(chain(*first[:6])) == list(range(96)) and first[:6] != first[6:12]


# ---------------------------------------------------------------- runs


class Stop(BaseException):
    """Stands for a power failure: nothing in the code under test may catch it."""


STATEFUL = {
    "aggressive": ("inner_max=7", "inner_check=2"),
    "semi_amortized": ("svi_steps=2",),
    "ae_pretrain": ("pretrain_epochs=1", "anneal_epochs=1", "lambda=0.1"),
}


@pytest.mark.parametrize(
    "stop", [7, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 10, 13))]
)
@pytest.mark.parametrize("head", STATEFUL)
def test_resumed_run_equals_uninterrupted_run(
    head: str, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before, in and after the phases of each procedure.

    An epoch has 6 steps, and checkpoints are 4 steps apart.
    """
    words = (*STATEFUL[head], "trainer.epochs=3", "trainer.eval_every=4", "model.dropout_in=0.3")
    run_here(tmp_path / "full", head, *words)
    procedure = {
        "aggressive": Aggressive,
        "semi_amortized": SemiAmortized,
        "ae_pretrain": AEPretrain,
    }[head]
    honest = procedure.step

    def cut(self: Any, training: Training, batch: Any) -> Loss:
        loss = honest(self, training, batch)
        if training.step == stop:
            raise Stop
        return loss

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(procedure, "step", cut)
        run_here(tmp_path / "cut", head, *words)
    run_here(tmp_path / "cut", head, *words)
    one, other = (folder_of(tmp_path / name, head) for name in ("full", "cut"))
    assert rows(one) == rows(other) and summary(one) == summary(other)
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    a, b = (state(folder) for folder in (one, other))
    assert a["procedure"] == b["procedure"] and torch.equal(a["rng"], b["rng"])


def state(folder: Path) -> dict:
    return torch.load(folder / "state.pt", weights_only=True)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("aggressive", ("inner_max=0",)),
        ("semi_amortized", ("svi_steps=0",)),
        ("ae_pretrain", ("pretrain_epochs=0", "anneal_epochs=0", "lambda=0")),
    ],
)
def test_neutral_settings_equal_plain_bit_for_bit(
    head: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    for name, mine in (("plain", ()), (head, words)):
        run_here(tmp_path, name, *mine, "trainer.eval_every=4", "model.dropout_in=0.3")
    plain, none = folder_of(tmp_path, "plain"), folder_of(tmp_path, head)
    assert rows(plain) == rows(none)
    assert (plain / "model.safetensors").read_bytes() == (none / "model.safetensors").read_bytes()


# ---------------------------------------------------------------- aggressive


class Scripted:
    """A training with given losses that records the steps of Aggressive."""

    def __init__(self, losses: list[float], step: int = 1):
        self.losses, self.done = iter(losses), list[Any]()
        self.optimizers = dict.fromkeys(("encoder", "decoder", "objective"))
        self.model, self.step, self.per_epoch = SimpleNamespace(encode=lambda batch: None), step, 4

    def more_batches(self) -> Iterator[str]:
        while True:
            yield "further"

    def loss(self, batch: str, q: Any) -> Loss:
        self.batch = batch
        return Loss(torch.tensor(next(self.losses)), {}, 1.0)

    def update(self, loss: Tensor, parts: tuple[str, ...] | None = None) -> None:
        self.done.append((self.batch, parts))


@pytest.mark.parametrize(
    ("losses", "most", "made"),
    [
        ([4, 4, 3, 3, 3, 2.9, 3, 3, 1], 100, 8),  # averages over windows of two: 4, 3, 2.95, 3
        ([4, 4, 4, 4, 1], 100, 4),  # an equal loss is no improvement
        ([1, 2, 3, 4, 1], 100, 4),  # only averages of windows are compared: 1.5, then 3.5
        ([9, 8, 7, 6, 5, 4], 5, 5),
        ([9, 1], 1, 1),
    ],
)
def test_inner_steps_stop_when_averaged_loss_stops_falling(losses, most, made) -> None:
    training: Any = Scripted([*map(float, losses), 0.0, 0.0])
    procedure = Aggressive(most, 2)
    procedure.step(training, "own")
    assert training.done == [("further", ("encoder",))] * made + [("own", ("decoder", "objective"))]
    assert int(procedure.inner_steps) == made


@pytest.mark.parametrize(
    ("found", "estimates"), [([0.5, 0.7, 0.6, 9.0], 3), ([0.0], 1), ([-0.1], 1), ([1, 1, 9], 2)]
)
def test_aggressive_phase_ends_when_mutual_information_stops_increasing(
    found, estimates, monkeypatch
) -> None:
    seen, values = [], iter(found)

    def measured(training: Any) -> float:
        seen.append(training.step)
        return float(next(values))

    monkeypatch.setattr(aggressive, "estimate_information", measured)
    procedure = Aggressive(1, 1)
    for step in range(24):
        training: Any = Scripted([1.0, 1.0], step)
        procedure.step(training, "own")
        together = training.done == [("own", None)]
        assert together == (step >= 4 * estimates) == (not procedure.aggressive)
    assert seen == [4 * count for count in range(1, estimates + 1)]
    assert (
        float(procedure.information) == found[estimates - 1]
        and int(procedure.inner_steps) == 4 * estimates
    )


@pytest.mark.parametrize("head", ["plain", "bn_tau", "ln_mu"])
def test_inner_evaluation_leaves_state_and_matches_evaluation(
    head: str,
) -> None:
    parts = build_components(head, "data.valid=800")
    with torch.no_grad():
        parts.model.posterior.linear.weight.mul_(20)  # codes that differ between examples
    parts.model.train()
    before, training = snapshot(parts.model), make_training(parts)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = estimate_information(training)
    assert torch.equal(state, torch.get_rng_state()) and parts.model.training
    assert not any(has_moved(before, parts.model).values())
    with torch.no_grad():
        for _ in range(3):  # running averages that lag behind
            parts.model.encode(first_batch(parts))
    assert estimate_information(training) == first
    recompute_population(parts.model, parts.data, 2000)
    row = evaluate(parts.model, parts.data, "valid", "eval", mixture=1000)
    assert row["mi"] > 0.2 and abs(first - row["mi"]) < 5 * row["mi_se"]


def test_information_of_linear_gaussian_encoder_matches_closed_form() -> None:
    """z = A x + noise of variance v with Gaussian x: I = 1/2 ln det(A Sigma A^T + v) / v."""
    latent, v = 2, 0.5
    cfg = composed("head=plain", "model=linear", "data=gaussian", f"model.latent={latent}")
    parts = prepare(cfg, "plain")
    slope = 0.5 * torch.randn(latent, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        parts.model.posterior.linear.weight.copy_(torch.cat([slope, torch.zeros_like(slope)]))
        parts.model.posterior.linear.bias.copy_(torch.tensor([0.3, -2, np.log(v), np.log(v)]))
    x = parts.data.vectors["train"].astype(np.float64)
    spread = slope.double().numpy() @ (x.T @ x / len(x)) @ slope.double().numpy().T
    exact = 0.5 * np.linalg.slogdet(np.eye(latent) + spread / v)[1]
    found = estimate_information(make_training(parts))
    assert abs(found - exact) < 4 * np.sqrt(
        latent / 1000
    )  # a code's gain varies by about 1 nat for each dimension


def test_run_makes_and_counts_inner_steps(tmp_path: Path) -> None:
    run_here(tmp_path, "aggressive", "inner_max=5", "inner_check=1")
    procedure = state(folder_of(tmp_path, "aggressive"))["procedure"]
    assert 12 <= int(procedure["inner_steps"]) <= 12 * 5 or not procedure["aggressive"]
    assert float(procedure["information"]) != 0  # evaluated after the first epoch


@pytest.mark.parametrize(
    ("words", "message"),
    [((-1, 1), "inner_max=-1"), ((5, 0), "inner_check=0"), ((1.5, 1), "inner_max=1.5")],
)
def test_bad_aggressive_knobs_are_refused(words: tuple, message: str) -> None:
    with pytest.raises(InputError, match=rf"^{message}: allowed is an integer"):
        Aggressive(*words)


# ---------------------------------------------------------------- semi-amortised


def linear_model(
    seed: int = 0, inputs: int = 5, latent: int = 3, scale: float = 0.5, variance: float = 0.7
) -> LinearVAE:
    """A linear VAE in double precision with random weights."""
    model = LinearConfig(latent=latent, variance=variance).build(inputs, Gaussian).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(
                scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            )
    return model


def vectors(count: int = 4, inputs: int = 5, seed: int = 1) -> VectorBatch:
    x = torch.randn(
        count, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return VectorBatch(x, np.arange(count))


@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize(
    ("steps", "momentum", "clip"), [(1, 0.0, 1e6), (4, 0.5, 1e6), (4, 0.9, 0.3)]
)
def test_refinement_steps_match_formula(
    steps: int, momentum: float, clip: float, through: bool
) -> None:
    """By hand in NumPy.

    d nll / dz = -W^T (x - W z - b) / s2, dz / d mu = 1, dz / d ln v = noise sigma / 2.
    """
    model, batch, weight, lr = linear_model(), vectors(), 0.4, 0.1
    q: Any = model.encode(batch)
    mu, lv = (values.detach().numpy().copy() for values in (q.mean, q.log_var))
    w, b, x = (
        model.decoder.weight.detach().numpy(),
        model.decoder.bias.detach().numpy(),
        batch.x.numpy(),
    )
    generator = torch.Generator().manual_seed(3)
    speed = np.zeros((4, 6))
    for _ in range(steps):
        noise = torch.randn(4, 3, generator=generator, dtype=torch.float64).numpy()
        sigma = np.exp(lv / 2)
        g = -(x - (mu + sigma * noise) @ w.T - b) @ w / model.variance
        gradient = np.concatenate(
            [g + weight * mu, g * noise * sigma / 2 + weight * (sigma**2 - 1) / 2], 1
        )
        gradient *= np.minimum(1, clip / np.linalg.norm(gradient, axis=1, keepdims=True))
        speed = momentum * speed + gradient
        mu, lv = mu - lr * speed[:, :3], lv - lr * speed[:, 3:]
    procedure = SemiAmortized(steps, lr, momentum, clip)
    found = procedure.refine(model, batch, q, weight, through, torch.Generator().manual_seed(3))
    np.testing.assert_allclose(found.mean.detach(), mu, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.log_var.detach(), lv, rtol=1e-10, atol=1e-12)


def loss_of(procedure: SemiAmortized, model: Any, batch: Any) -> Tensor:
    """The loss of a step with fixed noise."""
    torch.manual_seed(0)
    q = procedure.refine(model, batch, model.encode(batch), 0.6, through=True)
    z = q.sample()
    return ELBO(0.6)(model.nll(batch, z), q, z, 0.0).total


def check_against_differences(procedure: SemiAmortized, model: Any, batch: Any, seed: int) -> None:
    """Compare the gradient along a random direction of all weights with the central difference."""
    weights = list(model.parameters())
    generator = torch.Generator().manual_seed(seed)
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in weights]
    length = torch.cat([d.flatten() for d in direction]).norm()
    gradients = torch.autograd.grad(loss_of(procedure, model, batch), weights)
    along = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True)) / length
    values, h = [], 1e-5
    for sign in (1, -2):
        with torch.no_grad():
            for p, d in zip(weights, direction, strict=True):
                p.add_(sign * h * d / length)
        values.append(loss_of(procedure, model, batch).item())
    assert along.item() == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-5, abs=1e-7)


@properties
@given(
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.sampled_from([0.05, 0.3, 1.0]),
    st.sampled_from([0.2, 5.0]),
)
def test_gradients_through_refinement_match_finite_differences_linear(
    seed, steps, scale, clip
) -> None:
    check_against_differences(
        SemiAmortized(steps, 0.1, 0.5, clip),
        linear_model(seed, scale=scale),
        vectors(seed=seed),
        seed,
    )


@pytest.mark.parametrize("head", ["plain", "skip"])
@pytest.mark.parametrize("seed", range(3))
def test_gradients_through_refinement_match_finite_differences_lstm(head: str, seed: int) -> None:
    parts = build_components(head)
    check_against_differences(
        SemiAmortized(3, 0.2, 0.5, 5.0), parts.model.double(), first_batch(parts), seed
    )


def test_single_precision_gradients_match_double_precision() -> None:
    """Gradients after `step`, by the kernels of training, for batches with several stretches."""
    procedure, found = SemiAmortized(3, 0.2, 0.5, 5.0), []
    noise = torch.randn(4, 16, 4, dtype=torch.float64)  # three steps and the final code

    def sample(self: DiagonalGaussian, n: Any = None, generator: Any = None) -> Tensor:
        return self.mean + self.std * next(draws).to(self.mean)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiagonalGaussian, "sample", sample)
        for dtype, steps in (
            (torch.float32, procedure),
            (torch.float64, procedure),
            (torch.float64, Joint()),
        ):
            draws = iter(noise[3:] if isinstance(steps, Joint) else noise)
            parts = build_components("plain", "model.init=0.5")
            parts.model.to(dtype)
            training = make_training(parts, "sgd", lr=1e-9, clip=None)
            steps.step(training, first_batch(parts))
            found.append(torch.cat([p.grad.double().flatten() for p in parts.model.parameters()]))
    single, double, plain = found
    np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-4 * double.abs().max())
    assert (double - plain).norm() > 0.05 * plain.norm()


def test_refinement_finds_known_posterior() -> None:
    """Linear model with orthogonal columns.

    Its variance is s2 / (|w|^2 + s2) in each dimension.
    """
    model, batch = linear_model(), vectors()
    with torch.no_grad():
        model.decoder.weight.copy_(
            torch.linalg.qr(torch.randn(5, 3, dtype=torch.float64))[0] * torch.tensor([2.0, 1, 0.5])
        )
    w, b, s2 = model.decoder.weight.detach(), model.decoder.bias.detach(), model.variance
    precision = w.square().sum(0) / s2 + 1
    means = [
        SemiAmortized(2000, 0.02, 0.0, 50.0).infer(model, batch, torch.Generator().manual_seed(s))
        for s in range(4)
    ]
    mean, log_var = (
        torch.stack([getattr(q, name) for q in means]).mean(0) for name in ("mean", "log_var")
    )
    np.testing.assert_allclose(mean, (batch.x - b) @ w / s2 / precision, atol=0.15)
    np.testing.assert_allclose(log_var, (-precision.log()).expand(4, 3), atol=0.25)


def test_inference_works_under_no_grad_without_side_effects() -> None:
    parts, procedure = build_components("plain"), SemiAmortized(4, 0.3, 0.5, 5.0)
    batch, model = first_batch(parts), parts.model.eval()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with torch.no_grad():
        q = procedure.infer(model, batch, torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())
    again = procedure.infer(model, batch, torch.Generator().manual_seed(1))
    other = procedure.infer(model, batch, torch.Generator().manual_seed(2))
    start = model.encode(batch)
    assert torch.equal(q.mean, again.mean) and torch.equal(q.log_var, again.log_var)
    assert not torch.equal(q.mean, other.mean) and not torch.equal(q.mean, start.mean)
    assert not q.mean.requires_grad and not q.log_var.requires_grad and not q.kl.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_inference_is_thread_safe() -> None:
    parts, procedure = build_components("plain"), SemiAmortized(3, 0.3, 0.5, 5.0)
    model = parts.model.eval()
    batches = [
        parts.data.batch("train", examples) for examples in np.array_split(np.arange(96), 24)
    ]

    def codes(item: tuple[int, Any]) -> Tensor:
        with torch.no_grad():
            return procedure.infer(model, item[1], torch.Generator().manual_seed(item[0])).mean

    one = [codes(item) for item in enumerate(batches)]
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(codes, enumerate(batches)))
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))


@pytest.mark.parametrize("clip", [0.5, 50.0])
def test_refinement_is_independent_of_other_examples(clip: float) -> None:
    """The first row draws the same noise in both cases; the others are far away."""
    model, batch = linear_model(), vectors()
    batch.x[1:] *= 100
    procedure = SemiAmortized(1, 0.1, 0.5, clip)
    together, alone = (
        procedure.infer(
            model, VectorBatch(batch.x[:n], np.arange(n)), torch.Generator().manual_seed(0)
        )
        for n in (4, 1)
    )
    np.testing.assert_allclose(together.mean[:1], alone.mean, rtol=1e-12)
    np.testing.assert_allclose(together.log_var[:1], alone.log_var, rtol=1e-12)


@properties
@given(
    st.integers(0, 10_000), st.sampled_from([1e-30, 1e-3, 1.0, 1e4]), st.sampled_from([0.1, 5.0])
)
def test_clipping_shortens_only_long_rows_and_is_differentiable(seed, scale, most) -> None:
    gradient = scale * torch.randn(
        6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    gradient[0] = 0
    gradient.requires_grad_()
    found, norm = clip_rows(gradient, most), gradient.norm(dim=1)
    assert (found.norm(dim=1) <= most * (1 + 1e-12)).all()
    assert torch.equal(found[norm <= most], gradient[norm <= most])
    np.testing.assert_allclose(
        (found / found.norm(dim=1, keepdim=True))[1:].detach(),
        (gradient / norm[:, None])[1:].detach(),
    )
    found.sum().backward()
    assert gradient.grad is not None and gradient.grad.isfinite().all()


def test_kernel_settings_are_always_restored() -> None:
    before = torch.backends.cudnn.enabled
    with pytest.raises(KeyboardInterrupt), twice_differentiable():
        assert not torch.backends.cudnn.enabled
        raise KeyboardInterrupt
    assert torch.backends.cudnn.enabled == before


@pytest.mark.slow
def test_only_free_mean_and_variance_can_be_refined() -> None:
    procedure, refused = SemiAmortized(5, 0.1, 0.5, 5.0), []
    for head in heads():
        model = build_components(head, "trainer.epochs=3").model
        if type(model.posterior) is Gaussian:
            procedure.check(model, head, 3)
        else:
            with pytest.raises(
                InputError,
                match=(
                    rf"svi_steps=5: head={head} has the posterior .*; allowed is "
                    rf"the plain Gaussian"
                ),
            ):
                procedure.check(model, head, 3)
            refused.append(head)
    assert {"bn_mu", "bn_tau", "ln_mu", "rms_tau"} <= set(refused)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((-1, 0.1, 0.5, 5.0), "svi_steps=-1: "),
        ((2, 0, 0.5, 5.0), "svi_lr=0: "),
        ((2, 0.1, 1, 5.0), "svi_momentum=1: out of range; allowed is 0 <= svi_momentum < 1$"),
        ((2, 0.1, -0.5, 5.0), "svi_momentum=-0.5: "),
        ((2, 0.1, 0.5, 0), "svi_clip=0: "),
        ((2, 0.1, 0.5, float("inf")), "svi_clip=inf: "),
    ],
)
def test_bad_semi_amortized_knobs_are_refused(words: tuple, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        SemiAmortized(*words)


# ---------------------------------------------------------------- autoencoder first


@pytest.mark.parametrize(
    ("start", "epochs", "epoch", "weight"),
    [
        (2, 4, 0, 0),
        (2, 4, 2, 0),
        (2, 4, 3, 0.25),
        (2, 4, 6, 1),
        (2, 4, 99, 1),
        (2, 0, 1.99, 0),
        (2, 0, 2, 1),
        (0, 0, 0, 1),
    ],
)
def test_delayed_schedule_by_hand(start, epochs, epoch, weight) -> None:
    assert Delayed(start, epochs)(epoch) == weight


@properties
@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 300), st.floats(0, 300))
def test_delayed_schedule_is_bounded_and_nondecreasing(start, epochs, one, other) -> None:
    schedule, (early, late) = Delayed(start, epochs), sorted((one, other))
    assert 0 <= schedule(early) <= schedule(late) <= 1
    assert schedule(start + epochs + 1e-6 + 1e-9 * epochs) == 1


@pytest.mark.parametrize(
    ("words", "name"), [((-1, 1), "pretrain_epochs"), ((1, -1), "anneal_epochs")]
)
def test_bad_phase_lengths_are_refused(words: tuple, name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}=-1: out of range"):
        Delayed(*words)


def test_bad_pretraining_length_is_refused() -> None:
    with pytest.raises(InputError, match=r"^pretrain_epochs=-1: out of range"):
        AEPretrain(-1)


def test_decoder_restarts_once_with_fresh_optimisers() -> None:
    parts = build_components("ae_pretrain", "pretrain_epochs=0.5")
    training, procedure, batch = make_training(parts), parts.procedure, first_batch(parts)
    procedure.begin(training)
    initial, calls = snapshot(parts.model), []
    honest = procedure.reset_decoder

    def noted(training: Training) -> None:
        before = snapshot(parts.model)
        honest(training)
        calls.append(training.step)
        assert has_moved(before, parts.model) == {"encoder": False, "decoder": True}
        assert has_moved(initial, parts.model) == {"encoder": True, "decoder": False}
        assert not any(optimizer.state for optimizer in training.optimizers.values())

    procedure.reset_decoder = noted
    losses = []
    for training.step in range(8):
        assert bool(procedure.settled) == (training.step > 3)
        losses.append(procedure.step(training, batch))
    assert calls == [3]  # an epoch has 6 steps
    assert [loss.weight for loss in losses] == pytest.approx(
        [0, 0, 0, 0, 1 / 6, 1 / 3, 1 / 2, 2 / 3]
    )
    assert has_moved(initial, parts.model) == {"encoder": True, "decoder": True}


def test_resumed_run_restarts_decoder_once_from_same_weights(
    tmp_path: Path,
) -> None:
    words = ("pretrain_epochs=1", "trainer.lr=1e-2")
    first, calls = build_components("ae_pretrain", *words), []

    def trainer(parts: Parts) -> Trainer:
        silent: Any = SimpleNamespace(count=0, resume=lambda *_: None, resumed=lambda *_: None)
        made = build_trainer(parts, Run(tmp_path), silent, seed=0, reporter=silent)
        honest = parts.procedure.reset_decoder
        parts.procedure.reset_decoder = lambda training: (
            calls.append(training.step) or honest(training)
        )
        return made

    def go_on(trainer: Trainer, steps: int) -> None:
        for _ in range(steps):
            trainer.training.step = trainer.progress.step
            trainer.procedure.step(trainer.training, first_batch(first))
            trainer.progress.step += 1

    initial = snapshot(first.model)
    one = trainer(first)
    go_on(one, 4)
    one.save()
    save_model(tmp_path / "model.safetensors", first.model)
    for steps in (4, 3):  # to step 8, past the end of the first epoch (6), then on to step 11
        other = trainer(build_components("ae_pretrain", *words))
        other.restore()
        assert all(
            torch.equal(a, b)
            for a, b in zip(other.procedure.initial, initial["decoder"], strict=True)
        )
        go_on(other, steps)
        other.save()
    assert calls == [6]


def test_pretraining_never_sets_best_model_or_uses_patience(tmp_path: Path) -> None:
    """The learning rate is almost 0, so all evaluations are alike.

    A run without these rules would keep the first one as the best, and stop at once.
    """
    run_here(tmp_path, "ae_pretrain", "trainer.epochs=4", "trainer.lr=1e-12", "trainer.patience=1")
    found = summary(folder_of(tmp_path, "ae_pretrain"))
    weights = [
        row["weight"] for row in rows(folder_of(tmp_path, "ae_pretrain")) if row["split"] == "valid"
    ]
    assert found["best_step"] > 12 and found["step"] >= 18 and weights[:4] == [0, 0, 0, 1]


def test_run_ending_in_pretraining_still_saves_weights(tmp_path: Path) -> None:
    run_here(tmp_path, "ae_pretrain", "trainer.max_steps=9", "pretrain_epochs=1.5")
    found = summary(folder_of(tmp_path, "ae_pretrain"))
    assert found["best_step"] == found["step"] == 9


def test_run_with_only_pretraining_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"^pretrain_epochs=2: with trainer\.epochs=2 .*; allowed is pretrain_epochs < 2$",
    ):
        run_here(tmp_path, "ae_pretrain", "trainer.epochs=2")
    assert not list(tmp_path.iterdir())


def test_autoencoder_raises_kl_and_free_bits_keep_lambda(tmp_path: Path) -> None:
    run_here(
        tmp_path,
        "ae_pretrain",
        "trainer.epochs=20",
        "trainer.lr=1e-2",
        "pretrain_epochs=8",
        "lambda=0.5",
    )
    seen = [
        row
        for row in rows(folder_of(tmp_path, "ae_pretrain"))
        if row["mode"] == "train" and row["split"] == "train"
    ]
    assert seen[8]["weight"] == 0 and seen[-1]["weight"] == 1
    # without a KL penalty, and then above lambda in each dimension
    assert seen[8]["kl"] > seen[-1]["kl"] > 0.7 * 4 * 0.5
    assert seen[8]["rec"] < seen[9]["rec"]  # the new decoder starts from scratch


def test_procedure_state_is_in_its_module() -> None:
    assert list(Aggressive(1, 1).state_module().state_dict()) == [
        "aggressive",
        "information",
        "inner_steps",
    ]
    assert list(AEPretrain(1).state_module().state_dict()) == ["settled"]
    for procedure in (Joint(), SemiAmortized(1, 0.1, 0.5, 5.0)):
        assert not procedure.state_module().state_dict()
