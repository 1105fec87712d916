"""The evidence lower bound (ELBO) with a weight on the KL: rec + weight * KL, to be minimised.

Weight 1: Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014, equation 3. A weight that
grows: Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016, section 3.1.
"""

from dataclasses import dataclass

from torch import Tensor

from uncollapse.distributions.precision import wide
from uncollapse.errors import check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss, Objective, Schedule
from uncollapse.interfaces.posterior import Posterior
from uncollapse.training.schedules import final_value, weight_at


@dataclass(frozen=True)
class ELBO(Objective):
    """rec + weight * KL; `weight` is a number >= 0 or a schedule."""

    weight: Schedule = 1.0

    def __post_init__(self) -> None:
        if not callable(self.weight):
            check_number("objective.weight", self.weight, 0, closed=True)

    @property
    def final_weight(self) -> float:
        """The weight that training ends with."""
        return final_value(self.weight)

    def __call__(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        # under autocast nll may be narrow, and a batch mean needs float32
        rec, kl = wide(nll).mean(), q.kl.sum(-1).mean()
        weight = weight_at(self.weight, epoch)
        return Loss(rec + weight * kl, {"rec": rec, "kl": kl}, weight)
