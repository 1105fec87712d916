"""Weights that change with training: pure functions of the position in epochs (a float), so that resuming needs no state.

A bare number is a constant schedule. Values lie in [0, 1] and reach 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

from uncollapse.errors import number

Schedule = float | Callable[[float], float]


def at(schedule: Schedule, epoch: float) -> float:
    """The schedule's value at a position in epochs."""
    return schedule(epoch) if callable(schedule) else float(schedule)


@dataclass(frozen=True)
class Linear:
    """0 -> 1 in a straight line over the first `epochs` (Bowman et al. 2016, section 3.1); 0 epochs is the constant 1."""

    epochs: float

    def __post_init__(self) -> None:
        number("anneal_epochs", self.epochs, 0, closed=True)

    def __call__(self, epoch: float) -> float:
        return 1.0 if self.epochs == 0 else min(1.0, epoch / self.epochs)
