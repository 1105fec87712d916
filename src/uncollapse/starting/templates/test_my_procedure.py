"""my_procedure: which weights move, and the ordinary training where the knob switches it off."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from uncollapse.contract import KINDS, Case
from uncollapse.errors import InputError
from uncollapse.interfaces.procedure import Procedure, Training
from uncollapse.procedures.joint import Joint
from uncollapse.starting.templates.my_procedure import MyProcedure


def train_plain_model(procedure: Procedure, steps: int = 2) -> list[Tensor]:
    """The weights of a small plain model after a few steps."""
    parts = Case("plain", KINDS["text"], Path()).parts()  # the folder is for runs only
    training = Training(
        model=parts.model,
        objective=parts.objective,
        data=parts.data,
        optimizers={
            name: torch.optim.SGD(weights, lr=0.1) for name, weights in parts.model.parts().items()
        },
        clip=None,
        seed=0,
        per_epoch=6,
        device=torch.device("cpu"),
    )
    torch.manual_seed(0)
    for training.step, examples in enumerate(parts.data.batches("train", 0, 0)[:steps]):
        procedure.step(training, parts.data.batch("train", examples))
    return [weight.detach() for weight in parts.model.parameters()]


def test_no_encoder_steps_are_the_ordinary_training_bit_for_bit() -> None:
    pairs = zip(train_plain_model(Joint()), train_plain_model(MyProcedure(0)), strict=True)
    assert all(torch.equal(plain, ours) for plain, ours in pairs)


def test_the_encoder_moves_first_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    update, moved = Training.update, []

    def note(training: Training, loss: Tensor, names: tuple[str, ...] | None = None) -> None:
        moved.append(names)
        update(training, loss, names)

    monkeypatch.setattr(Training, "update", note)
    train_plain_model(MyProcedure(2))
    assert moved == [("encoder",), ("encoder",), None] * 2


@pytest.mark.parametrize("encoder_steps", [-1, 0.5, "many"])
def test_a_bad_count_is_refused(encoder_steps: int) -> None:
    with pytest.raises(InputError, match=f"^encoder_steps={encoder_steps}: .* of at least 0$"):
        MyProcedure(encoder_steps)
