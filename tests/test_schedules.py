"""KL weights over training, and the objective that uses them, against hand-computed numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uncollapse.errors import InputError
from uncollapse.objectives.elbo import ELBO
from uncollapse.posteriors import DiagonalGaussian
from uncollapse.schedules import Linear, at

properties = settings(max_examples=100, deadline=None, derandomize=True)
RANGE = "out of range"
positions, spans = st.floats(0, 1e4), st.floats(1e-6, 1e4)


@pytest.mark.parametrize(
    ("epochs", "epoch", "weight"),
    [(4, 0, 0), (4, 1, 0.25), (4, 3, 0.75), (4, 4, 1), (4, 4.01, 1), (4, 400, 1), (0.5, 0.25, 0.5), (8, 0.5, 0.0625)],
)
def test_linear_by_hand(epochs, epoch, weight):
    assert Linear(epochs)(epoch) == weight


@properties
@given(spans, positions, positions)
def test_linear_stays_in_its_bounds_and_never_falls(epochs, one, other):
    early, late = sorted((one, other))
    assert 0 <= Linear(epochs)(early) <= Linear(epochs)(late) <= 1


@properties
@given(spans, positions)
def test_linear_starts_at_0_and_reaches_1(epochs, beyond):
    assert Linear(epochs)(0.0) == 0
    assert Linear(epochs)(epochs + beyond) == 1


@properties
@given(positions)
def test_no_epochs_is_the_constant_1(epoch):
    assert Linear(0)(epoch) == 1.0 == at(1, epoch) == at(1.0, epoch)


def test_a_bare_number_is_a_constant_schedule_and_a_function_is_asked():
    assert at(0.4, 0) == at(0.4, 17.5) == 0.4
    assert at(lambda epoch: epoch**2, 3.0) == 9.0


@pytest.mark.parametrize(("value", "why"), [(-1, RANGE), (float("nan"), RANGE), ("3", "not a number")])
def test_bad_lengths_are_refused(value, why):
    with pytest.raises(InputError) as caught:
        Linear(value)
    assert str(caught.value) == f"anneal_epochs={value}: {why}; allowed is 0 <= anneal_epochs"


# ---------------------------------------------------------------- the objective


def two_examples():
    """nll 3 and 5; KL per example by hand: 1/2 (4 + 1 - 0 - 1) = 2 and 0, then 1/2 (0 + 4 - ln 4 - 1) and 1/2."""
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
    np.testing.assert_allclose([loss.terms["kl"].item(), loss.total.item()], [KL, 4 + weight * KL], rtol=1e-6)
    loss.total.backward()
    assert nll.grad.equal(torch.tensor([0.5, 0.5]))
    np.testing.assert_allclose(mean.grad, weight * mean.detach() / 2, rtol=1e-6)  # d KL / d mu = mu, over two examples


def test_weight_0_is_the_autoencoder_and_the_kl_is_still_reported():
    nll, q, _ = two_examples()
    loss = ELBO(0)(nll, q, q.mean, 0.0)
    assert loss.total.item() == 4 and loss.terms["kl"].item() == pytest.approx(KL)


def test_a_schedule_is_read_at_the_position():
    nll, q, _ = two_examples()
    loss = ELBO(Linear(4))(nll, q, q.mean, 1.0)
    assert loss.weight == 0.25 and loss.total.item() == pytest.approx(4 + 0.25 * KL)


@pytest.mark.parametrize("epoch", [0.0, 0.3, 9.0])
def test_annealing_over_no_epochs_is_the_plain_objective_bit_for_bit(epoch):
    losses, gradients = [], []
    for weight in (1.0, 1, Linear(0), Linear(0.0)):
        nll, q, mean = two_examples()
        loss = ELBO(weight)(nll, q, q.mean, epoch)
        loss.total.backward()
        losses.append(loss.total.detach())
        gradients.append(mean.grad)
    assert all(loss.equal(losses[0]) for loss in losses)
    assert all(gradient.equal(gradients[0]) for gradient in gradients)


@pytest.mark.parametrize(("value", "why"), [(-0.5, RANGE), (float("inf"), RANGE), ("high", "not a number")])
def test_bad_weights_are_refused(value, why):
    with pytest.raises(InputError) as caught:
        ELBO(value)
    assert str(caught.value) == f"objective.weight={value}: {why}; allowed is 0 <= objective.weight"
