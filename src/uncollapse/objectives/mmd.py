"""InfoVAE: less weight on the KL of single examples, more on a distance of all codes to the prior.

Zhao, Song & Ermon, "InfoVAE: Balancing Learning and Inference in Variational Autoencoders", AAAI
2019 (arXiv 1706.02262), section 3, with the maximum mean discrepancy as the distance:

    rec + (1 - alpha) KL + (alpha + lambda - 1) MMD(q(z), p(z)).

alpha = 1 ties only the aggregate posterior to the prior: the Wasserstein autoencoder of Tolstikhin
et al., ICLR 2018 (arXiv 1711.01558), with a random encoder. alpha = 0 and lambda = 1 give the plain
ELBO.

    MMD = E k(z, z') + E k(p, p') - 2 E k(z, p),   k(a, b) = exp(-|a - b|^2 / D),

with one code z for each example and as many draws p from the prior. All pairs count, also those of
a code with itself (the V-statistic), so it is never below 0. The kernel is the paper's Gaussian.

Deviation: the paper gives no bandwidth, and its code divides by D^2. The squared distance of two
draws from the prior is 2 D on average, so that kernel is nearly flat for more than a few
dimensions. Here the bandwidth is D, which suits any D.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.distributions.precision import wide
from uncollapse.errors import check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.posterior import Posterior
from uncollapse.objectives.elbo import ELBO
from uncollapse.training.schedules import ScaledSchedule


@dataclass(frozen=True, kw_only=True)
class InfoVAE(ELBO):
    """`scale` is lambda; `weight`, a number or a schedule, multiplies 1 - alpha.

    The attribute `weight` is the product: the weight that the KL has.
    """

    alpha: float
    scale: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0, 1, closed=True)
        # a smaller lambda would give the MMD a negative weight
        check_number("lambda", self.scale, 1 - self.alpha, closed=True)
        # the dataclass is frozen, so the field is set through object
        object.__setattr__(self, "weight", ScaledSchedule(self.weight, 1 - self.alpha))

    @property
    def final_weight(self) -> float:
        """1: what leaves the KL term goes into the MMD."""
        return 1.0

    def __call__(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        plain = super().__call__(nll, q, z, epoch, batch)
        strength = self.alpha + self.scale - 1
        # no draw from the prior: the random numbers of training stay those of the plain VAE
        if strength == 0:
            return plain
        # from the posterior's own prior, whichever that is
        distance = mmd(wide(z), wide(q.sample_prior(len(z))))
        terms = {**plain.terms, "mmd": distance}
        return Loss(plain.total + strength * distance, terms, plain.weight)


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two samples [n, D] and [m, D], a scalar.

    0 for equal samples, and never below except for rounding.
    """
    # all pairs, those of a code with itself included, so the result is never negative
    return kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """exp(-|x_i - y_j|^2 / D), [n, D], [m, D] -> [n, m]."""
    # a mean over dimensions divides by D
    return torch.exp(-(x[:, None] - y).square().mean(-1))
