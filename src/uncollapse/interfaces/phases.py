"""Phases: stretches of training that end, such as a ramp of the KL weight or a pretraining.

Each component lists its phases. A run that is too short for one of them is reported, before and
after training (`uncollapse.training.phases`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from uncollapse.interfaces.hooks import Interface
from uncollapse.json_types import Json, JsonMapping

TrainingRows = Sequence[JsonMapping]  # rows of metrics.jsonl, oldest first


@dataclass(frozen=True)
class Phase:
    """A stretch of training whose end is known before training starts."""

    knobs: Mapping[str, float]  # the values that set its length, by the head's knobs
    source: str  # how to name it where the config has no such knobs
    ends: float  # position in epochs
    state: Callable[[float], str]  # how far it is at a position: "at weight 0.10"
    lost: str  # what is missing from a run that ends before it
    # how to end it within this many epochs; None: impossible
    shorter: Callable[[float], str] | None
    moves_with_epochs: bool = False  # its end moves with trainer.epochs

    def is_set_in(self, config: JsonMapping) -> bool:
        """Whether the config has these knobs with these values."""
        return all(find_value(config, name) == value for name, value in self.knobs.items())

    def describe(self, config: JsonMapping) -> str:
        """The knobs as the user writes them, or `source` where the config has no such knobs."""
        if self.is_set_in(config):
            return ", ".join(f"{name}={value:g}" for name, value in self.knobs.items())
        return self.source


def find_value(config: JsonMapping, name: str) -> Json:
    """The value at a dotted key, None where there is none."""
    value: Json = config
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


class Phased(metaclass=Interface, interface=True):
    """Base of objectives, procedures and posteriors: how they report their phases."""

    def phases(self) -> list[Phase]:
        """The phases, known before training. The trainer adds that of an objective's `weight`."""
        return []

    def unsettled(self, rows: TrainingRows) -> str | None:
        """One sentence if the component has not reached its target state after its phases.

        `rows` are those that the run wrote in training mode.
        """
        return None
