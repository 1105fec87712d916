"""An objective: the loss of a training batch, and the weight that the KL has in it."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.hooks import attribute
from uncollapse.interfaces.phases import Phased
from uncollapse.interfaces.posterior import Posterior
from uncollapse.interfaces.shapes import Codes, PerExample
from uncollapse.interfaces.state import Stateful

Schedule = float | Callable[[float], float]  # a constant, or a function of the position in epochs


@dataclass(frozen=True)
class Loss:
    """The loss of a batch, in nats per example."""

    total: Tensor  # a scalar: what is minimised
    terms: dict[str, Tensor]  # the batch means that the total is computed from
    weight: float  # the current KL weight


class Objective(Phased, Stateful, interface=True):
    """Base of objectives without state, usually frozen dataclasses; see also `ObjectiveModule`."""

    @attribute
    @abstractmethod
    def weight(self) -> Schedule:
        """The weight of the KL, which every row records."""

    @abstractmethod
    def __call__(
        self, nll: PerExample, q: Posterior, z: Codes, epoch: float, batch: Batch | None = None
    ) -> Loss:
        """The loss at one code z [B, D] of q for each example, whose -log p(x|z) is nll [B]."""

    @property
    def final_weight(self) -> float:
        """The weight of the KL when training ends."""
        return 1.0

    def final_loss(self, nll: PerExample, q: Posterior, z: Codes, batch: Batch) -> Tensor:
        """The loss with the weights that training ends with, a scalar in nats per example.

        Its values on the validation split choose the best weights and decide on convergence, so
        state that training changes, such as a controller's weight, must not enter it.
        """
        return self(nll, q, z, math.inf, batch).total

    def shape(self, latent: int, inputs: int) -> None:
        """Make networks of the objective's own, once the sizes of z and x are known."""

    def update(self, loss: Loss) -> None:
        """Update the state after a training step with this loss."""


class ObjectiveModule(nn.Module, Objective, interface=True):
    """Base of objectives with parameters or buffers."""

    @abstractmethod
    def forward(
        self, nll: PerExample, q: Posterior, z: Codes, epoch: float, batch: Batch | None = None
    ) -> Loss:
        """As `Objective.__call__`, which calls it."""
