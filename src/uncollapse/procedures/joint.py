"""Encoder and decoder updated together on every batch: the ordinary way to train a VAE."""

from typing import Any

from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.procedure import Procedure, Training


def step_together(training: Training, batch: Any) -> Loss:
    """One optimiser step of all components on one batch."""
    loss = training.loss(batch, training.model.encode(batch))
    training.update(loss.total)
    return loss


class Joint(Procedure):
    """Every step is a joint one."""

    def step(self, training: Training, batch: Any) -> Loss:
        return step_together(training, batch)
