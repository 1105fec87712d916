"""Weights that change with training, as functions of the position in epochs.

They have no state, so resuming needs none. A number is a constant schedule. The others stay in
[0, 1] and end at 1, unless `end` says otherwise.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass

from uncollapse.errors import check_integer, check_number
from uncollapse.interfaces.hooks import Interface
from uncollapse.interfaces.objective import Schedule
from uncollapse.interfaces.phases import Phase


def weight_at(schedule: Schedule, epoch: float) -> float:
    """The schedule's value at a position in epochs."""
    return schedule(epoch) if callable(schedule) else float(schedule)


def final_value(schedule: Schedule) -> float:
    """The value that training ends with."""
    if not callable(schedule):
        return float(schedule)
    # a schedule of the user's own, a plain function, is assumed to end at 1
    return schedule.end if isinstance(schedule, Curve) else 1.0


def weight_phases(schedule: Schedule) -> list[Phase]:
    """The time until the KL weight reaches its final value, as a phase; none for a constant."""
    if not isinstance(schedule, Curve) or schedule.end_epoch == 0:
        return []
    return [
        Phase(
            schedule.knobs(),
            f"objective.weight={schedule}",
            schedule.end_epoch,
            schedule.describe_position,
            schedule.describe_missed(),
            schedule.suggest_shorter,
            schedule.moves_with_epochs,
        )
    ]


def format_weight(weight: float) -> str:
    """Two decimals, or two significant digits for a weight below 0.01."""
    # a small weight such as 0.001 must not read 0.00
    return f"{weight:.2f}" if weight >= 0.01 or weight == 0 else f"{weight:.2g}"


class Curve(metaclass=Interface, interface=True):
    """Base of schedules: their value at each position, and where they end."""

    @abstractmethod
    def __call__(self, epoch: float) -> float:
        """The value at a position in epochs."""

    @property
    def end(self) -> float:
        """The final value."""
        return 1.0

    @property
    def end_epoch(self) -> float:
        """The position in epochs from which the value is final; 0 for a constant."""
        return 0.0

    @property
    def moves_with_epochs(self) -> bool:
        """Whether the end moves with trainer.epochs: then more epochs do not help to reach it."""
        return False

    def knobs(self) -> dict[str, float]:
        """The knobs that set the length, by their names in head files."""
        return {}

    def describe_position(self, epoch: float) -> str:
        """How far the schedule is at a position, such as "at weight 0.10"."""
        return f"at weight {format_weight(self(epoch))}"

    def describe_missed(self) -> str:
        """What is missing from a run that ends before the schedule does."""
        return "the KL never has its full weight"

    def suggest_shorter(self, epochs: float) -> str:
        """The change that makes the schedule end within this many epochs."""
        return f"a schedule that ends within {epochs:.3g} epochs"


@dataclass(frozen=True)
class Linear(Curve):
    """From 0 to 1 in a straight line over the first `epochs`; 0 epochs is the constant 1.

    Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016, section 3.1.
    """

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

    def suggest_shorter(self, epochs: float) -> str:
        return f"anneal_epochs below {epochs:.3g}"


@dataclass(frozen=True)
class Delayed(Curve):
    """0 before epoch `start`, then from 0 to 1 in a straight line over `epochs` (0: at once).

    An autoencoder comes first: Li et al., EMNLP 2019 (arXiv 1909.00868), section 3.
    """

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

    def suggest_shorter(self, epochs: float) -> str:
        return f"pretrain_epochs + anneal_epochs below {epochs:.3g}"


@dataclass(frozen=True)
class Logistic(Curve):
    """1 / (1 + exp(-steepness (epoch - midpoint))).

    Bowman et al., CoNLL 2016, section 3.1 and figure 2.
    """

    midpoint: float  # epochs; there the weight is 1/2
    steepness: float  # per epoch

    def __post_init__(self) -> None:
        check_number("midpoint", self.midpoint, 0, closed=True)
        check_number("steepness", self.steepness, 0)

    def __call__(self, epoch: float) -> float:
        # written with tanh, which never overflows
        return 0.5 * (1 + math.tanh(0.5 * self.steepness * (epoch - self.midpoint)))

    @property
    def end_epoch(self) -> float:
        """Where the weight is 0.99; it never reaches 1."""
        return self.midpoint + math.log(99) / self.steepness

    def knobs(self) -> dict[str, float]:
        return {"midpoint": self.midpoint, "steepness": self.steepness}

    def suggest_shorter(self, epochs: float) -> str:
        return "an earlier midpoint or a larger steepness"


@dataclass(frozen=True)
class Cyclical(Curve):
    """`cycles` equal periods in `epochs`, each from 0 to 1 in its first fraction `ramp`, then 1.

    Fu et al., "Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing", NAACL
    2019 (arXiv 1903.10145), section 4, equations 6 and 7, with f(tau) = tau / R. The first ramp
    starts with the first step; after the end the weight is 1. ramp 0 is the constant 1.
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
        # a rounding error could put the first step of a period into the previous one
        phase = round(epoch * self.cycles / self.epochs, 9) % 1
        return min(1.0, phase / self.ramp)

    @property
    def end_epoch(self) -> float:
        """Where the last ramp ends."""
        return 0.0 if self.ramp == 0 else self.epochs * (self.cycles - 1 + self.ramp) / self.cycles

    @property
    def moves_with_epochs(self) -> bool:
        return True

    def knobs(self) -> dict[str, float]:
        return {"cycles": self.cycles, "ramp": self.ramp}

    def describe_position(self, epoch: float) -> str:
        # rounded as in `__call__`, so that both agree on the cycle
        cycle = min(self.cycles, 1 + int(round(epoch * self.cycles / self.epochs, 9)))
        return f"in cycle {cycle} of {self.cycles}, {super().describe_position(epoch)}"

    def describe_missed(self) -> str:
        return "the last cycle never has its full weight"

    def suggest_shorter(self, epochs: float) -> str:
        if self.epochs > epochs:
            return "cycles that end earlier"
        # a ramp as long as its period reaches 1 only where the period ends
        if self.ramp == 1:
            return "ramp below 1"
        return "fewer cycles, a smaller ramp or more trainer.epochs, for enough steps in each cycle"


@dataclass(frozen=True)
class Constant(Curve):
    """The constant weight of beta-VAE (Higgins et al. 2017), with the name of its knob, beta."""

    beta: float

    def __post_init__(self) -> None:
        check_number("beta", self.beta, 0, closed=True)

    @property
    def end(self) -> float:
        return float(self.beta)

    def __call__(self, epoch: float) -> float:
        return float(self.beta)


@dataclass(frozen=True)
class ScaledSchedule(Curve):
    """`factor` times another schedule."""

    schedule: Schedule
    factor: float

    @property
    def end(self) -> float:
        return self.factor * final_value(self.schedule)

    @property
    def end_epoch(self) -> float:
        # times 0, the schedule is the constant 0
        return self.schedule.end_epoch if isinstance(self.schedule, Curve) and self.factor else 0.0

    @property
    def moves_with_epochs(self) -> bool:
        return isinstance(self.schedule, Curve) and self.schedule.moves_with_epochs

    def knobs(self) -> dict[str, float]:
        return self.schedule.knobs() if isinstance(self.schedule, Curve) else {}

    def describe_missed(self) -> str:
        if isinstance(self.schedule, Curve):
            return self.schedule.describe_missed()
        return super().describe_missed()

    def suggest_shorter(self, epochs: float) -> str:
        if isinstance(self.schedule, Curve):
            return self.schedule.suggest_shorter(epochs)
        return super().suggest_shorter(epochs)

    def __call__(self, epoch: float) -> float:
        return self.factor * weight_at(self.schedule, epoch)
