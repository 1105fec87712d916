"""What the trainer tells its user."""

from typing import Any, Protocol

from uncollapse.interfaces.objective import Loss


class Reporter(Protocol):
    """Receives the events of a training run; `console.Console` prints them."""

    def stepped(self, step: int, total: int, loss: Loss) -> None:
        """A training step was made, `step` of `total`."""

    def evaluated(self, row: dict[str, Any]) -> None:
        """A row of metrics was written."""

    def resumed(self, step: int, note: str | None) -> None:
        """A checkpoint was restored; the note says what is missing of the rows before it."""

    def warn(self, message: str) -> None:
        """Something unexpected happened; training goes on."""
