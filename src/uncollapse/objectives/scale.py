"""What Scale-VAE trains with: rec + weight * KL, the KL being that of the posterior before its means were scaled.

Song et al., "Scale-VAE: Preventing Posterior Collapse in Variational Autoencoder", LREC-COLING 2024. This is no bound of -log p(x), as z is
drawn from the scaled posterior (see `posteriors.scale`); reported metrics and the choice of the best weights use the KL of that one.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from uncollapse.distributions.precision import wide
from uncollapse.objectives.elbo import ELBO, Loss
from uncollapse.training.schedules import at


@dataclass(frozen=True)
class UnscaledELBO(ELBO):
    """As ELBO, for a posterior with an `unscaled_kl` [B, D]."""

    def __call__(self, nll: Tensor, q: Any, z: Tensor, epoch: float, batch: Any = None) -> Loss:
        rec, kl = wide(nll).mean(), q.unscaled_kl.sum(-1).mean()
        weight = at(self.weight, epoch)
        return Loss(rec + weight * kl, {"rec": rec, "unscaled_kl": kl}, weight)
