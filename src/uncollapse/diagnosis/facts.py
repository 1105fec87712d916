"""Facts noted while walking over the batches, for the rules in doubts.py."""

import math
from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from uncollapse.distributions.precision import NARROW


@dataclass
class BatchFacts:
    """Facts about the data, about encode's ln sigma², and about rounding in narrow dtypes."""

    is_single: bool = True  # every batch is one tensor
    is_integer: bool = True  # all values of x are integers
    # how often each distinct example occurs, while x is one tensor of integers
    counts: Counter[bytes] = field(default_factory=Counter)
    log_var_count: int = 0  # how many values of ln sigma² were inspected
    least_log_var: float = float("inf")
    # bounds [B] in nats on the error of each example, by the quantity that is rounded
    kl_rounding: list[Tensor] = field(default_factory=list)  # of mean and ln sigma²
    own_kl_rounding: list[Tensor] = field(default_factory=list)  # of a posterior's own kl
    nll_rounding: list[Tensor] = field(default_factory=list)
    # the narrow dtypes, by quantity: encode, kl, nll
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)

    def note_data(self, tensors: list[Tensor], is_single: bool) -> None:
        self.is_single &= is_single
        # float tensors of 0.0 and 1.0 count as integers, too
        self.is_integer &= bool(tensors) and all(
            bool((x == x.round()).all()) for x in tensors if x.is_floating_point()
        )
        if self.is_discrete:
            self.counts.update(map(identify_example, tensors[0]))

    @property
    def is_discrete(self) -> bool:
        """Whether each batch is one tensor of integers."""
        return self.is_single and self.is_integer

    def empirical_entropy(self) -> float:
        """The entropy of the examples' own distribution, in nats: ln N if all N are distinct."""
        total = self.counts.total()
        return -sum(n / total * math.log(n / total) for n in self.counts.values())

    def note_mean_log_var(self, mean: Tensor, log_var: Tensor) -> None:
        """mean and ln sigma² [B, D], in the dtype in which encode returned them."""
        self.least_log_var = min(self.least_log_var, float(log_var.min()))
        self.log_var_count += log_var.numel()
        if mean.dtype in NARROW or log_var.dtype in NARROW:
            self.dtypes["encode"] = mean.dtype if mean.dtype in NARROW else log_var.dtype
            self.kl_rounding.append(bound_kl_rounding(mean, log_var))

    def note_kl(self, kl: Tensor) -> None:
        """kl [B, G] as a posterior computed it."""
        if kl.dtype in NARROW:
            self.dtypes["kl"] = kl.dtype
            # the formula of a KL subtracts terms of about 1; their rounding errors remain
            bound = unit_roundoff(kl.dtype) * (1 + kl.double().abs()).sum(1)
            self.own_kl_rounding.append(bound)

    def note_nll(self, nll: Tensor) -> None:
        if nll.dtype in NARROW:
            self.dtypes["nll"] = nll.dtype
            self.nll_rounding.append(unit_roundoff(nll.dtype) * nll.double().abs())


def identify_example(x: Tensor) -> bytes:
    """Bytes that are equal for equal examples, however long their padding."""
    flat = x.detach().reshape(-1).double().cpu().numpy()
    if not len(flat):
        return b""
    (different,) = (flat != flat[-1]).nonzero()
    # up to the first value of the constant end, which may be padding
    return flat[: different[-1] + 2 if len(different) else 1].tobytes()


def unit_roundoff(dtype: torch.dtype) -> float:
    """The largest relative error of rounding to this dtype; 0 for float32 and float64."""
    return torch.finfo(dtype).eps / 2 if dtype in NARROW else 0.0


def bound_kl_rounding(mean: Tensor, log_var: Tensor) -> Tensor:
    """How far rounding mean and ln sigma² can shift each example's KL, to first order, [B] nats.

    sum_j mu_j² u + |sigma_j² - 1| |ln sigma_j²| u / 2, where u is the unit roundoff.
    """
    m, v = mean.double(), log_var.double()
    from_mean = unit_roundoff(mean.dtype) * m.square()
    # d/dv of (e^v - v - 1)/2 is (e^v - 1)/2; expm1 keeps the digits near v = 0
    from_log_var = 0.5 * unit_roundoff(log_var.dtype) * torch.expm1(v).abs() * v.abs()
    return (from_mean + from_log_var).sum(1)


def describe_roundings(facts: BatchFacts, kl: float) -> list[str]:
    """A sentence for each quantity that encode or nll returned in a narrow dtype."""
    sentences = []
    if facts.kl_rounding:
        limit, dtype = mean_bound(facts.kl_rounding), dtype_name(facts.dtypes["encode"])
        sentences.append(
            f"encode: returns {dtype}; kl ({kl:.2g} nats) is computed in float32, but the "
            f"rounding of mean and log_var can shift it by up to {limit:.1g} nats: let the "
            "encoder's last layer return float32"
        )
    if facts.own_kl_rounding:
        limit, dtype = mean_bound(facts.own_kl_rounding), dtype_name(facts.dtypes["kl"])
        sentences.append(
            f"encode: its posterior computes kl in {dtype}, which can shift it by {limit:.1g} nats "
            "or more: let it compute in float32"
        )
    if facts.nll_rounding:
        limit, dtype = mean_bound(facts.nll_rounding), dtype_name(facts.dtypes["nll"])
        sentences.append(
            f"nll: returns {dtype}, which rounds each value by up to {limit:.1g} nats; a "
            "smaller shuffled gap cannot be measured: sum log p in float32"
        )
    return sentences


def mean_bound(bounds: list[Tensor]) -> float:
    return float(torch.cat(bounds).mean())


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
