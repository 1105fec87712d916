"""-log p of words under a softmax, and its gradients, without copies of the logits.

    l_n = log sum_v exp(s_nv) - s_n,t(n),    s = X W^T + b
    dl_n / ds_n = softmax(s_n) - onehot(t(n))

On a processor the gradients by the logits replace them in the forward pass, and the backward pass
consists of matrix products. PyTorch's cross entropy, which other devices use, keeps the log-softmax
beside the logits and makes its gradient later: three of the largest tensors of a text model.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from uncollapse.models.operations import (
    choose_operations,
    differentiate_again,
    is_computed_here,
)

MOST_LOGITS = 1 << 20  # at a time, without gradients


def word_losses(seen: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """-log p [N] nats of the target words [N], from what the output layer reads, seen [N, F].

    weight [V, F], bias [V]. Without gradients only one block of logits exists at a time.
    """
    here = is_computed_here(seen)
    if torch.is_grad_enabled():
        if here:
            losses: Tensor = WordLosses.apply(seen, weight, bias, targets)
            return losses
        return refer(seen, weight, bias, targets)
    rows = max(1, MOST_LOGITS // len(bias))
    blocks = zip(seen.split(rows), targets.split(rows), strict=True)
    if not here:
        return torch.cat([refer(block, weight, bias, words) for block, words in blocks])
    return torch.cat([write_gradients(block, weight, bias, words)[0] for block, words in blocks])


def refer(seen: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """`word_losses` in PyTorch's operations, which can be differentiated as often as one likes."""
    logits = functional.linear(seen, weight, bias)
    return functional.cross_entropy(logits, targets, reduction="none")


class WordLosses(Function):
    """`word_losses` with gradients, on a processor."""

    @staticmethod
    def forward(ctx: Any, seen: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        losses, by_logits = write_gradients(seen, weight, bias, targets)
        ctx.save_for_backward(seen, weight, bias, targets, by_logits)
        return losses

    @staticmethod
    def backward(ctx: Any, grad_losses: Tensor) -> tuple[Tensor | None, ...]:
        seen, weight, bias, targets, by_logits = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            losses = refer(seen, weight, bias, targets)
            return *differentiate_again(losses, (seen, weight, bias), needed, grad_losses), None
        # the gradient of each loss scales the smaller factor of each product
        scale = grad_losses[:, None]
        return (
            (by_logits @ weight).mul_(scale) if needed[0] else None,
            by_logits.T @ (seen * scale) if needed[1] else None,
            by_logits.T @ grad_losses if needed[2] else None,
            None,
        )


def write_gradients(
    seen: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """The losses [N], and their gradients by the logits, [N, V]."""
    operations = choose_operations(seen.dtype)
    logits, losses = torch.addmm(bias, seen, weight.T), seen.new_empty(len(seen))
    arrays = (logits, logits.amax(1), targets, losses)
    operations.score(*map(operations.view, arrays))
    return losses, logits
