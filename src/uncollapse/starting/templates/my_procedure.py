"""FILL IN: which weights are updated, and when, in one sentence.

FILL IN: authors, "title", venue and year (arXiv number), section, algorithm.
    repeat encoder_steps times: one step of the encoder on the batch
    then one step of encoder and decoder together, as usual
encoder_steps 0 is ordinary training.
FILL IN: deviations from the paper, and why; what it guarantees, and under which conditions.
"""

from dataclasses import dataclass

from uncollapse.errors import check_integer
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.procedure import Procedure, Training
from uncollapse.procedures.joint import step_together


@dataclass(frozen=True)
class MyProcedure(Procedure):
    """InputError unless encoder_steps is an integer >= 0."""

    encoder_steps: int

    def __post_init__(self) -> None:
        check_integer("encoder_steps", self.encoder_steps, 0)

    def step(self, training: Training, batch: Batch) -> Loss:
        # only the encoder's weights change in these steps
        for _ in range(self.encoder_steps):
            loss = training.loss(batch, training.model.encode(batch))
            training.update(loss.total, ("encoder",))
        return step_together(training, batch)
