"""Numbers of `diagnose` that cannot be, or mean little, and which of its arguments is most likely at fault.

Every rule is an inequality that holds for each correct pair of encode and nll, with five standard errors to spare; what
is unusual but possible is not doubted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.distributions.precision import NARROW
from uncollapse.metrics.base import Pass, with_error

SURE = 5  # standard errors
LEAST = 5  # examples
SPARE = 0.05  # nats: less is not worth a word
FEW, MANY = 5, 100  # effective codes, of so many at least
VALUES = 20  # entries from which "all are positive" says something


@dataclass
class Facts:
    """What is noted of the batches on the way: whether x is one tensor of whole numbers, the least ln sigma² of all, and
    by how many nats of each example's kl and nll the rounding of what the callables return can be off."""

    single: bool = True
    whole: bool = True
    values: int = 0
    least_log_var: float = float("-inf")
    kl_rounding: list[Tensor] = field(default_factory=list)
    nll_rounding: list[Tensor] = field(default_factory=list)
    own_rounding: list[Tensor] = field(
        default_factory=list
    )  # of a posterior that computes its own kl
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)

    def note_data(self, tensors: list[Tensor], single: bool) -> None:
        self.single &= single
        self.whole &= bool(tensors) and all(
            bool((x == x.round()).all()) for x in tensors if x.is_floating_point()
        )

    def note_pair(self, mean: Tensor, log_var: Tensor) -> None:
        """mean and ln sigma² as encode gave them, [B, D]."""
        least = float(log_var.min())
        self.least_log_var = least if self.values == 0 else min(self.least_log_var, least)
        self.values += log_var.numel()
        if mean.dtype in NARROW or log_var.dtype in NARROW:
            self.dtypes["encode"] = mean.dtype if mean.dtype in NARROW else log_var.dtype
            self.kl_rounding.append(kl_rounding(mean, log_var))

    def note_kl(self, kl: Tensor) -> None:
        """kl [B, G] as a posterior gave it: in its formula numbers of about 1 cancel, so they are rounded too."""
        if kl.dtype in NARROW:
            self.dtypes["kl"] = kl.dtype
            self.own_rounding.append(unit(kl.dtype) * (1 + kl.double().abs()).sum(1))

    def note_nll(self, nll: Tensor) -> None:
        if nll.dtype in NARROW:
            self.dtypes["nll"] = nll.dtype
            self.nll_rounding.append(unit(nll.dtype) * nll.double().abs())


def unit(dtype: torch.dtype) -> float:
    """The largest relative error of rounding to this dtype; none counted for float32 and float64."""
    return torch.finfo(dtype).eps / 2 if dtype in NARROW else 0.0


def kl_rounding(mean: Tensor, log_var: Tensor) -> Tensor:
    """By how much rounding mean and ln sigma² can move each example's KL, to first order, [B] nats:
    sum_j mu_j² u + |sigma_j² - 1| |ln sigma_j²| u / 2, u being the unit roundoff."""
    m, v = mean.double(), log_var.double()
    moved = (
        unit(mean.dtype) * m.square() + 0.5 * unit(log_var.dtype) * torch.expm1(v).abs() * v.abs()
    )
    return moved.sum(1)


def roundings(facts: Facts, kl: float) -> list[str]:
    """What a narrow dtype of the answers themselves takes away; nothing that is computed here is narrow."""
    said = []
    if facts.kl_rounding:
        limit = float(torch.cat(facts.kl_rounding).mean())
        said.append(
            f"encode: answers in {short(facts.dtypes['encode'])}; kl ({kl:.2g} nats) is computed in float32, but the rounding of mean "
            f"and log_var itself can shift it by up to {limit:.1g} nats: let the encoder's last layer answer in float32"
        )
    if facts.own_rounding:
        limit = float(torch.cat(facts.own_rounding).mean())
        said.append(
            f"encode: its posterior computes kl in {short(facts.dtypes['kl'])}, which can shift it by {limit:.1g} nats or more: let it "
            "compute in float32"
        )
    if facts.nll_rounding:
        limit = float(torch.cat(facts.nll_rounding).mean())
        said.append(
            f"nll: answers in {short(facts.dtypes['nll'])}, which rounds each value by up to {limit:.1g} nats; a smaller shuffled gap "
            "cannot be seen: sum log p in float32"
        )
    return said


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def doubts(
    found: Mapping[str, Any], seen: Pass, nll: np.ndarray, log_prob: np.ndarray | None, facts: Facts
) -> list[str]:
    """One sentence for each number that cannot be, most telling first; [] for a model and callables in order."""
    if len(nll) < LEAST:  # so few examples have no standard error to speak of
        return []
    said = [
        *negative_kl(found),
        *spread_for_log_var(found, facts),
        *negative_nll(seen, facts),
        *cheap_without_code(found, seen, facts),
        *below_the_truth(found, log_prob, facts),
        *bounds_out_of_order(seen, nll),
    ]
    return said or few_effective_codes(found, facts)  # which follow from any of them


def negative_kl(found: Mapping[str, Any]) -> list[str]:
    if not found["kl"] + SURE * found["kl_se"] < -SPARE:
        return []
    return [
        f"encode: its posteriors have a kl of {found['kl']:.3g} nats, and no KL is negative: check their `kl`"
    ]


def spread_for_log_var(found: Mapping[str, Any], facts: Facts) -> list[str]:
    """A posterior wider than the prior in every dimension of every example costs rate and says less than the prior's width."""
    if not (facts.values >= VALUES and facts.least_log_var > 0 and found["kl"] > 2 * SPARE):
        return []
    return [
        f"encode: its second tensor is positive throughout (least {facts.least_log_var:.2g}), as if every posterior were wider than the "
        "prior: it looks like sigma or sigma², and must be log_var = ln sigma²"
    ]


def negative_nll(seen: Pass, facts: Facts) -> list[str]:
    least = float(seen.rec.min())
    if not (facts.whole and least < -SPARE):
        return []
    return [
        f"nll: {least:.3g} nats for an example, but -log p of whole numbers is never negative: nll may return log p with its sign "
        "unchanged, or a density (of a Normal, say), whose values compare with no other model's"
    ]


def cheap_without_code(found: Mapping[str, Any], seen: Pass, facts: Facts) -> list[str]:
    """E[-log p(x|z')] >= H(x) >= I(x; z) for discrete x and z' of another x."""
    foreign = seen.rec_shuffled[~np.isnan(seen.rec_shuffled)]
    if not (facts.whole and facts.single and len(foreign) > 1 and seen.rec.min() >= -SPARE):
        return []
    cost = with_error("cost", foreign)
    if not cost["cost"] + SURE * cost["cost_se"] + SPARE < found["mi"] - SURE * found["mi_se"]:
        return []
    return [
        f"nll: x costs {cost['cost']:.2g} nats with another example's code, less than the {found['mi']:.2g} nats that its own code tells "
        "of it, which cannot be: nll is averaged over pixels or words where it must be summed, or is not all of -log p"
    ]


def below_the_truth(
    found: Mapping[str, Any], log_prob: np.ndarray | None, facts: Facts
) -> list[str]:
    if log_prob is None:
        return []
    if facts.whole and log_prob.max() > SPARE:
        return [
            f"log_prob: {log_prob.max():.3g} for an example of whole numbers, whose log p is never positive: give log p, not -log p"
        ]
    gap, error = found["oracle_gap"], found["oracle_gap_se"]
    if not gap + SURE * error < -SPARE:
        return []
    return [
        f"nll lies {-gap:.3g} nats below the exact -log p, which only a model trained on these very examples can do: nll may be averaged "
        "over pixels or words where it must be summed, or log_prob may not be in nats"
    ]


def bounds_out_of_order(seen: Pass, nll: np.ndarray) -> list[str]:
    """In expectation nelbo is never below the importance-weighted nll, example by example."""
    excess = with_error("excess", seen.rec + seen.kl.sum(1) - nll)
    if not excess["excess"] + SURE * excess["excess_se"] < -SPARE:
        return []
    return [
        f"nelbo lies {-excess['excess']:.3g} nats below nll, which cannot be: nll(x, z) may depend on the other rows of a call (it is "
        "asked for many codes at once), or the kl, sample and log_ratio of encode's posterior may not belong together"
    ]


def few_effective_codes(found: Mapping[str, Any], facts: Facts) -> list[str]:
    ess, samples = found["nll_ess"], found["nll_samples"]
    if not (samples >= MANY and ess < FEW):
        return []
    pair = (
        "encode's second tensor is not ln sigma² (but sigma, sigma² or ln sigma), or "
        if facts.values
        else ""
    )
    return [
        f"nll_ess is {ess:.2g} of {samples}: very few codes decide, and nll is a loose bound; either the posterior fits badly, or {pair}"
        "encode and nll see x differently"
    ]
