"""The objective of Scale-VAE: rec + weight * KL of the posterior before its means were scaled.

Song et al., "Scale-VAE: Preventing Posterior Collapse in Variational Autoencoder", LREC-COLING
2024. This is not a bound on -log p(x), because z is drawn from the scaled posterior
(`posteriors.scale`). Reported metrics and the choice of the best weights use the KL of the
scaled one.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from uncollapse.distributions.precision import wide
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss
from uncollapse.objectives.elbo import ELBO
from uncollapse.training.schedules import weight_at


@dataclass(frozen=True)
class UnscaledELBO(ELBO):
    """As ELBO, for a posterior with an `unscaled_kl` [B, D]."""

    # q is typed Any because only posteriors.scale.ScaledGaussian has an `unscaled_kl`
    def __call__(
        self, nll: Tensor, q: Any, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        rec, kl = wide(nll).mean(), q.unscaled_kl.sum(-1).mean()
        weight = weight_at(self.weight, epoch)
        return Loss(rec + weight * kl, {"rec": rec, "unscaled_kl": kl}, weight)
