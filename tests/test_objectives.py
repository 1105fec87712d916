"""Objectives beyond the ELBO: every number by hand, numpy or autograd.

An objective that is switched off equals the plain VAE bit for bit.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, composed, folder_of, rows, run_here
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from torch import nn

from uncollapse.building import prepare
from uncollapse.config import heads, knobs_of, read_head
from uncollapse.config.knobs import check_head, check_knobs
from uncollapse.config.shorthands import SHARES
from uncollapse.data.corpus import Corpus, make_batch
from uncollapse.data.vectors import VectorBatch
from uncollapse.errors import InputError
from uncollapse.interfaces.objective import Loss
from uncollapse.objectives.bow import BagOfWords
from uncollapse.objectives.capacity import Capacity
from uncollapse.objectives.control import Control
from uncollapse.objectives.elbo import ELBO
from uncollapse.objectives.free_bits import FreeBits, FreeBitsExample, FreeBitsTotal
from uncollapse.objectives.mdr import FIRST_MULTIPLIER, MinimumRate
from uncollapse.objectives.mmd import InfoVAE, mmd
from uncollapse.objectives.mu_forcing import MuForcing, measure_spread
from uncollapse.posteriors import DiagonalGaussian
from uncollapse.training.schedules import Linear, ScaledSchedule, weight_at

properties = settings(max_examples=60, deadline=None, derandomize=True)
seeds, batches, latents = st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 9)
scales = st.sampled_from([1e-6, 1e-2, 1.0, 30.0])
OWN = [
    "ae",
    "beta",
    "kl_logistic",
    "kl_cyclical",
    "free_bits",
    "free_bits_total",
    "free_bits_example",
    "capacity",
    "mdr",
]
OWN += ["control", "mmd", "bow", "mu_forcing"]
FREE = [FreeBits, FreeBitsTotal, FreeBitsExample]
REC = 4.0  # the batch mean of the nll below


def with_kl(kl):
    """nll with mean 4 and a posterior of std 1 whose KL per example and dimension is `kl` [B, D].

    mu = sqrt(2 kl).
    """
    mean = torch.tensor(kl, dtype=torch.float64).mul(2).sqrt().requires_grad_()
    nll = torch.full((len(mean),), REC, dtype=torch.float64, requires_grad=True)
    return nll, DiagonalGaussian.from_std(mean, torch.ones_like(mean)), mean


def make_leaves(seed, batch, latent, scale=1.0, dtype=torch.float32):
    """A random batch: nll [B], mean and log_var [B, D] as leaves."""
    generator = torch.Generator().manual_seed(seed)
    nll = 30 * torch.rand(batch, generator=generator, dtype=dtype)
    mean, log_var = scale * torch.randn(2, batch, latent, generator=generator, dtype=dtype)
    return [leaf.clone().requires_grad_() for leaf in (nll, mean, log_var.clamp(-20, 20))]


def compute_outcome(objective, leaves, epoch=0.7, batch=None):
    """Loss and gradients of an objective on leaves nll, mean, log_var, at one fixed code each."""
    nll, mean, log_var = leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    q = DiagonalGaussian.from_log_var(mean, log_var)
    torch.manual_seed(0)
    loss = objective(nll, q, q.sample(), epoch, batch)
    loss.total.backward()
    return (
        loss,
        [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves],
        torch.rand(()),
    )


def assert_identical(one, other):
    """Bit for bit: loss, terms, weight, gradients, and the randomness that comes after."""
    (a, ga, ra), (b, gb, rb) = one, other
    return (
        a.total.equal(b.total)
        and a.weight == b.weight
        and all(a.terms[name].equal(b.terms[name]) for name in b.terms)
        and all(x.equal(y) for x, y in zip(ga, gb, strict=True))
        and ra == rb
    )


def set_shapes(objective, latent, inputs):
    torch.manual_seed(5)
    objective.shape(latent, inputs)
    return objective


# ---------------------------------------------------------------- disabled objectives

OFF = {
    "free_bits": lambda weight: FreeBits(weight, free=0),
    "free_bits_total": lambda weight: FreeBitsTotal(weight, free=0.0),
    "free_bits_example": lambda weight: FreeBitsExample(weight, free=0),
    "capacity": lambda weight: Capacity(weight, capacity=0.0, epochs=2),
    "mdr": lambda weight: MinimumRate(rate=0.0, multiplier_lr=0.1, weight=weight),
    "mmd": lambda weight: InfoVAE(weight, alpha=0.0, scale=1.0),
    "bow": lambda weight: set_shapes(BagOfWords(bow_weight=0.0, bow_hidden=3, weight=weight), 4, 7),
    "mu_forcing": lambda weight: MuForcing(weight, margin=0.0),
}


@pytest.mark.parametrize("name", OFF)
@properties
@given(
    seed=seeds,
    batch=batches,
    latent=latents,
    scale=scales,
    weight=st.sampled_from([1.0, 0.3, Linear(2)]),
)
def test_disabled_objective_equals_plain_bit_for_bit(name, seed, batch, latent, scale, weight):
    leaves = make_leaves(seed, batch, latent, scale)
    assert assert_identical(
        compute_outcome(OFF[name](weight), leaves), compute_outcome(ELBO(weight), leaves)
    )


WORDS_OFF = {
    "beta": ["beta=1"],
    "kl_cyclical": ["ramp=0"],
    "free_bits": ["lambda=0"],
    "free_bits_total": ["lambda=0"],
    "free_bits_example": ["lambda=0"],
    "capacity": ["capacity=0"],
    "mdr": ["rate=0"],
    "mmd": ["alpha=0", "lambda=1"],
    "bow": ["bow_weight=0"],
    "mu_forcing": ["margin=0"],
}


@pytest.fixture(scope="module")
def plain_rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    results = tmp_path_factory.mktemp("plain")
    run_here(results, "plain")
    return rows(folder_of(results, "plain"))


@pytest.mark.parametrize("head", WORDS_OFF)
def test_disabled_objective_run_equals_plain_run(
    head: str, tmp_path: Path, plain_rows: list[dict]
) -> None:
    run_here(tmp_path, head, *WORDS_OFF[head])
    # their penalties are terms of their own
    assert drop_terms(rows(folder_of(tmp_path, head))) == drop_terms(plain_rows)


def drop_terms(found: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "loss_terms"} for row in found]


def test_bag_of_words_network_does_not_change_training_noise() -> None:
    """Its weights are drawn after the model's, and training sets the seed again before step 1."""
    with_it, without = (
        prepare(composed(f"head={head}", *SMALL), head) for head in ("bow", "plain")
    )
    for name, weight in without.model.state_dict().items():
        assert weight.equal(with_it.model.state_dict()[name])
    assert sum(p.numel() for p in with_it.objective.parameters()) > 0


# ---------------------------------------------------------------- terms

BATCH_KL = [[3.0, 0.1], [0.2, 0.5]]  # nats; dimension means 1.6 and 0.3, totals 3.1 and 0.7


def every_objective():
    return {
        "elbo": ELBO(0.5),
        **{cls.__name__: cls(0.5, free=1.0) for cls in FREE},
        "capacity": Capacity(0.5, 2.0, 0),
        "mdr": MinimumRate(4.0, 0.1, 0.5),
        "control": Control(1.0, 0.01, 1e-4),
        "mmd": InfoVAE(0.5, alpha=0.5, scale=3.0),
        "bow": set_shapes(BagOfWords(2.0, 3, 0.5), 2, 3),
        "mu_forcing": MuForcing(0.5, margin=4.0),
    }


@pytest.mark.parametrize("name", every_objective())
def test_every_objective_reports_rec_and_kl_as_finite_scalars(name):
    nll, q, _ = with_kl(BATCH_KL)
    objective = every_objective()[name]
    if isinstance(objective, nn.Module):
        objective.double()
    batch = VectorBatch(torch.ones(2, 3, dtype=torch.float64), np.arange(2))
    loss = objective(nll, q, q.mean, 1.0, batch)
    assert loss.terms["rec"].item() == REC and loss.terms["kl"].item() == pytest.approx(1.9)
    assert all(term.shape == () and term.isfinite() for term in loss.terms.values())
    assert isinstance(loss.weight, float) and loss.total.isfinite()
    assert isinstance(weight_at(objective.weight, 1.0), float)
    added = loss.total - loss.terms["rec"] - loss.weight * loss.terms["kl"]
    assert (added.abs() > 1e-6) == (name not in ("elbo", "control"))


@pytest.mark.parametrize("name", every_objective())
def test_evaluating_objective_does_not_change_its_state(name):
    """Evaluation and inner loops may call an objective as often as they like.

    Only `update` moves its state.
    """
    objective, leaves = every_objective()[name], make_leaves(0, 2, 2)
    batch = VectorBatch(torch.ones(2, 3), np.arange(2))
    if name == "mdr":
        assert set(objective.state_dict()) == {"multiplier", "mean_square"}
    assert assert_identical(
        compute_outcome(objective, leaves, 1.0, batch),
        compute_outcome(objective, leaves, 1.0, batch),
    )


# ---------------------------------------------------------------- free bits


@pytest.mark.parametrize(
    ("cls", "clamped", "gradient"),
    [
        # dimension means 1.6 and 0.3 -> 1.6 + 0.6; the second dimension is free
        (FreeBits, 1.6 + 0.6, [[1, 0], [1, 0]]),
        # totals 3.1 and 0.7, none below 0.6
        (FreeBitsTotal, (3.1 + 0.7) / 2, [[1, 1], [1, 1]]),
        # entries 3.0, 0.6 and 0.6, 0.6
        (FreeBitsExample, (3.0 + 0.6 + 0.6 + 0.6) / 2, [[1, 0], [0, 0]]),
    ],
)
def test_free_bits_variants_differ_on_one_batch(cls, clamped, gradient):
    nll, q, mean = with_kl(BATCH_KL)
    loss = cls(0.5, free=0.6)(nll, q, q.mean, 0.0)
    assert loss.terms["clamped_kl"].item() == pytest.approx(clamped, rel=1e-12)
    assert loss.total.item() == pytest.approx(REC + 0.5 * clamped, rel=1e-12)
    loss.total.backward()
    # d KL / d mu = mu, over two examples, at weight 1/2
    pulled = np.array(gradient) * mean.detach().numpy() / 2 * 0.5
    np.testing.assert_allclose(mean.grad, pulled, rtol=1e-12)


def test_total_free_bits_apply_per_example():
    nll, q, mean = with_kl(BATCH_KL)
    loss = FreeBitsTotal(free=1.0)(nll, q, q.mean, 0.0)
    assert loss.total.item() == pytest.approx(REC + (3.1 + 1.0) / 2)
    loss.total.backward()
    assert mean.grad[0].ne(0).all() and mean.grad[1].eq(0).all()


@properties
@given(seeds, batches, latents, scales, st.floats(0, 3))
def test_free_bits_variants_are_ordered_and_at_least_kl(seed, batch, latent, scale, free):
    _, mean, log_var = make_leaves(seed, batch, latent, scale, torch.float64)
    kl = DiagonalGaussian.from_log_var(mean, log_var).kl
    bits, total, example = (cls(free=free).clamp(kl).item() for cls in FREE)
    slack = 1e-9 * (1 + example)
    assert example >= bits - slack and bits >= max(kl.sum(-1).mean().item(), latent * free) - slack
    assert example >= total - slack and total >= max(kl.sum(-1).mean().item(), free) - slack


def test_free_bits_accept_annealed_weight_and_undecomposable_kl():
    nll, q, _ = with_kl([[0.1], [0.2]])
    loss = FreeBits(Linear(4), free=0.5)(nll, q, q.mean, 1.0)
    assert loss.weight == 0.25 and loss.total.item() == pytest.approx(REC + 0.25 * 0.5)


# ---------------------------------------------------------------- capacity


@pytest.mark.parametrize(
    ("epoch", "capacity"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (2.0, 2.0), (50.0, 2.0)]
)
def test_capacity_by_hand(epoch, capacity):
    """Totals 3.1 and 0.7: their mean's distance to C."""
    nll, q, mean = with_kl(BATCH_KL)
    objective = Capacity(10.0, capacity=2.0, epochs=2)
    loss = objective(nll, q, q.mean, epoch)
    distance = abs(1.9 - capacity)
    assert objective.capacity_at(epoch) == capacity and loss.weight == 10.0
    assert loss.terms["distance"].item() == pytest.approx(distance)
    assert loss.total.item() == pytest.approx(REC + 10 * distance)
    loss.total.backward()
    sign = 1.0 if capacity < 1.9 else -1.0  # below C, more KL is rewarded in every example
    np.testing.assert_allclose(mean.grad, 10 * sign * mean.detach().numpy() / 2, rtol=1e-12)


def test_capacity_applies_to_batch_mean():
    nll, q, _ = with_kl([[0.0], [4.0]])
    assert Capacity(1.0, 2.0, 0)(nll, q, q.mean, 0.0).terms["distance"].item() == pytest.approx(0)


def test_zero_epochs_gives_full_capacity_at_once():
    assert Capacity(1.0, 4.0, 0).capacity_at(0.0) == 4.0


# ---------------------------------------------------------------- minimum desired rate


def test_mdr_by_hand_over_three_steps():
    """rate 2, KL 1.5, 2.5, 5: gradients 0.5, -0.5, -3.

    The mean squares are 0.0025, 0.004975, 0.09492525.
    """
    objective = MinimumRate(rate=2.0, multiplier_lr=0.1).double()
    u = FIRST_MULTIPLIER
    for kl, step in [
        (1.5, 0.1 * 0.5 / 0.05),
        (2.5, -0.1 * 0.5 / math.sqrt(0.004975)),
        (5.0, -0.3 / math.sqrt(0.09492525)),
    ]:
        nll, q, mean = with_kl([[kl]])
        loss = objective(nll, q, q.mean, 0.0)
        assert loss.total.item() == pytest.approx(REC + kl + u * (2 - kl), rel=1e-6)
        assert (
            loss.weight == pytest.approx(1 - u) and weight_at(objective.weight, 0.0) == loss.weight
        )
        loss.total.backward()
        np.testing.assert_allclose(mean.grad, (1 - u) * mean.detach(), rtol=1e-5, atol=1e-9)
        objective.update(loss)
        u = max(0.0, u + step)
        assert objective.multiplier.item() == pytest.approx(u, abs=1e-6)
    assert u == pytest.approx(FIRST_MULTIPLIER + 1 - 0.708881 - 0.973712, abs=1e-5)
    objective.multiplier.fill_(0.5)
    objective.update(Loss(torch.zeros(()), {"kl": torch.tensor(500.0)}, 1.0))
    assert objective.multiplier == 0  # a step of about ten times multiplier_lr, clipped


def test_mdr_step_matches_pytorch_rmsprop():
    objective, theirs = (
        MinimumRate(3.0, 1e-3).double(),
        torch.tensor(FIRST_MULTIPLIER, dtype=torch.float64, requires_grad=True),
    )
    optimizer = torch.optim.RMSprop([theirs], lr=1e-3)
    for kl in torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 8:
        objective.update(Loss(torch.zeros(()), {"kl": kl}, 1.0))
        theirs.grad = kl - 3.0  # the optimiser descends
        optimizer.step()
    assert objective.multiplier.item() == pytest.approx(theirs.item(), abs=1e-6)


def kls_of_one_mean(update, steps=6000):
    """KL = mu^2 / 2 of a code without decoder, mu trained by Adam; the last third of steps."""
    objective, mu, first, second, seen = MinimumRate(4.0, 1e-3), 0.3, 0.0, 0.0, []
    for step in range(1, steps + 1):
        kl, gradient = mu**2 / 2, weight_at(objective.weight, 0.0) * mu
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        mu -= 2e-3 * first / (1 - 0.9**step) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)
        update(objective, Loss(torch.zeros(()), {"kl": torch.tensor(kl)}, 1.0))
        seen.append(kl)
    return seen[-steps // 3 :]


def test_mdr_avoids_limit_cycle_of_plain_ascent():
    def plain_ascent(objective, loss):
        objective.multiplier.add_(1e-3 * (4.0 - loss.terms["kl"])).clamp_min_(0)

    cycle, settled = kls_of_one_mean(plain_ascent), kls_of_one_mean(MinimumRate.update)
    assert max(cycle) - min(cycle) > 4
    assert max(settled) - min(settled) < 2.5 and min(settled) < 4 < max(settled)


@properties
@given(st.floats(0, 20), st.floats(0.01, 20), st.floats(0, 3), st.floats(1e-4, 1))
def test_multiplier_increases_only_below_rate_and_stays_nonnegative(kl, rate, u, lr):
    objective = MinimumRate(rate, lr)
    objective.multiplier.fill_(u)
    before = objective.multiplier.clone()
    objective.update(Loss(torch.zeros(()), {"kl": torch.tensor(kl)}, 1.0))
    assert objective.multiplier >= 0 and not objective.multiplier.requires_grad
    if kl > rate:
        assert objective.multiplier <= before
    if rate - kl > 1e-3:
        assert objective.multiplier > before


def test_mdr_accepts_annealed_weight():
    objective = MinimumRate(2.0, 0.5, Linear(4))
    nll, q, _ = with_kl([[1.0]])
    loss = objective(nll, q, q.mean, 1.0)
    assert loss.weight == pytest.approx(0.25 - FIRST_MULTIPLIER) and weight_at(
        objective.weight, 3.0
    ) == pytest.approx(0.75 - FIRST_MULTIPLIER)
    assert loss.total.item() == pytest.approx(REC + 0.25 + FIRST_MULTIPLIER)


# ---------------------------------------------------------------- ControlVAE


def step_controller(objective, kl):
    """One training step at a batch KL: the loss's weight, after which the state is moved."""
    nll, q, mean = with_kl([[kl]])
    loss = objective(nll, q, q.mean, 0.0)
    assert loss.total.item() == pytest.approx(REC + loss.weight * kl)
    loss.total.backward()
    np.testing.assert_allclose(mean.grad, loss.weight * mean.detach(), rtol=1e-9, atol=1e-12)
    objective.update(loss)
    assert objective.weight == loss.weight
    return loss.weight


def test_control_by_hand():
    """set_point 3, kp 0.01, ki 0.001: errors -2, -1, 0, 1 with I = 0.002, 0.003, 0.003, 0.002."""
    objective = Control(set_point=3.0, kp=0.01, ki=0.001)
    assert objective.weight == 0
    for kl, error, integral in [(5, -2, 0.002), (4, -1, 0.003), (3, 0, 0.003), (2, 1, 0.002)]:
        assert step_controller(objective, kl) == pytest.approx(
            0.01 / (1 + math.exp(error)) + integral, rel=1e-12
        )
        assert objective.integral.item() == pytest.approx(integral, rel=1e-12)


@properties
@given(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1), st.floats(0, 1), st.floats(0, 2))
def test_control_weight_is_monotone_in_kl_and_bounded(one, other, kp, ki, most):
    objective = Control(3.0, kp, ki, 0.1 + most)
    objective.integral.fill_(0.05)
    low, high = (objective.respond(kl)[0] for kl in sorted((one, other)))
    assert 0 <= low <= high <= 0.1 + most


def test_control_weight_is_clipped_without_integral_windup():
    objective = Control(set_point=3.0, kp=0.01, ki=0.01)
    assert [step_controller(objective, 0.0) for _ in range(50)] == pytest.approx(
        [0.01 / (1 + math.exp(3))] * 50
    )
    assert objective.integral.item() == 0  # 50 errors of 3 nats would have made it -1.5

    weights = [step_controller(objective, 23.0) for _ in range(20)]  # each adds 0.2
    assert weights[:5] == pytest.approx([0.21, 0.41, 0.61, 0.81, 0.81]) and max(weights) <= 1
    assert objective.integral.item() == pytest.approx(
        0.8
    )  # the fifth step would have left the range
    assert step_controller(objective, 2.0) < 0.8  # and it comes back at once


def test_out_of_range_integral_always_recovers():
    objective = Control(set_point=3.0, kp=0.01, ki=0.01)
    objective.integral.fill_(1.5)
    weights = [step_controller(objective, 0.0) for _ in range(60)]
    assert weights[0] == 1 and weights[-1] < 0.01 and weights == sorted(weights, reverse=True)


def test_zero_gain_is_an_autoencoder():
    objective = Control(3.0, 0.0, 0.0)
    assert step_controller(objective, 50.0) == 0


# ---------------------------------------------------------------- state


@pytest.mark.parametrize("make", [lambda: MinimumRate(2.0, 0.1), lambda: Control(0.5, 0.01, 0.01)])
def test_state_round_trips_and_update_builds_no_graph(make):
    used, fresh = make(), make()
    leaves = make_leaves(0, 4, 3)
    for _ in range(3):
        used.update(compute_outcome(used, leaves)[0])
    assert not assert_identical(compute_outcome(used, leaves), compute_outcome(fresh, leaves))
    assert not any(buffer.requires_grad for buffer in used.buffers())
    fresh.load_state_dict(used.state_dict())
    assert assert_identical(
        compute_outcome(used, leaves), compute_outcome(fresh, leaves)
    ) and weight_at(fresh.weight, 0.0) == weight_at(used.weight, 0.0)


@pytest.mark.parametrize("head", ["mdr", "control", "bow_anneal"])
def test_resumed_run_equals_uninterrupted_run(head: str, tmp_path: Path) -> None:
    run_here(tmp_path / "full", head)
    run_here(tmp_path / "parts", head, "trainer.epochs=1")
    short = folder_of(tmp_path / "parts", head)
    run_here(tmp_path / "parts", head)
    (full,) = (f for f in short.parent.parent.glob("*/seed=0") if f != short)
    for name in ("done", "summary.json"):  # as if stopped after one epoch
        (full / name).unlink()
    lines = (full / "metrics.jsonl").read_text().splitlines(keepends=True)
    (full / "metrics.jsonl").write_text("".join(lines[: len(lines) // 2]))
    (full / "state.pt").write_bytes((short / "state.pt").read_bytes())
    run_here(tmp_path / "parts", head)
    assert rows(full) == rows(folder_of(tmp_path / "full", head))


# ---------------------------------------------------------------- InfoVAE


@properties
@given(seeds, st.integers(1, 20), st.integers(1, 20), latents, scales)
def test_mmd_matches_definition_and_is_nonnegative(seed, n, m, latent, scale):
    rng = np.random.default_rng(seed)
    x, y = scale * rng.standard_normal((n, latent)), scale * rng.standard_normal((m, latent)) + 0.3

    def mean_kernel(a, b):
        return np.mean([[np.exp(-((p - q) ** 2).sum() / latent) for q in b] for p in a])

    ours = mmd(torch.tensor(x), torch.tensor(y)).item()
    np.testing.assert_allclose(
        ours, mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y), atol=1e-12
    )
    assert ours >= -1e-12
    assert mmd(torch.tensor(x), torch.tensor(x)).item() == pytest.approx(0, abs=1e-14)
    assert mmd(torch.tensor(x), torch.tensor(x[::-1].copy())).item() == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize(
    "move", [lambda x: x + 0.5, lambda x: 0.3 * x, lambda x: x.abs(), lambda x: 0 * x]
)
def test_mmd_separates_different_samples(move):
    x, y = torch.randn(2, 400, 8, generator=torch.Generator().manual_seed(0)).double()
    assert mmd(move(x), y) > 3 * mmd(x, y) > 0


def test_mmd_of_two_gaussians_matches_closed_form():
    """a - b ~ N(m, v I): E exp(-|a-b|^2 / D) = (1 + 2v/D)^(-D/2) exp(-|m|^2 / (D + 2v))."""
    latent, shift, var = 4, 0.6, 0.25

    def expected(mean, v):
        return (1 + 2 * v / latent) ** (-latent / 2) * math.exp(
            -latent * mean**2 / (latent + 2 * v)
        )

    exact = expected(0, 2 * var) + expected(0, 2) - 2 * expected(shift, 1 + var)
    x, y = torch.randn(2, 1500, latent, generator=torch.Generator().manual_seed(1)).double()
    assert mmd(shift + var**0.5 * x, y).item() == pytest.approx(exact, abs=0.01) and exact > 0.05


def test_infovae_by_hand_with_schedule():
    leaves = make_leaves(0, 6, 3)
    q = DiagonalGaussian.from_log_var(leaves[1], leaves[2])
    torch.manual_seed(0)
    z, kl = q.sample(), q.kl.sum(-1).mean()
    distance = mmd(z, torch.randn(6, 3))  # the prior sample is drawn after the code
    for weight, at_half in [(0.6, 0.6), (Linear(2), 0.25)]:
        loss, _, _ = compute_outcome(InfoVAE(weight, alpha=0.75, scale=10.0), leaves, epoch=0.5)
        assert loss.weight == pytest.approx(0.25 * at_half)
        total = leaves[0].mean() + 0.25 * at_half * kl + 9.75 * distance
        assert loss.total.item() == pytest.approx(total.item(), rel=1e-6)
        assert loss.terms["mmd"].item() == pytest.approx(distance.item(), rel=1e-5)


def test_best_weights_are_chosen_at_final_kl_weight():
    assert ELBO(0.4).final_weight == 0.4 and ELBO(Linear(3)).final_weight == 1
    assert (
        InfoVAE(alpha=0.75, scale=2.0).final_weight == InfoVAE(alpha=1, scale=2.0).final_weight == 1
    )
    assert Capacity(50.0, 4.0, 1).final_weight == 1 and Capacity(0.0, 4.0, 1).final_weight == 0
    assert (
        BagOfWords(1.0, 4, 0.3).final_weight == 0.3
        and MuForcing(0.3, margin=1.0).final_weight == 0.3
    )
    assert ELBO(ScaledSchedule(Linear(3), 0.5)).final_weight == 0.5
    assert prepare(composed("head=beta", *SMALL), "beta").objective.final_weight == 0.4
    assert prepare(composed("head=ae", *SMALL), "ae").objective.final_weight == 0
    for objective in (MinimumRate(1.0, 0.1), Control(1.0, 0.01, 0.01)):
        assert objective.final_weight == 1  # nelbo: each objective's own weight does not count


# ---------------------------------------------------------------- bag of words


def corpus():
    """Three sentences over the words 4..8."""
    sentences = [[4, 5, 4], [6], [7, 8, 5, 5, 6]]
    return Corpus(np.concatenate(sentences), np.cumsum([0, *map(len, sentences)])), sentences


def test_bag_nll_of_text_by_hand():
    data, sentences = corpus()
    batch = make_batch(data, np.arange(3))
    outputs = torch.randn(3, 9, generator=torch.Generator().manual_seed(0)).double()
    log_p = outputs.numpy() - np.log(np.exp(outputs.numpy()).sum(-1, keepdims=True))
    # 2 is the end symbol
    by_hand = [
        -(log_p[row, sentences[i]].sum() + log_p[row, 2]) for row, i in enumerate(batch.examples)
    ]
    np.testing.assert_allclose(batch.bag_nll(outputs), by_hand, rtol=1e-12)


def test_bag_nll_ignores_word_order_and_padding():
    data, _ = corpus()
    turned = Corpus(data.tokens.copy(), data.offsets)
    turned.tokens[4:] = data.tokens[4:][::-1]
    outputs = torch.randn(3, 9)
    alone, other = (make_batch(c, np.arange(3)).bag_nll(outputs) for c in (data, turned))
    torch.testing.assert_close(alone, other)
    single = make_batch(data, np.array([1]))
    row = list(make_batch(data, np.arange(3)).examples).index(1)
    torch.testing.assert_close(single.bag_nll(outputs[row : row + 1])[0], alone[row])


def test_minimum_bag_nll_is_entropy_of_word_frequencies():
    """Minimised over its outputs, it is the entropy of the words' shares, times their number."""
    data, _ = corpus()
    batch = make_batch(data, np.array([0]))  # 4 5 4 and the end: frequencies 1/2, 1/4, 1/4
    shares = torch.full((1, 9), 1e-12)
    shares[0, [4, 5, 2]] = torch.tensor([0.5, 0.25, 0.25])
    outputs = shares.log().requires_grad_()
    value = batch.bag_nll(outputs)
    value.sum().backward()
    assert value.item() == pytest.approx(4 * 1.5 * math.log(2), rel=1e-5)
    assert outputs.grad.abs().max() < 1e-5


def test_bag_nll_of_vectors_is_unit_gaussian():
    x, outputs = np.random.default_rng(0).standard_normal((2, 4, 3))
    ours = VectorBatch(torch.tensor(x), np.arange(4)).bag_nll(torch.tensor(outputs))
    np.testing.assert_allclose(
        ours, [-multivariate_normal.logpdf(a, b) for a, b in zip(x, outputs, strict=True)]
    )


def test_bow_by_hand_with_gradients_to_z_and_every_weight():
    data, _ = corpus()
    batch = make_batch(data, np.arange(3))
    objective = set_shapes(BagOfWords(0.5, 6, 0.4), 2, 9)
    nll, mean, log_var = make_leaves(1, 3, 2)
    q = DiagonalGaussian.from_log_var(mean, log_var)
    z = q.mean
    loss = objective(nll, q, z, 0.0, batch)
    first, _, second = objective.outputs
    hidden = np.tanh(
        z.detach().numpy() @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    )
    logits = hidden @ second.weight.detach().numpy().T + second.bias.detach().numpy()
    bag = batch.bag_nll(torch.tensor(logits)).mean().item()
    assert loss.terms["bow"].item() == pytest.approx(bag, rel=1e-5)
    assert loss.total.item() == pytest.approx(
        (nll.mean() + 0.4 * q.kl.sum(-1).mean() + 0.5 * bag).item(), rel=1e-5
    )
    (reaches_z,) = torch.autograd.grad(loss.terms["bow"], mean, retain_graph=True)
    assert reaches_z.ne(0).any()
    loss.total.backward()
    assert all(p.grad is not None and p.grad.ne(0).any() for p in objective.parameters())


@pytest.mark.parametrize("words", [(), ("model=linear", "data=gaussian")])
def test_bow_network_learns_outside_the_model(words: tuple, tmp_path: Path) -> None:
    small = [w for w in SMALL if not words or not w.startswith(("model.embedding", "model.hidden"))]
    parts = prepare(composed("head=bow", *words, *small), "bow")
    assert parts.objective.outputs[2].out_features == parts.data.inputs
    assert not any("objective" in name or "outputs" in name for name in parts.model.state_dict())
    batch = parts.data.batch("train", parts.data.batches("train", 0, 0)[0])
    optimizer = torch.optim.Adam([*parts.model.parameters(), *parts.objective.parameters()], 1e-2)
    values = []
    for _ in range(60):
        q = parts.model.encode(batch)
        z = q.sample()
        loss = parts.objective(parts.model.nll(batch, z), q, z, 9.0, batch)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        values.append(loss.terms["bow"].item())
    assert np.mean(values[-5:]) < 0.85 * values[0]


# ---------------------------------------------------------------- mu-forcing


def test_mu_forcing_by_hand():
    """mu = (0, 2), (4, 2), (2, 5): variances 8/3 and 2, so the spread is 7/3."""
    mean = torch.tensor(
        [[0.0, 2.0], [4.0, 2.0], [2.0, 5.0]], dtype=torch.float64, requires_grad=True
    )
    q = DiagonalGaussian.from_std(mean, torch.ones_like(mean))
    nll = torch.full((3,), REC, dtype=torch.float64)
    kl = q.kl.sum(-1).mean().item()
    far, near = (MuForcing(0.5, margin=m)(nll, q, mean, 0.0) for m in (3.0, 2.0))
    assert (
        far.terms["missing_spread"].item() == pytest.approx(3 - 7 / 3)
        and near.terms["missing_spread"].item() == 0
    )
    assert far.total.item() == pytest.approx(REC + 0.5 * kl + 3 - 7 / 3)
    assert near.total.item() == pytest.approx(REC + 0.5 * kl)
    (gradient,) = torch.autograd.grad(far.terms["missing_spread"], mean)
    np.testing.assert_allclose(gradient, -(mean.detach() - mean.detach().mean(0)) / 3, rtol=1e-12)


@properties
@given(seeds, batches, latents, scales)
def test_spread_is_a_lower_bound_of_kl(seed, batch, latent, scale):
    _, mean, log_var = make_leaves(seed, batch, latent, scale, torch.float64)
    q = DiagonalGaussian.from_log_var(mean, log_var)
    assert 0 <= measure_spread(mean).item() <= q.kl.sum(-1).mean().item() * (1 + 1e-9) + 1e-12
    centred = mean.detach().numpy() - mean.detach().numpy().mean(0)
    assert measure_spread(mean).item() == pytest.approx(
        (centred**2).sum() / (2 * batch), rel=1e-9, abs=1e-15
    )


def test_mu_forcing_cancels_kl_gradient_below_margin():
    mean = torch.randn(8, 3, dtype=torch.float64)
    mean = (0.1 * (mean - mean.mean(0))).requires_grad_()
    q = DiagonalGaussian.from_std(mean, torch.ones_like(mean))
    MuForcing(margin=4.0)(torch.zeros(8, dtype=torch.float64), q, mean, 0.0).total.backward()
    assert mean.grad.abs().max() < 1e-15


# ---------------------------------------------------------------- knobs

BAD = [
    (lambda: FreeBits(free=-0.1), "lambda=-0.1: out of range; allowed is 0 <= lambda"),
    (lambda: FreeBitsTotal(free="much"), "lambda=much: not a number; allowed is 0 <= lambda"),
    (
        lambda: FreeBits(-1.0, free=0.1),
        "objective.weight=-1: out of range; allowed is 0 <= objective.weight",
    ),
    (
        lambda: Capacity(-1.0, 1.0, 1),
        "capacity_weight=-1: out of range; allowed is 0 <= capacity_weight",
    ),
    (lambda: Capacity(1.0, -1.0, 1), "capacity=-1: out of range; allowed is 0 <= capacity"),
    (
        lambda: Capacity(1.0, 1.0, math.nan),
        "capacity_epochs=nan: out of range; allowed is 0 <= capacity_epochs",
    ),
    (lambda: MinimumRate(-4, 0.1), "rate=-4: out of range; allowed is 0 <= rate"),
    (lambda: MinimumRate(4, 0), "multiplier_lr=0: out of range; allowed is 0 < multiplier_lr"),
    (
        lambda: MinimumRate(4, 0.1, -1),
        "objective.weight=-1: out of range; allowed is 0 <= objective.weight",
    ),
    (lambda: Control(-1, 0.1, 0.1), "set_point=-1: out of range; allowed is 0 <= set_point"),
    (lambda: Control(1, -0.1, 0.1), "kp=-0.1: out of range; allowed is 0 <= kp"),
    (lambda: Control(1, 0.1, -0.1), "ki=-0.1: out of range; allowed is 0 <= ki"),
    (
        lambda: Control(1, 0.1, 0.1, 0),
        "objective.weight=0: out of range; allowed is 0 < objective.weight",
    ),
    (lambda: InfoVAE(alpha=1.1, scale=1), "alpha=1.1: out of range; allowed is 0 <= alpha <= 1"),
    (lambda: InfoVAE(alpha=0.5, scale=0.4), "lambda=0.4: out of range; allowed is 0.5 <= lambda"),
    (lambda: BagOfWords(-1, 4), "bow_weight=-1: out of range; allowed is 0 <= bow_weight"),
    (lambda: BagOfWords(1, 0), "bow_hidden=0: allowed is an integer of at least 1"),
    (lambda: MuForcing(margin=-1), "margin=-1: out of range; allowed is 0 <= margin"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_knob_error_uses_the_users_name(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize("head", OWN)
def test_bad_knob_error_names_that_knob(head: str) -> None:
    for knob in knobs_of(head) - SHARES.keys():  # shares: tests/test_shares.py
        with pytest.raises(InputError, match=rf"^{knob}=-1"):
            prepare(composed(f"head={head}", *SMALL, f"{knob}=-1"), head)


COMBINED = {"bn_tau_cyclical": ("bn_tau", "kl_cyclical"), "bow_anneal": ("bow", "kl_anneal")}


@pytest.mark.parametrize("head", COMBINED)
def test_combination_contains_both_heads(head: str) -> None:
    one, other = COMBINED[head]
    assert check_head(head) == head
    cfg, first, second = (composed(f"head={name}", *SMALL) for name in (head, one, other))
    assert knobs_of(head) == knobs_of(one) | knobs_of(other)
    check_knobs(cfg, head)
    assert cfg.label not in (first.label, second.label) and cfg.posterior == first.posterior
    assert (
        cfg.objective.weight == second.objective.weight
        and cfg.objective._target_ == first.objective._target_
    )
    for knob in knobs_of(head) - SHARES.keys():
        assert cfg[knob] == (first if knob in first else second)[knob]


def test_head_labels_are_unique() -> None:
    labels = [read_head(head)["label"] for head in heads()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("knob", ["cycles=2", "ramp=0.25", "tau=0.7"])
def test_combination_passes_knobs_of_both_heads(knob: str) -> None:
    key, value = knob.split("=")
    parts = prepare(composed("head=bn_tau_cyclical", *SMALL, knob), "bn_tau_cyclical")
    found = {
        "tau": parts.model.posterior.tau,
        "cycles": parts.objective.weight.cycles,
        "ramp": parts.objective.weight.ramp,
    }
    assert found[key] == float(value) and parts.objective.weight.epochs == 2
