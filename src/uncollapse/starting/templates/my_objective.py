"""FILL IN: what it adds to the ELBO or changes in it, in one sentence.

FILL IN: authors, "title", venue and year (arXiv number), section, equations.
    rec + weight KL + pull 1/2 sum_j (batch mean of mu_j)^2
pull 0 is the ELBO.
FILL IN: deviations from the paper, and why; what it guarantees, and under which conditions.
"""

from dataclasses import dataclass

from torch import Tensor

from uncollapse.errors import check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.posterior import Posterior
from uncollapse.objectives.elbo import ELBO


@dataclass(frozen=True, kw_only=True)
class MyObjective(ELBO):
    """InputError unless pull >= 0. The added term never enters a reported number."""

    pull: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("pull", self.pull, 0, closed=True)

    def __call__(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        plain = super().__call__(nll, q, z, epoch, batch)
        offset = 0.5 * q.mean.mean(0).square().sum()
        # a loss that is not finite is reported with the terms that are not
        terms = {**plain.terms, "offset": offset}
        return Loss(plain.total + self.pull * offset, terms, plain.weight)
