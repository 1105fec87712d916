"""Free bits: below lambda nats the KL costs nothing more, so nothing pulls it further down.

Three objectives go by that name:

    per dimension, batch mean:   sum_j max(lambda, E_B KL_j)      `FreeBits`
    per example, total:          E_B max(lambda, sum_j KL_j)      `FreeBitsTotal`
    per example and dimension:   E_B sum_j max(lambda, KL_j)      `FreeBitsExample`

The first is the published one: Kingma et al., "Improving Variational Inference with Inverse
Autoregressive Flow", NeurIPS 2016 (arXiv 1606.04934), appendix C.8. Examples may differ, as long as
the batch keeps lambda on average. The other two are common in code: each example has to keep
lambda, and in the third in each dimension. By Jensen the third is never below the others.

Where the KL does not split into dimensions it counts as one, the total. lambda 0 is the plain ELBO
in all three, since KL >= 0.
"""

from dataclasses import dataclass

from torch import Tensor

from uncollapse.errors import check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss
from uncollapse.interfaces.posterior import Posterior
from uncollapse.objectives.elbo import ELBO


@dataclass(frozen=True, kw_only=True)
class FreeBits(ELBO):
    """rec + weight * sum_j max(free, batch mean of KL_j); `free` is lambda, nats per dimension."""

    free: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("lambda", self.free, 0, closed=True)

    def clamp(self, kl: Tensor) -> Tensor:
        """The scalar that replaces the batch mean of kl [B, G], nats."""
        # below lambda the clamp has no gradient
        return kl.mean(0).clamp_min(self.free).sum()

    def __call__(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        plain = super().__call__(nll, q, z, epoch, batch)
        if self.free == 0:
            return plain
        clamped = self.clamp(q.kl)
        terms = {**plain.terms, "clamped_kl": clamped}
        return Loss(plain.terms["rec"] + plain.weight * clamped, terms, plain.weight)


@dataclass(frozen=True, kw_only=True)
class FreeBitsTotal(FreeBits):
    """rec + weight * batch mean of max(free, KL); `free` is in nats for all dimensions together."""

    def clamp(self, kl: Tensor) -> Tensor:
        return kl.sum(-1).clamp_min(self.free).mean()


@dataclass(frozen=True, kw_only=True)
class FreeBitsExample(FreeBits):
    """rec + weight * batch mean of sum_j max(free, KL_j); `free` is in nats per dimension."""

    def clamp(self, kl: Tensor) -> Tensor:
        return kl.clamp_min(self.free).sum(-1).mean()
