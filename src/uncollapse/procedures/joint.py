"""Encoder and decoder updated together, one step each per batch: the ordinary way to train a VAE."""

from typing import Any

from uncollapse.objectives.elbo import Loss
from uncollapse.procedures import Training
from uncollapse.training.phases import Phased


class Joint(Phased):
    """step(training, batch) -> Loss.

    Procedures with state (it must be in the checkpoint) are `nn.Module`s; `begin(training)` is called before the first step and
    before a resume, `infer(model, batch, generator)` when codes are not the encoder's alone. One that does not train the final model
    from the start says so by `settled`: while it is false, weights never count as the best. `Phased` is the base of all: what ends in
    the course of training is named by `phases()` beforehand and `unsettled(rows)` afterwards.
    """

    def step(self, training: Training, batch: Any) -> Loss:
        loss = training.loss(batch, training.model.encode(batch))
        training.update(loss.total)
        return loss
