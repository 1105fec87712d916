"""Free bits: below lambda nats the KL costs nothing more, so nothing pulls it further down. Three objectives go by that name.

    per dimension, batch mean:   sum_j max(lambda, E_B KL_j)      `FreeBits`
    per example, total:          E_B max(lambda, sum_j KL_j)      `FreeBitsTotal`
    per example and dimension:   E_B sum_j max(lambda, KL_j)      `FreeBitsExample`

The first is the published one: Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", NeurIPS 2016
(arXiv 1606.04934), appendix C.8. It lets examples differ, as long as the batch keeps lambda on average; the other two, common
in code, hold each example to its own lambda, and the third so in each dimension. By Jensen the third is never below either of the others.
Where the KL does not split into dimensions there is one, the total. lambda 0 is the plain ELBO in all three, since KL >= 0.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from uncollapse.distributions.normal import Posterior
from uncollapse.errors import check_number
from uncollapse.objectives.elbo import ELBO, Loss


@dataclass(frozen=True, kw_only=True)
class FreeBits(ELBO):
    """rec + weight * sum_j max(free, batch mean of KL_j); `free` is lambda, in nats per dimension."""

    free: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("lambda", self.free, 0, closed=True)

    def clamped(self, kl: Tensor) -> Tensor:
        """kl [B, G] -> the scalar that takes the place of its batch mean."""
        return kl.mean(0).clamp_min(self.free).sum()

    def __call__(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Any = None
    ) -> Loss:
        plain = super().__call__(nll, q, z, epoch, batch)
        if self.free == 0:
            return plain
        clamped = self.clamped(q.kl)
        terms = {**plain.terms, "clamped_kl": clamped}
        return Loss(plain.terms["rec"] + plain.weight * clamped, terms, plain.weight)


@dataclass(frozen=True, kw_only=True)
class FreeBitsTotal(FreeBits):
    """rec + weight * batch mean of max(free, KL); `free` is in nats for all dimensions together."""

    def clamped(self, kl: Tensor) -> Tensor:
        return kl.sum(-1).clamp_min(self.free).mean()


@dataclass(frozen=True, kw_only=True)
class FreeBitsExample(FreeBits):
    """rec + weight * batch mean of sum_j max(free, KL_j); `free` is in nats per dimension."""

    def clamped(self, kl: Tensor) -> Tensor:
        return kl.clamp_min(self.free).sum(-1).mean()
