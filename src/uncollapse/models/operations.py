"""Element-wise operations of LSTM steps and of the softmax over words, compiled or PyTorch's.

On a processor in float32 numba's are used, elsewhere on a processor PyTorch's, which are the
reference. Other devices never come here: see `is_computed_here`.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


def is_computed_here(inputs: Tensor) -> bool:
    """Whether LSTM steps and word losses of these inputs are made here, rather than by PyTorch."""
    return (
        inputs.device.type == "cpu"
        and inputs.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
    )


def differentiate_again(
    outputs: Tensor, inputs: Sequence[Tensor], needed: Sequence[bool], grad_outputs: Tensor
) -> list[Tensor | None]:
    """The gradients by the inputs that need one, as a graph that can be differentiated again."""
    wanted = [x for x, is_needed in zip(inputs, needed, strict=True) if is_needed]
    found = iter(torch.autograd.grad(outputs, wanted, grad_outputs, create_graph=True))
    return [next(found) if is_needed else None for is_needed in needed]


class Operations(NamedTuple):
    """What the functions of kernels.py do, for arrays made of tensors by `view`."""

    view: Callable[[Tensor], Any]
    advance: Callable[..., None]
    retreat: Callable[..., None]
    score: Callable[..., None]


def advance_tensors(
    gates: Tensor,
    start: int,
    count: int,
    cells_before: Tensor,
    before: int,
    cells: Tensor,
    tanh_cells: Tensor,
    outputs: Tensor,
) -> None:
    """As `kernels.advance`, in PyTorch's operations."""
    here, width = slice(start, start + count), cells.shape[1]
    i, f, g, o = gates[here].chunk(4, 1)
    gates[here, : 2 * width].sigmoid_()
    g.tanh_()
    o.sigmoid_()
    c = torch.mul(f, cells_before[before : before + count], out=cells[here]).addcmul_(i, g)
    torch.mul(torch.tanh(c, out=tanh_cells[here]), o, out=outputs[here])


def retreat_tensors(
    gates: Tensor,
    start: int,
    count: int,
    cells_before: Tensor,
    before: int,
    tanh_cells: Tensor,
    grad_h: Tensor,
    grad_c: Tensor,
    grad_gates: Tensor,
) -> None:
    """As `kernels.retreat`, in PyTorch's operations."""
    here = slice(start, start + count)
    (i, f, g, o), tanh_c, d_c = gates[here].chunk(4, 1), tanh_cells[here], grad_c[:count]
    d_i, d_f, d_g, d_o = grad_gates[here].chunk(4, 1)
    d_c += grad_h[here] * o * (1 - tanh_c.square())
    d_i.copy_(d_c * g * i * (1 - i))
    d_f.copy_(d_c * cells_before[before : before + count] * f * (1 - f))
    d_g.copy_(d_c * i * (1 - g.square()))
    d_o.copy_(grad_h[here] * tanh_c * o * (1 - o))
    d_c *= f


def score_tensors(logits: Tensor, largest: Tensor, targets: Tensor, losses: Tensor) -> None:
    """As `kernels.score`, in PyTorch's operations."""
    logits -= largest[:, None]
    of_targets = logits.gather(1, targets[:, None])
    total = logits.exp_().sum(1, keepdim=True)
    losses.copy_((total.log() - of_targets)[:, 0])
    logits /= total
    logits.scatter_add_(1, targets[:, None], -torch.ones_like(total))


PLAIN = Operations(lambda tensor: tensor, advance_tensors, retreat_tensors, score_tensors)


@cache
def choose_operations(dtype: torch.dtype) -> Operations:
    """Compiled operations for float32, or PyTorch's, with a warning, if numba cannot compile."""
    return compile_operations() if dtype == torch.float32 else PLAIN


def compile_operations() -> Operations:
    """The operations of kernels, tried once on a state of zeros."""
    try:
        from uncollapse.models import kernels

        state, gates = (np.zeros((1, size), np.float32) for size in (1, 4))
        kernels.advance(gates, 0, 1, state, 0, state, state, state)
        kernels.retreat(gates, 0, 1, state, 0, state, state, state, gates)
        kernels.score(gates, state[0], np.zeros(1, np.int64), state[0])
    # numba has no common class of errors, and any of them must leave a way to go on
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        warnings.warn(
            f"text models use PyTorch's operations, which are slower: numba cannot compile here "
            f"({type(error).__name__}: {reason})",
            stacklevel=2,
        )
        return PLAIN
    return Operations(Tensor.numpy, kernels.advance, kernels.retreat, kernels.score)


def name_kernels(model: nn.Module) -> str | None:
    """What computes a text model in float32: "numba" or "torch"; None for other models."""
    from uncollapse.models.text_vae import TextVAE

    if not isinstance(model, TextVAE):
        return None
    weights = next(model.parameters())
    compiled = is_computed_here(weights) and choose_operations(weights.dtype) is not PLAIN
    return "numba" if compiled else "torch"
