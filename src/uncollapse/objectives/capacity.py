"""A KL kept at a growing capacity C: rec + weight * |KL - C|, with the batch mean of the KL.

Burgess et al., "Understanding disentangling in beta-VAE", 2018 (arXiv 1804.03599), section 5,
equation 8: weight (their gamma) 1000, C from 0 to 25 nats, for images. Prokhorov et al., "On the
Importance of the Kullback-Leibler Divergence Term in Variational Autoencoders for Text Generation",
WNGT 2019 (arXiv 1909.13668): the same for text with weight 1.

Both papers write the distance for one x. Prokhorov's code, and the public code of Burgess's
objective, apply it to the batch mean and increase C linearly, and so does this class. Examples may
differ as long as their mean is C.

Below C each nat of KL lowers the loss by `weight` nats, whether the decoder uses it or not. So the
KL reaches C, but I(x; z) need not.
"""

from dataclasses import dataclass

from torch import Tensor

from uncollapse.distributions.precision import wide
from uncollapse.errors import check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss, Objective, Schedule
from uncollapse.interfaces.phases import Phase, TrainingRows
from uncollapse.interfaces.posterior import Posterior
from uncollapse.training.schedules import Linear, weight_at

CAPACITY_TOLERANCE = 0.1  # of the capacity: how close a settled KL is to it


@dataclass(frozen=True)
class Capacity(Objective):
    """rec + weight * |KL - C|; C grows to `capacity` nats in a straight line over `epochs`.

    `weight` is a number >= 0 or a schedule. A capacity of 0 is the ELBO with that weight.
    """

    weight: Schedule
    capacity: float
    epochs: float

    def __post_init__(self) -> None:
        # a schedule has checked its own values
        if not callable(self.weight):
            check_number("capacity_weight", self.weight, 0, closed=True)
        check_number("capacity", self.capacity, 0, closed=True)
        check_number("capacity_epochs", self.epochs, 0, closed=True)

    @property
    def final_weight(self) -> float:
        """0 for an autoencoder, else 1: at the capacity a nat of KL costs what it does in nelbo."""
        return 0.0 if self.weight == 0 else 1.0

    def capacity_at(self, epoch: float) -> float:
        """C at a position in epochs, in nats."""
        return self.capacity * Linear(self.epochs)(epoch)

    def phases(self) -> list[Phase]:
        """The epochs in which C grows."""
        if self.capacity == 0 or self.epochs == 0:
            return []
        return [
            Phase(
                {"capacity_epochs": self.epochs},
                f"objective.epochs={self.epochs:g}",
                self.epochs,
                lambda epoch: (
                    f"at a capacity of {self.capacity_at(epoch):.2f} of {self.capacity:g} nats"
                ),
                "the capacity never reaches its final value",
                lambda epochs: f"capacity_epochs below {epochs:.3g}",
            )
        ]

    def unsettled(self, rows: TrainingRows) -> str | None:
        """A KL that has not reached the capacity."""
        if not rows or self.capacity == 0 or self.weight == 0:
            return None
        kl = rows[-1]["kl"]
        if abs(kl - self.capacity) <= CAPACITY_TOLERANCE * self.capacity:
            return None
        return (
            f"capacity={self.capacity:g}: the KL has not reached it: "
            f"it ended at {kl:.2f} nats in training mode"
        )

    def __call__(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        rec, kl = wide(nll).mean(), q.kl.sum(-1).mean()
        weight, capacity = weight_at(self.weight, epoch), self.capacity_at(epoch)
        # at C = 0 the distance is the KL itself, also where rounding makes it a little less than 0
        distance = (kl - capacity).abs() if capacity > 0 else kl
        return Loss(rec + weight * distance, {"rec": rec, "kl": kl, "distance": distance}, weight)
