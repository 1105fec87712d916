"""Normalisation by batch moments in training and population moments in evaluation.

A running average of batch moments lags behind the weights. So before each evaluation `population`
computes the moments exactly, in one pass over training data (Wu & Johnson, "Rethinking 'Batch' in
BatchNorm", 2021, section 3). The running average serves only heads used outside this package.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from uncollapse.distributions.precision import NARROW, wide
from uncollapse.errors import InputError

MOMENTUM = 0.1  # weight of a new batch in the running averages, as in nn.BatchNorm
EPS = 1e-8  # of the heads: added to variances, which start smaller than the usual 1e-5
Gathered = tuple[float, Tensor, Tensor]  # number of examples, and their mean and variance [D]
FRESH = (
    "the batch statistics are still 0 and 1, as no batch was seen in training mode: nothing is "
    "normalised, and a head's KL floor does not hold. Train first, load trained weights, or gather "
    "them: `with uncollapse.distributions.moments.population(head):` and a pass in training mode"
)


class NotFinite(InputError, FloatingPointError):
    """A batch whose statistics are NaN or infinite: bad input, or training that has diverged."""


class WideBuffers(nn.Module):
    """A module whose own buffers stay in float32 or wider: `.half()` narrows only its weights."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # nn.Module narrows all floating-point tensors, so the buffers are restored from the old
        # ones
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype in NARROW:
                self._buffers[name] = wide(old).to(new.device)
        return self


class Moments(WideBuffers):
    """Divides x [B, D] by its standard deviation per dimension, after subtracting the mean.

    With `centred=False` it divides by the root mean square and leaves the mean alone. Buffers
    `mean` and `var` [D] (uncentred: 0 and E[x^2]) are used in evaluation. `of` names x in messages.

    Training needs at least two examples, all finite (InputError). Two warnings are given, once
    each: when a batch variance is below 100 eps, because then eps sets the scale and a promised
    floor is lost; and when the module is evaluated before any training.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, dim: int, eps: float, centred: bool = True, of: str = "mu"):
        super().__init__()
        self.eps, self.centred, self.of, self.warned = eps, centred, of, False
        self.used = False  # whether it was called in evaluation mode
        self.gathering: Gathered | None = None  # set inside `population`
        self.register_buffer("mean", wide(torch.zeros(dim)))
        self.register_buffer("var", wide(torch.ones(dim)))

    def forward(self, x: Tensor) -> Tensor:
        """(x - mean) / sqrt(var + eps), [B, D]; a batch's variance is biased (divided by B)."""
        # variances of narrow floats lose their digits, or overflow
        x = wide(x)
        if self.training:
            self.record_batch(x.detach())
        else:
            self.warn_if_fresh()
        if self.centred:
            # in training None: torch then uses the moments of the batch
            mean = None if self.training else self.mean.to(x.dtype)
            var = None if self.training else self.var.to(x.dtype)
            return nn.functional.batch_norm(x, mean, var, training=self.training, eps=self.eps)
        # torch has no layer that divides by the root mean square of a batch
        mean_square = x.square().mean(0) if self.training else self.var
        return x * torch.rsqrt(mean_square + self.eps)

    def record_batch(self, x: Tensor) -> None:
        """Add a batch to the running averages or, inside `population`, to its moments."""
        x = wide(x)
        if self.centred and len(x) < 2:
            raise InputError(
                f"batch statistics need at least 2 examples in a batch, got {len(x)}: use larger "
                "batches in training mode (DataLoader(..., drop_last=True) leaves a last one out), "
                "or head.eval()"
            )
        mean, var = compute_moments(x, self.centred)
        require_finite_moments(var, self.of)
        self.warned = self.warned or warn_if_flat(var, self.eps, f"dimensions of {self.of}")
        if self.gathering is not None:
            # float64, as sums over a data set lose digits in float32
            self.gathering = merge_moments(self.gathering, len(x), mean.double(), var.double())
        else:
            self.mean.lerp_(mean.to(self.mean.dtype), MOMENTUM)
            self.var.lerp_(var.to(self.var.dtype), MOMENTUM)

    @property
    def fresh(self) -> bool:
        """Whether the statistics are still the initial ones: mean exactly 0, variance exactly 1."""
        return bool(self.mean.eq(0).all() and self.var.eq(1).all())

    def warn_if_fresh(self) -> None:
        """Warn at the first evaluation, if at all.

        Uncentred moments accompany centred ones in a head, and one warning is enough.
        """
        if self.centred and not self.used and self.fresh:
            warnings.warn(f"evaluation mode, but {FRESH}", stacklevel=4)
        self.used = True


def require_finite_moments(var: Tensor, of: str) -> None:
    """NotFinite if a variance is NaN or infinite.

    Dividing by it would spoil every example of the batch, and the running averages for good.
    """
    # the sum first: for a good batch only one number is read back from the device
    bad = 0 if math.isfinite(float(var.sum())) else len(var) - int(var.isfinite().sum())
    if bad:
        raise NotFinite(
            f"batch statistics of {of}: {bad} of {len(var)} dimensions are not finite (NaN or "
            "infinite) before normalisation; check the input h and the head's weights"
        )


def warn_if_flat(var: Tensor, eps: float, what: str) -> bool:
    """Warn and return True if a variance v [D] is below 100 eps.

    The normalised variance is v / (v + eps), which is then less than 0.99 instead of 1.
    """
    least = float(var.detach().min())
    flat = int((var < 100 * eps).sum()) if least < 100 * eps else 0
    if flat:
        warnings.warn(
            f"{flat} of {len(var)} {what} have a variance below 100 eps before normalisation "
            f"(smallest {least:.3g}, eps {eps:g}): their normalised variance is v/(v+eps), as low "
            f"as {least / (least + eps):.3g} instead of 1, so a promised KL floor is lost in "
            "proportion. Use larger initial weights.",
            stacklevel=3,
        )
    return flat > 0


def compute_moments(x: Tensor, centred: bool) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over a batch, [D] each; uncentred: 0 and the mean square."""
    if centred:
        var, mean = torch.var_mean(x, 0, correction=0)
        return mean, var
    return x.new_zeros(x.shape[1]), x.square().mean(0)


def merge_moments(total: Gathered, n: int, mean: Tensor, var: Tensor) -> Gathered:
    """The moments of two samples together (Chan, Golub & LeVeque 1983)."""
    count, old_mean, old_var = total
    both = count + n
    delta = mean - old_mean
    new_var = (count * old_var + n * var) / both + delta.square() * (count * n / both**2)
    return both, old_mean + delta * (n / both), new_var


@contextmanager
def population(module: nn.Module) -> Iterator[None]:
    """While open, each `Moments` in a module collects the moments of all its inputs.

    The module must be in training mode. On leaving, the moments become the statistics used in
    evaluation. A `Moments` that saw no batch stays as it was.
    """
    all_moments = [m for m in module.modules() if isinstance(m, Moments)]
    # (0 examples, mean 0, variance 0) is the neutral element of `merge_moments`
    for m in all_moments:
        zero = torch.zeros_like(m.mean, dtype=torch.float64)
        m.gathering = (0.0, zero, zero)
    try:
        yield
        for m in all_moments:
            # a head that was never called keeps its old statistics
            if m.gathering is not None and m.gathering[0] > 0:
                m.mean.copy_(m.gathering[1])
                m.var.copy_(m.gathering[2])
    finally:
        for m in all_moments:
            m.gathering = None
