"""InfoVAE: less of the KL of single examples, more of a distance between all codes together and the prior.

Zhao, Song & Ermon, "InfoVAE: Balancing Learning and Inference in Variational Autoencoders", AAAI 2019 (arXiv 1706.02262), section 3,
with the maximum mean discrepancy as the distance:

    rec + (1 - alpha) KL + (alpha + lambda - 1) MMD(q(z), p(z)).

alpha = 1 leaves only the aggregate posterior bound to the prior: the Wasserstein autoencoder of Tolstikhin et al., ICLR 2018
(arXiv 1711.01558), with a random encoder. alpha = 0, lambda = 1 is the plain ELBO.

    MMD = E k(z, z') + E k(p, p') - 2 E k(z, p),   k(a, b) = exp(-|a - b|^2 / D),

with one code z for each example and as many draws p from the prior; all pairs count, those of a code with itself too (the V-statistic),
so that it is never below 0. The kernel is the paper's Gaussian. The paper gives no bandwidth, and its code divides by D^2: two draws from
the prior are 2 D apart on average, so that kernel is nearly flat for more than a few dimensions. Here it is D, which suits any D.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uncollapse.distributions.normal import Posterior
from uncollapse.distributions.precision import wide
from uncollapse.errors import check_number
from uncollapse.objectives.elbo import ELBO, Loss
from uncollapse.training.schedules import Scaled


@dataclass(frozen=True, kw_only=True)
class InfoVAE(ELBO):
    """`scale` is lambda. `weight`, a number or a schedule, multiplies 1 - alpha; the attribute is the product, the KL's whole weight."""

    alpha: float
    scale: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0, 1, closed=True)
        check_number(
            "lambda", self.scale, 1 - self.alpha, closed=True
        )  # below it the distance would be rewarded
        object.__setattr__(self, "weight", Scaled(self.weight, 1 - self.alpha))

    @property
    def final_weight(self) -> float:
        """The best weights are those with the lowest nelbo: the KL that is given up here is part of what a code costs."""
        return 1.0

    def __call__(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Any = None
    ) -> Loss:
        plain = super().__call__(nll, q, z, epoch, batch)
        strength = self.alpha + self.scale - 1
        if (
            strength == 0
        ):  # no draw from the prior, so that training's randomness is the plain VAE's
            return plain
        distance = mmd(wide(z), wide(q.sample_prior(len(z))))
        return Loss(
            plain.total + strength * distance, {**plain.terms, "mmd": distance}, plain.weight
        )


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two samples [n, D] and [m, D]: 0 for equal ones, never below 0 but for rounding."""
    return kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """exp(-|x_i - y_j|^2 / D), [n, D], [m, D] -> [n, m]."""
    return torch.exp(-(x[:, None] - y).square().mean(-1))
