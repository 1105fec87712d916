"""my_objective_module: its formula, how its multiplier moves, and the ELBO at a target of 0."""

from typing import Any

import pytest
import torch

from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.errors import InputError
from uncollapse.objectives.elbo import ELBO
from uncollapse.starting.templates.my_objective_module import MyObjectiveModule

EXAMPLE_NLL = torch.tensor([2.0, 4.0])
EXAMPLE_Q = DiagonalGaussian.from_log_var(torch.tensor([[1.0, 0.0], [3.0, 1.0]]), torch.zeros(2, 2))
EXAMPLE_KL = 0.5 * (1 + 10) / 2  # half the mean squared norm of mu


def test_target_0_is_the_elbo_bit_for_bit() -> None:
    objective = MyObjectiveModule(target=0, weight=0.5)
    for _ in range(3):
        ours = objective(EXAMPLE_NLL, EXAMPLE_Q, EXAMPLE_Q.mean, 0.0)
        objective.update(ours)
        plain = ELBO(weight=0.5)(EXAMPLE_NLL, EXAMPLE_Q, EXAMPLE_Q.mean, 0.0)
        assert torch.equal(ours.total, plain.total) and ours.weight == 0.5


def test_multiplier_by_hand() -> None:
    objective = MyObjectiveModule(target=4, speed=0.1)
    first = objective(EXAMPLE_NLL, EXAMPLE_Q, EXAMPLE_Q.mean, 0.0)
    objective.update(first)
    u = 0.1 * (4 - EXAMPLE_KL)
    assert float(objective.multiplier) == pytest.approx(u)
    second = objective(EXAMPLE_NLL, EXAMPLE_Q, EXAMPLE_Q.mean, 0.0)
    assert second.total.item() == pytest.approx(3 + (1 - u) * EXAMPLE_KL)
    assert second.weight == pytest.approx(1 - u)
    # the best weights are chosen without the multiplier
    batch: Any = None  # it is not read
    final = objective.final_loss(EXAMPLE_NLL, EXAMPLE_Q, EXAMPLE_Q.mean, batch)
    assert final.item() == pytest.approx(3 + EXAMPLE_KL)


@pytest.mark.parametrize("target", [-1, float("nan"), "high"])
def test_a_bad_target_is_refused(target: float) -> None:
    with pytest.raises(InputError, match=f"^target={target}: .* allowed is 0 <= target$"):
        MyObjectiveModule(target=target)
