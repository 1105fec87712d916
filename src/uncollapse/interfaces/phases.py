"""Phases: stretches of training that end, such as a ramp of the KL weight or a pretraining.

A component names its phases, so that a run which is too short for one is reported before and after
it is trained (`uncollapse.training.phases`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uncollapse.interfaces.hooks import Interface

TrainingRows = Sequence[Mapping[str, Any]]  # rows of metrics.jsonl, oldest first


@dataclass(frozen=True)
class Phase:
    """A stretch of training that ends at a position known beforehand."""

    knobs: Mapping[str, float]  # what sets its length, by the names of the head's knobs
    source: str  # the same for a config without these knobs
    ends: float  # epochs
    state: Callable[[float], str]  # how far it is at a position, such as "at weight 0.10"
    lost: str  # what a run misses that ends before it
    shorter: Callable[[float], str] | None  # how to fit it into so many epochs; None: impossible
    follows: bool = False  # its end moves with trainer.epochs

    def is_set_in(self, config: Mapping[str, Any]) -> bool:
        """Whether the config has these knobs with these values."""
        return all(find_value(config, name) == value for name, value in self.knobs.items())

    def describe(self, config: Mapping[str, Any]) -> str:
        """The knobs as the user writes them, or `source` where the config has no such knobs."""
        if self.is_set_in(config):
            return ", ".join(f"{name}={value:g}" for name, value in self.knobs.items())
        return self.source


def find_value(config: Mapping[str, Any], name: str) -> Any:
    """The value at a dotted key, None where there is none."""
    value: Any = config
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


class Phased(metaclass=Interface, interface=True):
    """Base of objectives, procedures and posteriors: how they report their phases."""

    def phases(self) -> list[Phase]:
        """The phases, known before training. That of an objective's `weight` is added by itself."""
        return []

    def unsettled(self, rows: TrainingRows) -> str | None:
        """One sentence if, after its phases, the component has not reached the state it aims at.

        `rows` are those that the run wrote in training mode.
        """
        return None
