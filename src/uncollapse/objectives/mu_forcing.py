"""mu-forcing: the posterior means of a batch must stay apart from each other.

Liu et al., "mu-Forcing: Training Variational Recurrent Autoencoders for Text Generation", ACM
TALLIP 2019 (arXiv 1905.10072):

    rec + KL + max(0, margin - 1/(2 B) sum_i |mu_i - mean mu|^2).

Half the summed variance of mu is one term of the KL (E KL >= 1/2 sum_j Var mu_j). So the margin is
in nats, like a desired rate, and below it the pull of the KL on the means is exactly cancelled.

Deviations: the authors' code has the mean over dimensions in place of half the sum (its margins of
1.5 to 3 are 0.75 D to 1.5 D here) and a small, increasing weight on the KL. Here the KL keeps its
weight, which `objective.weight` changes, and the margin is about as large as the
rates of the other heads.
"""

from dataclasses import dataclass

from torch import Tensor

from uncollapse.distributions.precision import wide
from uncollapse.errors import check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.posterior import Posterior
from uncollapse.objectives.elbo import ELBO


@dataclass(frozen=True, kw_only=True)
class MuForcing(ELBO):
    """rec + weight * KL + max(0, margin - spread of mu); margin 0 is the ELBO."""

    margin: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("margin", self.margin, 0, closed=True)

    def __call__(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        plain = super().__call__(nll, q, z, epoch, batch)
        # no gradient once the spread exceeds the margin
        missing = (self.margin - measure_spread(wide(q.mean))).relu()
        return Loss(plain.total + missing, {**plain.terms, "missing_spread": missing}, plain.weight)


def measure_spread(mean: Tensor) -> Tensor:
    """1/2 sum_j Var mu_j over a batch of means [B, D], in nats: a lower bound on the mean KL."""
    return 0.5 * mean.var(0, correction=0).sum()
