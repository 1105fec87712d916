"""The test at the end of training: of the best weights, and of those that other rules chose."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from uncollapse.json_types import JsonObject
from uncollapse.runs.checkpoint import load_model, save_model
from uncollapse.training.measures import keep_numbers, measure_lag
from uncollapse.training.state import Kept

if TYPE_CHECKING:
    from uncollapse.interfaces.model import Model
    from uncollapse.training.trainer import Trainer


@dataclass(frozen=True)
class Tested:
    """Test rows of the best weights in evaluation and in training mode, and of other weights."""

    best: JsonObject
    training_mode: JsonObject
    others: dict[str, JsonObject]  # by rule, of those that chose other weights


def test_weights(trainer: "Trainer") -> Tested:
    """Write the test rows: of each rule's weights that are not the best, then of the best ones.

    The last weights are those with which training would continue; after `decay_reload` these are
    the best. The model holds the best weights afterwards.
    """
    progress = trainer.progress
    ended, end = copy_weights(trainer.model), progress.step
    load_model(trainer.selection.weights, trainer.model)
    found = {rule: test_rule(trainer, rule, ended, end) for rule in trainer.config.keep}
    others = {rule: row for rule, row in found.items() if row is not None}
    # rows state the step that the tested weights are from
    progress.step = progress.best_step
    extra = {"weight": progress.best_weight, "weights": "best"}
    lag = keep_numbers(measure_lag(trainer, "test"))
    row = trainer.write_row("test", "eval", extra | lag)
    return Tested(row, trainer.write_row("test", "train", extra), others)


def test_rule(
    trainer: "Trainer", rule: str, ended: dict[str, Tensor], end: int
) -> JsonObject | None:
    """The test row of a rule's weights; None if these are the best, which the model holds.

    `ended` are the weights at step `end`, the last.
    """
    selection, model = trainer.selection, trainer.model
    if rule == "last":
        best = model.state_dict()
        # equal weights need no second test
        if all(torch.equal(tensor, ended[name]) for name, tensor in best.items()):
            return None
        kept = Kept(step=end, weight=trainer.weight_at_step(end))
        model.load_state_dict(ended)
        save_model(selection.weights_of(rule), model)
    else:
        kept = trainer.progress.kept.get(rule, Kept())
        if not math.isfinite(kept.value) or kept.step == trainer.progress.best_step:
            return None
        load_model(selection.weights_of(rule), model)
    trainer.progress.step = kept.step
    row = trainer.write_row("test", "eval", {"weight": kept.weight, "weights": rule})
    load_model(selection.weights, model)
    return row


def copy_weights(model: "Model") -> dict[str, Tensor]:
    """Copies, which loading other weights into the model does not overwrite."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
