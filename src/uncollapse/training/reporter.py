"""The events that the trainer reports to its user."""

from typing import Protocol

from uncollapse.interfaces.objective import Loss
from uncollapse.json_types import JsonObject


class Reporter(Protocol):
    """Receives the events of a training run; `console.Console` prints them."""

    def stepped(self, step: int, total: int, loss: Loss) -> None:
        """A training step was made, `step` of `total`."""

    def evaluated(self, row: JsonObject) -> None:
        """A row of metrics was written."""

    def resumed(self, step: int, note: str | None) -> None:
        """A checkpoint was restored; the note says which earlier rows of metrics are missing."""

    def warn(self, message: str) -> None:
        """Something unexpected happened; training goes on."""
