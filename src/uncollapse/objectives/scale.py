"""The objective of Scale-VAE: rec + weight * KL of the posterior before its means were scaled.

Song et al., "Scale-VAE: Preventing Posterior Collapse in Variational Autoencoder", LREC-COLING
2024. This is not a bound on -log p(x), because z is drawn from the scaled posterior
(`posteriors.scale`). Reported metrics and the choice of the best weights use the KL of the
scaled one.
"""

from dataclasses import dataclass

from torch import Tensor

from uncollapse.distributions.precision import wide
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.posterior import Posterior
from uncollapse.objectives.elbo import ELBO
from uncollapse.posteriors.scale import ScaledGaussian
from uncollapse.training.schedules import weight_at


@dataclass(frozen=True)
class UnscaledELBO(ELBO):
    """As ELBO, with the `unscaled_kl` [B, D] of a ScaledGaussian."""

    def __call__(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        if not isinstance(q, ScaledGaussian):
            raise TypeError(
                f"a {type(q).__name__}; this objective is for the posterior of head=scale"
            )
        # the KL without the scale is what the paper penalises
        rec, kl = wide(nll).mean(), q.unscaled_kl.sum(-1).mean()
        weight = weight_at(self.weight, epoch)
        return Loss(rec + weight * kl, {"rec": rec, "unscaled_kl": kl}, weight)
