"""An objective: the loss of a training batch, and the weight that the KL has in it."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from uncollapse.interfaces.phases import Phased
from uncollapse.interfaces.posterior import Posterior
from uncollapse.interfaces.shapes import PerDimension, PerExample
from uncollapse.interfaces.state import Stateful

Schedule = float | Callable[[float], float]  # a constant, or a function of the position in epochs


@dataclass(frozen=True)
class Loss:
    """The loss of a batch, in nats per example."""

    total: Tensor  # a scalar: what is minimised
    terms: dict[str, Tensor]  # the batch means that it is made of
    weight: float  # the KL weight in force


class Objective(Phased, Stateful, interface=True):
    """Base of objectives without state, usually frozen dataclasses; see also `ObjectiveModule`."""

    weight: Schedule  # of the KL; recorded in every row

    @abstractmethod
    def __call__(
        self, nll: PerExample, q: Posterior, z: PerDimension, epoch: float, batch: Any = None
    ) -> Loss:
        """The loss at one code z [B, D] of q for each example, whose -log p(x|z) is nll [B]."""

    @property
    def final_weight(self) -> float:
        """What a nat of KL costs when the best weights are chosen, by rec + final_weight * KL."""
        return 1.0

    def shape(self, latent: int, inputs: int) -> None:
        """Make networks, once the sizes are known: dimensions of z, and words or pixels of x."""

    def update(self, loss: Loss) -> None:
        """Change the state after a training step, whose loss is given."""


class ObjectiveModule(nn.Module, Objective, interface=True):
    """Base of objectives with parameters or buffers."""

    @abstractmethod
    def forward(
        self, nll: PerExample, q: Posterior, z: PerDimension, epoch: float, batch: Any = None
    ) -> Loss:
        """As `Objective.__call__`, which calls it."""
