"""The evidence lower bound with a weight on the KL: rec + weight * KL, to be minimised.

Weight 1: Kingma & Welling 2014, equation 3. A rising weight: Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from uncollapse.distributions.normal import Posterior
from uncollapse.distributions.precision import wide
from uncollapse.errors import check_number
from uncollapse.training.phases import Phased
from uncollapse.training.schedules import Schedule, at, end_of


@dataclass(frozen=True)
class Loss:
    """What is minimised (`total`, a scalar tensor), the batch means it is made of, and the KL weight used, all in nats per example."""

    total: Tensor
    terms: dict[str, Tensor]
    weight: float


@dataclass(frozen=True)
class ELBO(Phased):
    """nll [B], q, z [B, D], position in epochs, batch -> Loss. `weight` is a number >= 0 or a schedule."""

    weight: Schedule = 1.0

    def __post_init__(self) -> None:
        if not callable(self.weight):
            check_number("objective.weight", self.weight, 0, closed=True)

    @property
    def final_weight(self) -> float:
        """What the KL counts for when the best weights are chosen: the weight that training ends with."""
        return end_of(self.weight)

    def __call__(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Any = None
    ) -> Loss:
        rec, kl = wide(nll).mean(), q.kl.sum(-1).mean()
        weight = at(self.weight, epoch)
        return Loss(rec + weight * kl, {"rec": rec, "kl": kl}, weight)
