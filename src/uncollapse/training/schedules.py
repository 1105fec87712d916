"""Weights that change with training: pure functions of the position in epochs (a float), so that resuming needs no state.

A bare number is a constant schedule. The others rise within [0, 1] and end at 1; one that ends elsewhere says so in `end`, and each
says in `end_epoch` where it ends.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from uncollapse.errors import check_number, check_integer
from uncollapse.training.phases import Phase

Schedule = float | Callable[[float], float]


def at(schedule: Schedule, epoch: float) -> float:
    """The schedule's value at a position in epochs."""
    return schedule(epoch) if callable(schedule) else float(schedule)


def end_of(schedule: Schedule) -> float:
    """The value that training ends with."""
    if not callable(schedule):
        return float(schedule)
    return schedule.end if isinstance(schedule, Curve) else 1.0


def weight_phases(schedule: Schedule) -> list[Phase]:
    """The KL weight's way to its final value as a phase of training; none for what is constant."""
    if not isinstance(schedule, Curve) or schedule.end_epoch == 0:
        return []
    return [
        Phase(
            schedule.knobs(),
            f"objective.weight={schedule}",
            schedule.end_epoch,
            schedule.where,
            schedule.lost(),
            schedule.shorter,
            schedule.follows,
        )
    ]


def short(weight: float) -> str:
    return f"{weight:.2f}" if weight >= 0.01 or weight == 0 else f"{weight:.2g}"


class Curve:
    """A schedule that says where it ends."""

    @property
    def end(self) -> float:
        """The value that it ends with."""
        return 1.0

    @property
    def end_epoch(self) -> float:
        """The position (epochs) from which on it has that value; 0 for a constant."""
        return 0.0

    def knobs(self) -> dict[str, float]:
        """The knobs that set its length, by the names that heads give them."""
        return {}

    def where(self, epoch: float) -> str:
        """In words, where it stands."""
        return f"at weight {short(self(epoch))}"

    def lost(self) -> str:
        """What a run misses that ends before it."""
        return "the KL never has its full weight"

    @property
    def follows(self) -> bool:
        """Whether its end moves with trainer.epochs."""
        return False

    def shorter(self, epochs: float) -> str:
        """What to change so that it ends within so many epochs."""
        return f"a schedule that ends within {epochs:.3g} epochs"

    def __call__(self, epoch: float) -> float:
        raise NotImplementedError


@dataclass(frozen=True)
class Linear(Curve):
    """0 -> 1 in a straight line over the first `epochs` (Bowman et al. 2016, section 3.1); 0 epochs is the constant 1."""

    epochs: float

    def __post_init__(self) -> None:
        check_number("anneal_epochs", self.epochs, 0, closed=True)

    def __call__(self, epoch: float) -> float:
        return 1.0 if self.epochs == 0 else min(1.0, epoch / self.epochs)

    @property
    def end_epoch(self) -> float:
        return self.epochs

    def knobs(self) -> dict[str, float]:
        return {"anneal_epochs": self.epochs}

    def shorter(self, epochs: float) -> str:
        return f"anneal_epochs below {epochs:.3g}"


@dataclass(frozen=True)
class Delayed(Curve):
    """0 before epoch `start`, then 0 -> 1 in a straight line over `epochs` (0: 1 at once): an autoencoder first (Li et al. 2019)."""

    start: float
    epochs: float

    def __post_init__(self) -> None:
        check_number("pretrain_epochs", self.start, 0, closed=True)
        check_number("anneal_epochs", self.epochs, 0, closed=True)

    def __call__(self, epoch: float) -> float:
        return 0.0 if epoch < self.start else Linear(self.epochs)(epoch - self.start)

    @property
    def end_epoch(self) -> float:
        return self.start + self.epochs

    def knobs(self) -> dict[str, float]:
        return {"pretrain_epochs": self.start, "anneal_epochs": self.epochs}

    def shorter(self, epochs: float) -> str:
        return f"pretrain_epochs + anneal_epochs below {epochs:.3g}"


@dataclass(frozen=True)
class Logistic(Curve):
    """1 / (1 + exp(-steepness (epoch - midpoint))) (Bowman et al. 2016, section 3.1 and figure 2); 1/2 at the midpoint."""

    midpoint: float
    steepness: float  # per epoch

    def __post_init__(self) -> None:
        check_number("midpoint", self.midpoint, 0, closed=True)
        check_number("steepness", self.steepness, 0)

    def __call__(self, epoch: float) -> float:
        # the same function by way of tanh, which no argument makes overflow
        return 0.5 * (1 + math.tanh(0.5 * self.steepness * (epoch - self.midpoint)))

    @property
    def end_epoch(self) -> float:
        """Where it is within 1 % of 1, which it never reaches."""
        return self.midpoint + math.log(99) / self.steepness

    def knobs(self) -> dict[str, float]:
        return {"midpoint": self.midpoint, "steepness": self.steepness}

    def shorter(self, epochs: float) -> str:
        return "an earlier midpoint or a larger steepness"


@dataclass(frozen=True)
class Cyclical(Curve):
    """`cycles` equal periods in `epochs`: in each, 0 -> 1 in a straight line over its first part `ramp`, then 1; 1 from the end on.

    Fu et al., "Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing", NAACL 2019 (arXiv 1903.10145), section 4,
    equations 6 and 7, with f(tau) = tau / R. The first ramp starts with the first step. ramp 0 is the constant 1.
    """

    epochs: float
    cycles: int
    ramp: float

    def __post_init__(self) -> None:
        check_number("trainer.epochs", self.epochs, 0)
        check_integer("cycles", self.cycles, 1)
        check_number("ramp", self.ramp, 0, 1, closed=True)

    def __call__(self, epoch: float) -> float:
        if self.ramp == 0 or epoch >= self.epochs:
            return 1.0
        # rounded, so that a step that begins a period is not taken for the end of the one before by an error in the last digit
        phase = round(epoch * self.cycles / self.epochs, 9) % 1
        return min(1.0, phase / self.ramp)

    @property
    def end_epoch(self) -> float:
        """Where the last ramp ends."""
        return 0.0 if self.ramp == 0 else self.epochs * (self.cycles - 1 + self.ramp) / self.cycles

    def knobs(self) -> dict[str, float]:
        return {"cycles": self.cycles, "ramp": self.ramp}

    @property
    def follows(self) -> bool:
        return True

    def where(self, epoch: float) -> str:
        cycle = min(self.cycles, 1 + int(round(epoch * self.cycles / self.epochs, 9)))
        return f"in cycle {cycle} of {self.cycles}, {super().where(epoch)}"

    def lost(self) -> str:
        return "the last cycle never has its full weight"

    def shorter(self, epochs: float) -> str:
        if self.epochs > epochs:
            return "cycles that end earlier"
        return (
            "ramp below 1"
            if self.ramp == 1
            else "fewer cycles, a smaller ramp or more trainer.epochs, so that a cycle has steps enough"
        )


@dataclass(frozen=True)
class Constant(Curve):
    """One weight >= 0 throughout (Higgins et al. 2017): a bare number under the name of the knob that it is, beta."""

    beta: float

    def __post_init__(self) -> None:
        check_number("beta", self.beta, 0, closed=True)

    @property
    def end(self) -> float:
        return float(self.beta)

    def __call__(self, epoch: float) -> float:
        return float(self.beta)


@dataclass(frozen=True)
class Scaled(Curve):
    """`factor` times another schedule."""

    schedule: Schedule
    factor: float

    @property
    def end(self) -> float:
        return self.factor * end_of(self.schedule)

    @property
    def end_epoch(self) -> float:
        return self.schedule.end_epoch if isinstance(self.schedule, Curve) and self.factor else 0.0

    def knobs(self) -> dict[str, float]:
        return self.schedule.knobs() if isinstance(self.schedule, Curve) else {}

    @property
    def follows(self) -> bool:
        return isinstance(self.schedule, Curve) and self.schedule.follows

    def lost(self) -> str:
        return self.schedule.lost() if isinstance(self.schedule, Curve) else super().lost()

    def shorter(self, epochs: float) -> str:
        return (
            self.schedule.shorter(epochs)
            if isinstance(self.schedule, Curve)
            else super().shorter(epochs)
        )

    def __call__(self, epoch: float) -> float:
        return self.factor * at(self.schedule, epoch)
