"""Weights that change with training: pure functions of the position in epochs (a float), so that resuming needs no state.

A bare number is a constant schedule. The others rise within [0, 1] and end at 1; one that ends elsewhere says so in `end`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from uncollapse.errors import number, whole

Schedule = float | Callable[[float], float]


def at(schedule: Schedule, epoch: float) -> float:
    """The schedule's value at a position in epochs."""
    return schedule(epoch) if callable(schedule) else float(schedule)


def end_of(schedule: Schedule) -> float:
    """The value that training ends with."""
    return float(getattr(schedule, "end", 1.0)) if callable(schedule) else float(schedule)


@dataclass(frozen=True)
class Linear:
    """0 -> 1 in a straight line over the first `epochs` (Bowman et al. 2016, section 3.1); 0 epochs is the constant 1."""

    epochs: float

    def __post_init__(self) -> None:
        number("anneal_epochs", self.epochs, 0, closed=True)

    def __call__(self, epoch: float) -> float:
        return 1.0 if self.epochs == 0 else min(1.0, epoch / self.epochs)


@dataclass(frozen=True)
class Delayed:
    """0 before epoch `start`, then 0 -> 1 in a straight line over `epochs` (0: 1 at once): an autoencoder first (Li et al. 2019)."""

    start: float
    epochs: float

    def __post_init__(self) -> None:
        number("pretrain_epochs", self.start, 0, closed=True)
        number("anneal_epochs", self.epochs, 0, closed=True)

    def __call__(self, epoch: float) -> float:
        return 0.0 if epoch < self.start else Linear(self.epochs)(epoch - self.start)


@dataclass(frozen=True)
class Logistic:
    """1 / (1 + exp(-steepness (epoch - midpoint))) (Bowman et al. 2016, section 3.1 and figure 2); 1/2 at the midpoint."""

    midpoint: float
    steepness: float  # per epoch

    def __post_init__(self) -> None:
        number("midpoint", self.midpoint, 0, closed=True)
        number("steepness", self.steepness, 0)

    def __call__(self, epoch: float) -> float:
        # the same function by way of tanh, which no argument makes overflow
        return 0.5 * (1 + math.tanh(0.5 * self.steepness * (epoch - self.midpoint)))


@dataclass(frozen=True)
class Cyclical:
    """`cycles` equal periods in `epochs`: in each, 0 -> 1 in a straight line over its first part `ramp`, then 1; 1 from the end on.

    Fu et al., "Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing", NAACL 2019 (arXiv 1903.10145), section 4,
    equations 6 and 7, with f(tau) = tau / R. The first ramp starts with the first step. ramp 0 is the constant 1.
    """

    epochs: float
    cycles: int
    ramp: float

    def __post_init__(self) -> None:
        number("trainer.epochs", self.epochs, 0)
        whole("cycles", self.cycles, 1)
        number("ramp", self.ramp, 0, 1, closed=True)

    def __call__(self, epoch: float) -> float:
        if self.ramp == 0 or epoch >= self.epochs:
            return 1.0
        # rounded, so that a step that begins a period is not taken for the end of the one before by an error in the last digit
        phase = round(epoch * self.cycles / self.epochs, 9) % 1
        return min(1.0, phase / self.ramp)


@dataclass(frozen=True)
class Constant:
    """One weight >= 0 throughout (Higgins et al. 2017): a bare number under the name of the knob that it is, beta."""

    beta: float

    def __post_init__(self) -> None:
        number("beta", self.beta, 0, closed=True)

    @property
    def end(self) -> float:
        return float(self.beta)

    def __call__(self, epoch: float) -> float:
        return float(self.beta)


@dataclass(frozen=True)
class Scaled:
    """`factor` times another schedule."""

    schedule: Schedule
    factor: float

    @property
    def end(self) -> float:
        return self.factor * end_of(self.schedule)

    def __call__(self, epoch: float) -> float:
        return self.factor * at(self.schedule, epoch)
