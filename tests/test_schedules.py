"""KL weight schedules, and the objective that uses them, against hand-computed numbers."""

import numpy as np
import pytest
import torch
from conftest import composed
from hypothesis import given, settings
from hypothesis import strategies as st

from uncollapse.config import knobs_of
from uncollapse.config.knobs import check_knobs
from uncollapse.config.targets import build
from uncollapse.errors import InputError
from uncollapse.objectives.elbo import ELBO
from uncollapse.posteriors import DiagonalGaussian
from uncollapse.training.schedules import (
    Constant,
    Cyclical,
    Linear,
    Logistic,
    ScaledSchedule,
    final_value,
    weight_at,
)

properties = settings(max_examples=100, deadline=None, derandomize=True)
RANGE = "out of range"
positions, spans = st.floats(0, 1e4), st.floats(1e-6, 1e4)


@pytest.mark.parametrize(
    ("epochs", "epoch", "weight"),
    [
        (4, 0, 0),
        (4, 1, 0.25),
        (4, 3, 0.75),
        (4, 4, 1),
        (4, 4.01, 1),
        (4, 400, 1),
        (0.5, 0.25, 0.5),
        (8, 0.5, 0.0625),
    ],
)
def test_linear_by_hand(epochs, epoch, weight):
    assert Linear(epochs)(epoch) == weight


@properties
@given(spans, positions, positions)
def test_linear_is_bounded_and_nondecreasing(epochs, one, other):
    early, late = sorted((one, other))
    assert 0 <= Linear(epochs)(early) <= Linear(epochs)(late) <= 1


@properties
@given(spans, positions)
def test_linear_starts_at_0_and_reaches_1(epochs, beyond):
    assert Linear(epochs)(0.0) == 0
    assert Linear(epochs)(epochs + beyond) == 1


@properties
@given(positions)
def test_zero_epochs_gives_constant_1(epoch):
    assert Linear(0)(epoch) == 1.0 == weight_at(1, epoch) == weight_at(1.0, epoch)


def test_number_is_constant_schedule_and_function_is_called():
    assert weight_at(0.4, 0) == weight_at(0.4, 17.5) == 0.4
    assert weight_at(lambda epoch: epoch**2, 3.0) == 9.0


def test_schedule_ends_at_1_by_default():
    assert (
        final_value(0.4) == 0.4
        and final_value(Linear(3))
        == final_value(Logistic(1, 8))
        == final_value(Cyclical(6, 4, 0.5))
        == 1
    )
    assert (
        final_value(Constant(0.4)) == 0.4 == final_value(ScaledSchedule(Linear(3), 0.4))
        and final_value(lambda epoch: epoch) == 1
    )


@properties
@given(st.floats(0, 10), positions)
def test_beta_is_constant(beta, epoch):
    assert Constant(beta)(epoch) == beta == weight_at(Constant(beta), epoch)


@properties
@given(st.floats(0, 10), positions, spans)
def test_scaled_schedule_is_product(factor, epoch, epochs):
    assert ScaledSchedule(Linear(epochs), factor)(epoch) == factor * Linear(epochs)(epoch)


# ---------------------------------------------------------------- logistic


@pytest.mark.parametrize(
    ("midpoint", "steepness", "epoch", "weight"),
    [
        (1, 8, 0, 1 / (1 + np.exp(8))),
        (1, 8, 1, 0.5),
        (1, 8, 1.25, 1 / (1 + np.exp(-2))),
        (1, 8, 2, 1 / (1 + np.exp(-8))),
        (3, 2, 1, 1 / (1 + np.exp(4))),
        (0, 5, 0, 0.5),
        (1e4, 1e4, 0, 0),  # so far out that the exponential overflows
        (1, 8, 1e300, 1),
    ],
)
def test_logistic_by_hand(midpoint, steepness, epoch, weight):
    assert Logistic(midpoint, steepness)(epoch) == pytest.approx(weight, rel=1e-12, abs=1e-16)


@properties
@given(positions, spans, positions, positions)
def test_logistic_is_bounded_nondecreasing_and_symmetric(midpoint, steepness, one, other):
    schedule = Logistic(midpoint, steepness)
    early, late = sorted((one, other))
    assert 0 <= schedule(early) <= schedule(late) <= 1
    assert schedule(midpoint + one) + schedule(midpoint - one) == pytest.approx(1, abs=1e-6)
    assert schedule(midpoint + 40 / steepness) == pytest.approx(1, abs=1e-9)


def test_logistic_head_goes_from_0_to_1_in_three_epochs():
    knobs = composed("head=kl_logistic")
    schedule = Logistic(knobs.midpoint, knobs.steepness)
    assert schedule(0.0) < 1e-3 and schedule(2.0) > 0.999


# ---------------------------------------------------------------- cyclical


# 8 epochs, 4 periods of 2, ramps over the first half: 0 -> 1 in one epoch, then one epoch at 1
BY_HAND = {
    0: 0,
    0.25: 0.25,
    0.5: 0.5,
    1: 1,
    1.5: 1,
    1.999: 1,
    2: 0,
    2.25: 0.25,
    3: 1,
    3.999: 1,
    4: 0,
    4.75: 0.75,
    5: 1,
}
BY_HAND |= {6: 0, 6.5: 0.5, 7: 1, 7.999: 1, 8: 1, 8.5: 1, 10: 1, 1000: 1}


@pytest.mark.parametrize(("epoch", "weight"), [*BY_HAND.items()])
def test_cyclical_by_hand(epoch, weight):
    assert Cyclical(8, 4, 0.5)(epoch) == weight


@pytest.mark.parametrize(
    ("ramp", "epoch", "weight"),
    [(1, 1, 0.5), (1, 1.5, 0.75), (1, 2, 0), (1, 8, 1), (0.25, 0.25, 0.5), (0.25, 0.5, 1)],
)
def test_cyclical_by_hand_with_other_ramps(ramp, epoch, weight):
    assert Cyclical(8, 4, ramp)(epoch) == weight


@properties
@given(st.integers(1, 50), st.integers(1, 20), st.floats(0.05, 1), st.integers(1, 400))
def test_cyclical_run_has_requested_ramps(epochs, cycles, ramp, per_epoch):
    total, schedule = epochs * per_epoch, Cyclical(epochs, cycles, ramp)
    if total < 2 * cycles:
        return  # a period needs at least two steps
    weights = np.array([schedule(step / per_epoch) for step in range(total)])
    assert weights[0] == 0 and weights.min() >= 0 and weights.max() <= 1
    falls = 1 + np.flatnonzero(np.diff(weights) < 0)
    # the first step at or after each boundary
    starts = [-(-total * k // cycles) for k in range(1, cycles)]
    assert falls.tolist() == starts
    period = total / cycles
    for first, last in zip([0, *starts], [*starts, total], strict=True):
        at_1 = (weights[first:last] == 1).sum()
        assert abs(at_1 - (1 - ramp) * period) <= 2
        assert weights[first] < 1 / (ramp * period) + 1e-6
    assert schedule(epochs) == schedule(epochs + 0.5) == 1


@properties
@given(positions, spans, st.integers(1, 20), st.floats(0, 1))
def test_cyclical_weight_depends_only_on_position(epoch, epochs, cycles, ramp):
    weight = Cyclical(epochs, cycles, ramp)(epoch)
    assert 0 <= weight <= 1 and weight == Cyclical(epochs, cycles, ramp)(epoch)
    assert Cyclical(epochs, cycles, 0)(epoch) == 1.0


def test_cyclical_length_comes_from_run():
    cfg = composed("head=kl_cyclical", "trainer.epochs=9", "cycles=3")
    assert build(cfg.objective, "objective").weight == Cyclical(9, 3, 0.5)
    assert knobs_of("kl_cyclical") == {"cycles", "ramp"}
    check_knobs(cfg, "kl_cyclical")
    with pytest.raises(InputError, match="no knob epochs"):
        check_knobs(composed("head=kl_cyclical", "+epochs=3"), "kl_cyclical")


BAD = [
    (lambda: Logistic(-1, 8), "midpoint=-1: out of range; allowed is 0 <= midpoint"),
    (lambda: Logistic(1, 0), "steepness=0: out of range; allowed is 0 < steepness"),
    (lambda: Cyclical(6, 0, 0.5), "cycles=0: allowed is an integer of at least 1"),
    (lambda: Cyclical(6, 1.5, 0.5), "cycles=1.5: allowed is an integer of at least 1"),
    (lambda: Cyclical(6, 4, 1.5), "ramp=1.5: out of range; allowed is 0 <= ramp <= 1"),
    (lambda: Cyclical(0, 4, 0.5), "trainer.epochs=0: out of range; allowed is 0 < trainer.epochs"),
    (lambda: Constant(-0.4), "beta=-0.4: out of range; allowed is 0 <= beta"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_knob_error_uses_the_users_name(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "why"), [(-1, RANGE), (float("nan"), RANGE), ("3", "not a number")]
)
def test_bad_schedule_lengths_are_refused(value, why):
    with pytest.raises(InputError) as caught:
        Linear(value)
    assert str(caught.value) == f"anneal_epochs={value}: {why}; allowed is 0 <= anneal_epochs"


# ---------------------------------------------------------------- the objective


def two_examples():
    """nll 3 and 5; KL per example and dimension by hand.

    1/2 (4 + 1 - 0 - 1) = 2 and 0, then 1/2 (0 + 4 - ln 4 - 1) and 1/2."""
    mean = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    std = torch.tensor([[1.0, 1.0], [2.0, 1.0]])
    return torch.tensor([3.0, 5.0], requires_grad=True), DiagonalGaussian.from_std(mean, std), mean


KL = (2 + 0.5 * (3 - np.log(4)) + 0.5) / 2


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0, 2.5])
def test_elbo_by_hand(weight):
    nll, q, mean = two_examples()
    loss = ELBO(weight)(nll, q, q.mean, 0.0)
    assert loss.weight == weight and set(loss.terms) == {"rec", "kl"}
    assert loss.terms["rec"].item() == 4
    np.testing.assert_allclose(
        [loss.terms["kl"].item(), loss.total.item()], [KL, 4 + weight * KL], rtol=1e-6
    )
    loss.total.backward()
    assert nll.grad.equal(torch.tensor([0.5, 0.5]))
    # d KL / d mu = mu, over two examples
    np.testing.assert_allclose(mean.grad, weight * mean.detach() / 2, rtol=1e-6)


def test_weight_0_is_autoencoder_and_kl_is_still_reported():
    nll, q, _ = two_examples()
    loss = ELBO(0)(nll, q, q.mean, 0.0)
    assert loss.total.item() == 4 and loss.terms["kl"].item() == pytest.approx(KL)


def test_schedule_is_evaluated_at_training_position():
    nll, q, _ = two_examples()
    loss = ELBO(Linear(4))(nll, q, q.mean, 1.0)
    assert loss.weight == 0.25 and loss.total.item() == pytest.approx(4 + 0.25 * KL)


@pytest.mark.parametrize("epoch", [0.0, 0.3, 9.0])
def test_annealing_over_zero_epochs_equals_plain_bit_for_bit(epoch):
    losses, gradients = [], []
    for weight in (1.0, 1, Linear(0), Linear(0.0)):
        nll, q, mean = two_examples()
        loss = ELBO(weight)(nll, q, q.mean, epoch)
        loss.total.backward()
        losses.append(loss.total.detach())
        gradients.append(mean.grad)
    assert all(loss.equal(losses[0]) for loss in losses)
    assert all(gradient.equal(gradients[0]) for gradient in gradients)


@pytest.mark.parametrize(
    ("value", "why"), [(-0.5, RANGE), (float("inf"), RANGE), ("high", "not a number")]
)
def test_bad_kl_weights_are_refused(value, why):
    with pytest.raises(InputError) as caught:
        ELBO(value)
    assert str(caught.value) == f"objective.weight={value}: {why}; allowed is 0 <= objective.weight"
