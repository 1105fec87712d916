"""Parts of training that end: ramps, cycles, pretraining. What they say of themselves, and what a run that was too short has missed.

A phase is over when at least one training step was made after its end. So a ramp of 10 epochs in a run of 10 epochs is not: its
last step still has less than the full weight.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SLACK = 1e-9  # epochs: positions are quotients of step numbers


@dataclass(frozen=True)
class Phase:
    """A part of training that is over from a known position on."""

    knobs: Mapping[str, float]  # what sets its length, by the names of the head's knobs
    source: str  # the same for a part that was configured without these knobs
    ends: float  # epochs
    state: Callable[[float], str]  # where it stands at a position, such as "at weight 0.10"
    lost: str  # what a run misses that does not get to the end
    shorter: (
        Callable[[float], str] | None
    )  # how to make it fit into so many epochs; None: it cannot be
    follows: bool = False  # its end moves with trainer.epochs

    def known(self, config: Mapping[str, Any]) -> bool:
        """Whether the config has these knobs with these values."""
        return all(lookup(config, name) == value for name, value in self.knobs.items())

    def named(self, config: Mapping[str, Any]) -> str:
        """Knobs and values as the user writes them, or `source` where the config has no such knobs."""
        if self.known(config):
            return ", ".join(f"{name}={value:g}" for name, value in self.knobs.items())
        return self.source


class Phased:
    """Base of objectives, procedures and of posteriors that change: what they say of their end. The defaults: there is none."""

    def phases(self) -> list[Phase]:
        """Known before training. The schedule of an objective's `weight` need not be repeated."""
        return []

    def unsettled(self, rows: Sequence[Mapping[str, Any]]) -> str | None:
        """Known after training, from the state and the training-mode rows of the run (oldest first): one sentence, or None."""
        return None


@dataclass(frozen=True)
class Length:
    """How long a run trains: `total` steps, of which an epoch has `per_epoch`, as `epochs` and `max_steps` allow."""

    total: int
    per_epoch: int
    epochs: int
    max_steps: int | None

    def last(self, steps: int) -> float:
        """The position (epochs) of the last of so many steps: what schedules were read at."""
        return max(0, steps - 1) / self.per_epoch

    def told(self, steps: int) -> str:
        """'1 epoch', or '0.32 epochs (trainer.max_steps=100)'."""
        count = steps / self.per_epoch
        by = f" (trainer.max_steps={self.max_steps})" if steps == self.max_steps else ""
        return f"{count:.3g} epoch{'' if count == 1 else 's'}{by}"

    def longer(self, phase: Phase) -> list[str]:
        """What to raise so that one step is made after the phase."""
        needed = math.ceil(phase.ends * self.per_epoch - SLACK) + 1
        words = []
        if not phase.follows and self.epochs * self.per_epoch < needed:
            words.append(f"trainer.epochs above {phase.ends:.4g}")
        if self.max_steps is not None and self.max_steps < needed:
            words.append(f"trainer.max_steps of at least {needed}")
        return [" and ".join(words)] if words else []


def earlier(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last row from before the last tenth of training, else the first one."""
    return next((row for row in reversed(rows) if row["step"] <= 0.9 * rows[-1]["step"]), rows[0])


def lookup(config: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted name, None where there is none."""
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def cut(phases: Sequence[Phase], last: float) -> list[Phase]:
    """The phases that are not over at the last step's position."""
    return [phase for phase in phases if phase.ends > last + SLACK]


def warnings_before(
    parts: Sequence[tuple[list[Phase], Phased | None]], length: Length, config: Mapping[str, Any]
) -> list[str]:
    """One sentence for each phase that the planned length cuts off."""
    last = length.last(length.total)
    return [foreseen(phase, length, config) for phases, _ in parts for phase in cut(phases, last)]


def findings_after(
    parts: Sequence[tuple[list[Phase], Phased | None]],
    length: Length,
    steps: int,
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
) -> list[str]:
    """One sentence for each phase that was cut off after so many steps, and for each part that got to its end without settling."""
    found = []
    for phases, part in parts:
        missing = cut(phases, length.last(steps))
        found += [missed(phase, length, steps, config) for phase in missing]
        if not missing and part is not None and (sentence := part.unsettled(rows)):
            found.append(sentence)
    return found


def foreseen(phase: Phase, length: Length, config: Mapping[str, Any]) -> str:
    """The warning before training."""
    room = length.total / length.per_epoch
    ways = length.longer(phase)
    if phase.shorter is not None:
        ways.append(
            phase.shorter(room) if phase.known(config) else f"an end before epoch {room:.3g}"
        )
    return (
        f"{phase.named(config)}: training ends after {length.told(length.total)}, "
        f"{phase.state(length.last(length.total))}; {phase.lost}; give {' or '.join(ways)}"
    )


def missed(phase: Phase, length: Length, steps: int, config: Mapping[str, Any]) -> str:
    """The finding after training of so many steps."""
    early = (
        f" (stopped early, {length.total / length.per_epoch:.3g} planned)"
        if steps < length.total
        else ""
    )
    return f"{phase.named(config)}: training ended after {length.told(steps)}{early}, {phase.state(length.last(steps))}"
