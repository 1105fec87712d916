"""Encoder and decoder updated together on every batch: the ordinary way to train a VAE."""

from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.procedure import Procedure, Training


def step_together(training: Training, batch: Batch) -> Loss:
    """One optimiser step of all components on one batch."""
    loss = training.loss(batch, training.model.encode(batch))
    training.update(loss.total)
    return loss


class Joint(Procedure):
    """Every step is a joint one."""

    def step(self, training: Training, batch: Batch) -> Loss:
        return step_together(training, batch)
