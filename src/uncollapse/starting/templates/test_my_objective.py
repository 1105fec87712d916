"""my_objective: its formula, and the ELBO where the knob switches it off."""

import pytest
import torch

from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.errors import InputError
from uncollapse.objectives.elbo import ELBO
from uncollapse.starting.templates.my_objective import MyObjective

EXAMPLE_NLL = torch.tensor([2.0, 4.0])
EXAMPLE_Q = DiagonalGaussian.from_log_var(torch.tensor([[1.0, 0.0], [3.0, 1.0]]), torch.zeros(2, 2))


def test_pull_0_is_the_elbo_bit_for_bit() -> None:
    plain = ELBO(weight=0.5)(EXAMPLE_NLL, EXAMPLE_Q, EXAMPLE_Q.mean, 0.0)
    ours = MyObjective(weight=0.5, pull=0)(EXAMPLE_NLL, EXAMPLE_Q, EXAMPLE_Q.mean, 0.0)
    assert torch.equal(ours.total, plain.total)


def test_the_term_by_hand() -> None:
    loss = MyObjective(weight=1.0, pull=3)(EXAMPLE_NLL, EXAMPLE_Q, EXAMPLE_Q.mean, 0.0)
    rec, kl, offset = (loss.terms[name].item() for name in ("rec", "kl", "offset"))
    assert offset == 0.5 * (2.0**2 + 0.5**2)  # the means of mu are 2 and 1/2
    assert loss.total.item() == rec + kl + 3 * offset


@pytest.mark.parametrize("pull", [-1, float("nan"), "hard"])
def test_a_bad_pull_is_refused(pull: float) -> None:
    with pytest.raises(InputError, match=f"^pull={pull}: .* allowed is 0 <= pull$"):
        MyObjective(weight=1.0, pull=pull)
