"""Sentences about phases of training that a run is too short for, before and after training.

A phase is over when at least one training step was made after its end. So a ramp of 10 epochs in a
run of 10 epochs is not over: the last step still has less than the full weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from uncollapse.interfaces.phases import Phase, Phased, TrainingRows
from uncollapse.json_types import JsonMapping

SLACK = 1e-9  # epochs: tolerance for rounding, as positions are quotients of step numbers
# the phases of each component, and the component itself if it may report that it has not settled
ComponentPhases = Sequence[tuple[list[Phase], Phased | None]]


@dataclass(frozen=True)
class Length:
    """How long a run trains: `total` steps, as `epochs` and `max_steps` allow."""

    total: int
    per_epoch: int
    epochs: int
    max_steps: int | None

    def last_position(self, steps: int) -> float:
        """The position in epochs at which the last of `steps` steps evaluates its schedules."""
        return max(0, steps - 1) / self.per_epoch

    def describe(self, steps: int) -> str:
        """'1 epoch', or '0.32 epochs (trainer.max_steps=100)'."""
        count = steps / self.per_epoch
        by = f" (trainer.max_steps={self.max_steps})" if steps == self.max_steps else ""
        return f"{count:.3g} epoch{'' if count == 1 else 's'}{by}"

    def find_longer(self, phase: Phase) -> list[str]:
        """Which settings to increase so that one step is made after the phase; [] if none helps."""
        # one step after the end, so that it has the final value
        needed = math.ceil(phase.ends * self.per_epoch - SLACK) + 1
        words = []
        if not phase.moves_with_epochs and self.epochs * self.per_epoch < needed:
            words.append(f"trainer.epochs above {phase.ends:.4g}")
        if self.max_steps is not None and self.max_steps < needed:
            words.append(f"trainer.max_steps of at least {needed}")
        return [" and ".join(words)] if words else []


def list_phase_warnings(
    components: ComponentPhases, length: Length, config: JsonMapping
) -> list[str]:
    """One sentence, before training, for each phase that the planned length cuts off."""
    last = length.last_position(length.total)
    return [
        format_warning(phase, length, config)
        for phases, _ in components
        for phase in select_unfinished(phases, last)
    ]


def list_unfinished_phases(
    components: ComponentPhases,
    length: Length,
    steps: int,
    config: JsonMapping,
    rows: TrainingRows,
) -> list[str]:
    """One sentence, after `steps` steps, for each phase that is not over.

    A component whose phases are over, but which has not settled, adds its own sentence.
    """
    findings = []
    for phases, component in components:
        missing = select_unfinished(phases, length.last_position(steps))
        findings += [format_finding(phase, length, steps, config) for phase in missing]
        # whether it has settled is known only after its phases
        if not missing and component is not None and (sentence := component.unsettled(rows)):
            findings.append(sentence)
    return findings


def select_unfinished(phases: Sequence[Phase], last: float) -> list[Phase]:
    """The phases that are not over at the position of the last step."""
    return [phase for phase in phases if phase.ends > last + SLACK]


def format_warning(phase: Phase, length: Length, config: JsonMapping) -> str:
    """The sentence before training."""
    planned = length.total / length.per_epoch
    ways = length.find_longer(phase)
    if phase.shorter is not None:
        end = f"an end before epoch {planned:.3g}"
        # knobs set through other keys cannot be named, so the end is
        ways.append(phase.shorter(planned) if phase.is_set_in(config) else end)
    return (
        f"{phase.describe(config)}: training ends after {length.describe(length.total)}, "
        f"{phase.state(length.last_position(length.total))}; {phase.lost}; give {' or '.join(ways)}"
    )


def format_finding(phase: Phase, length: Length, steps: int, config: JsonMapping) -> str:
    """The sentence after `steps` steps of training."""
    planned = length.total / length.per_epoch
    early = f" (stopped early, {planned:.3g} planned)" if steps < length.total else ""
    return (
        f"{phase.describe(config)}: training ended after {length.describe(steps)}{early}, "
        f"{phase.state(length.last_position(steps))}"
    )
