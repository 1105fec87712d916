"""Batch moments in training, population moments in evaluation: what the batch-norm heads share.

In training a head normalises by the moments of its batch. In evaluation it needs those of the population. A running mean of batch
moments lags behind the weights, so before each evaluation `population` gathers them exactly in one pass (Wu & Johnson 2021,
"Rethinking 'Batch' in BatchNorm", section 3); the running mean is only what a head has when it is used outside this harness.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.distributions.precision import NARROW, wide
from uncollapse.errors import InputError

MOMENTUM = 0.1
FRESH = (
    "the batch statistics are still 0 and 1, as no batch was met in training mode: nothing is normalised, and a head's KL floor does "
    "not hold. Train first, load trained weights, or gather them: `with uncollapse.distributions.moments.population(head):` and a pass "
    "in training mode"
)


class NotFinite(InputError, FloatingPointError):
    """A batch whose statistics are NaN or infinite: bad input from outside, a diverged run in training."""


class WideBuffers(nn.Module):
    """Keeps its own buffers in float32 at least: `.half()` and `.bfloat16()` narrow weights only."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "WideBuffers":
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype in NARROW:
                self._buffers[name] = wide(old).to(new.device)
        return self


class Moments(WideBuffers):
    """Divides by the standard deviation per dimension; with `centred=False` by the root mean square, the mean left alone.

    Buffers `mean` and `var` [D] (uncentred: 0 and E[x^2]) are used in evaluation. In training a batch needs at least two examples, and
    finite ones (InputError). Warns once when a batch variance is below 100 eps: then eps, not the data, sets the scale and a promised
    floor is lost; `of` names the quantity in that warning. Warns once when evaluated before any training.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, dim: int, eps: float, centred: bool = True, of: str = "mu"):
        super().__init__()
        self.eps, self.centred, self.of, self.warned = eps, centred, of, False
        self.used = False  # in evaluation
        self.gathering: tuple[float, Tensor, Tensor] | None = None
        self.register_buffer("mean", wide(torch.zeros(dim)))
        self.register_buffer("var", wide(torch.ones(dim)))

    def forward(self, x: Tensor) -> Tensor:
        """(x - mean) / sqrt(var + eps), [B, D]; in training by the batch's own moments, var biased (divided by B)."""
        x = wide(x)
        if self.training:
            self.look(x.detach())
        else:
            self.warn_if_fresh()
        if self.centred:
            mean, var = (
                (None, None) if self.training else (self.mean.to(x.dtype), self.var.to(x.dtype))
            )
            return nn.functional.batch_norm(x, mean, var, training=self.training, eps=self.eps)
        mean_square = x.square().mean(0) if self.training else self.var
        return x * torch.rsqrt(mean_square + self.eps)

    def look(self, x: Tensor) -> None:
        """Note a batch's moments: for the running averages or for `population`; warn when they are too small."""
        x = wide(x)
        if self.centred and len(x) < 2:
            raise InputError(
                f"batch statistics need at least 2 examples in a batch, got {len(x)}: use larger batches in training mode "
                "(DataLoader(..., drop_last=True) leaves a last one out), or head.eval()"
            )
        mean, var = batch_moments(x, self.centred)
        require_finite(var, self.of)
        self.warned = self.warned or warn_if_flat(var, self.eps, f"dimensions of {self.of}")
        if self.gathering is not None:
            self.gathering = merge(self.gathering, len(x), mean.double(), var.double())
        else:
            self.mean.lerp_(mean.to(self.mean.dtype), MOMENTUM)
            self.var.lerp_(var.to(self.var.dtype), MOMENTUM)

    @property
    def fresh(self) -> bool:
        """Whether the statistics are those of the start: mean 0 and variance 1 to the last digit."""
        return bool(self.mean.eq(0).all() and self.var.eq(1).all())

    def warn_if_fresh(self) -> None:
        """Looks once, at the first evaluation. An uncentred one stands beside a centred one, which speaks for both."""
        if self.centred and not self.used and self.fresh:
            warnings.warn(f"evaluation mode, but {FRESH}", stacklevel=4)
        self.used = True


def require_finite(var: Tensor, of: str) -> None:
    """NotFinite where a variance is NaN or infinite: normalised by it, the whole batch would be, and the running averages for ever."""
    # the sum first: it is all that a healthy batch costs
    bad = 0 if math.isfinite(float(var.sum())) else len(var) - int(var.isfinite().sum())
    if bad:
        raise NotFinite(
            f"batch statistics of {of}: {bad} of {len(var)} dimensions are not finite (NaN or infinite) before normalisation; "
            "look for such values in the input h and in the head's weights"
        )


def warn_if_flat(var: Tensor, eps: float, what: str) -> bool:
    """Warn, with the numbers, and say True when a variance is below 100 eps: the normalised variance is v/(v+eps), not 1."""
    least = float(var.detach().min())
    flat = int((var < 100 * eps).sum()) if least < 100 * eps else 0
    if flat:
        warnings.warn(
            f"{flat} of {len(var)} {what} have a variance below 100 eps before normalisation (smallest {least:.3g}, eps {eps:g}): "
            f"their normalised variance is v/(v+eps), as low as {least / (least + eps):.3g} instead of 1, so a promised KL floor is "
            "lost in proportion. Larger initial weights cure it.",
            stacklevel=3,
        )
    return flat > 0


def batch_moments(x: Tensor, centred: bool) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over the batch, [D] each; uncentred: 0 and the mean square."""
    if centred:
        var, mean = torch.var_mean(x, 0, correction=0)
        return mean, var
    return x.new_zeros(x.shape[1]), x.square().mean(0)


def merge(
    total: tuple[float, Tensor, Tensor], n: int, mean: Tensor, var: Tensor
) -> tuple[float, Tensor, Tensor]:
    """Count, mean and variance of two samples together (Chan et al. 1983); `total` is (count, mean, var)."""
    count, old_mean, old_var = total
    both = count + n
    delta = mean - old_mean
    new_var = (count * old_var + n * var) / both + delta.square() * (count * n / both**2)
    return both, old_mean + delta * (n / both), new_var


@contextmanager
def population(module: Any) -> Iterator[None]:
    """While open, every `Moments` under `module` gathers the moments of all that passes through it in training mode.

    On leaving, they become its evaluation statistics. Nothing happens to a module that saw no batch.
    """
    found = [m for m in module.modules() if isinstance(m, Moments)]
    for m in found:
        zero = torch.zeros_like(m.mean, dtype=torch.float64)
        m.gathering = (0.0, zero, zero)
    try:
        yield
        for m in found:
            if m.gathering is not None and m.gathering[0] > 0:
                m.mean.copy_(m.gathering[1])
                m.var.copy_(m.gathering[2])
    finally:
        for m in found:
            m.gathering = None
