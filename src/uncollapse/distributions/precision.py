"""Heads compute in float32 or wider, even under autocast or after `.half()`.

A head's linear layer runs in the precision of the model around it. What follows the layer (batch
statistics, KL, density ratios) runs in float32, as in nn.BatchNorm, or in float64 where the head or
its input is float64.

Codes z have the dtype of the head's weights, because a decoder of the same model has weights of
that dtype too: float32 under autocast, float16 after `.half()`. The only loss of
precision in such a model is the rounding of z.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncollapse.errors import InputError

NARROW = (torch.float16, torch.bfloat16)


def wide(x: Tensor) -> Tensor:
    """x in float32 where it is float16 or bfloat16, else x itself."""
    return x.float() if x.dtype in NARROW else x


def without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """While open, matrix products on x's device keep the dtype of their arguments."""
    kind = x.device.type
    return (
        torch.autocast(kind, enabled=False)
        if torch.amp.is_autocast_available(kind)
        else nullcontext()
    )


def outputs(layer: nn.Linear, h: Tensor) -> Tensor:
    """layer(h) [B, out] in float32 or wider, for states h [B, hidden]; InputError for another h.

    Where h and the weights differ in precision, the narrower of the two is widened.
    """
    require_states(h, layer.in_features)
    weights = code_dtype(layer, h)
    dtype = torch.promote_types(h.dtype, weights)
    # autocast casts h and the weights itself, except that it leaves float64 alone
    if h.dtype == weights or (autocasts(h) and dtype != torch.float64):
        return wide(layer(h))
    if dtype == weights:
        return wide(layer(h.to(dtype)))
    # h is wider than the weights, which are cast for this call only
    bias = None if layer.bias is None else layer.bias.to(dtype)
    return wide(functional.linear(h.to(dtype), layer.weight.to(dtype), bias))


def code_dtype(layer: nn.Module, h: Tensor) -> torch.dtype:
    """The dtype of codes: that of a layer's weights, or h's if these are not floats (quantised)."""
    # quantised layers hold integers, and their codes follow the input
    weight = next(layer.parameters(), None)
    return weight.dtype if weight is not None and weight.is_floating_point() else h.dtype


def autocasts(h: Tensor) -> bool:
    """Whether autocast is on for h's device."""
    # asking for an unavailable device type would raise an error
    kind = h.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def require_states(h: object, hidden: int) -> None:
    """InputError unless h is a float tensor [B, hidden]."""
    if not isinstance(h, Tensor):
        raise InputError(f"h: a {type(h).__name__}; a head takes a tensor of states, [B, {hidden}]")
    shape = list(h.shape)
    if h.dim() != 2:
        raise InputError(
            f"h: shape {shape}; a head takes one state for each example, [B, {hidden}]: "
            f"{suggest_shape(h)}"
        )
    if shape[1] != hidden:
        raise InputError(
            f"h: shape {shape}; this head was made for hidden={hidden}, so allowed is [B, {hidden}]"
        )
    if not h.is_floating_point():
        raise InputError(
            f"h: type {h.dtype}; a head takes states of floats, [B, {hidden}]: embed ids or use "
            "h.float()"
        )


def suggest_shape(h: Tensor) -> str:
    """How to make states [B, hidden] from a tensor with another number of axes."""
    if h.dim() < 2:
        return "give a batch, h[None] for a single example"
    if h.dim() == 3:
        return (
            "pool over positions, h.mean(1) or h[:, -1], or h.flatten(0, 1) for a code at every "
            "position"
        )
    return "pool over positions, h.mean((2, 3)), or h.flatten(1) with a head made for that size"
