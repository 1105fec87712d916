"""An LSTM over the sentences of a batch, without padding, and its gradients.

As in PyTorch's packed sequences, the real tokens of all sentences are listed step by step, longest
sentences first, so each step's rows are the first ones of the step before. On a processor the steps
are made here: the gates of all words are one matrix product, and so is the gradient of each weight,
where PyTorch makes one of each per step. Elsewhere PyTorch's own LSTM reads the packed sequence.
"""

from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.utils.rnn import PackedSequence

from uncollapse.models.operations import (
    choose_operations,
    differentiate_again,
    is_computed_here,
)

LSTM_WEIGHTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def run_lstm(
    lstm: nn.LSTM, inputs: Tensor, batch_sizes: tuple[int, ...], h: Tensor, c: Tensor
) -> Tensor:
    """The outputs [N, H] for inputs [N, E] from a first state h, c [B, H].

    batch_sizes [T]: the rows of each step, as in a batch of sentences.
    """
    if is_computed_here(inputs):
        weights = [lstm.get_parameter(name) for name in LSTM_WEIGHTS]
        return Steps.apply(batch_sizes, inputs, h, c, *weights)
    packed = PackedSequence(inputs, torch.tensor(batch_sizes))
    return lstm(packed, (h[None], c[None]))[0].data


class Steps(Function):
    """All steps of one LSTM layer."""

    @staticmethod
    def forward(
        ctx: Any,
        batch_sizes: tuple[int, ...],
        inputs: Tensor,
        h: Tensor,
        c: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> Tensor:
        gates = torch.addmm(bias_ih + bias_hh, inputs, weight_ih.T)
        count, width = len(inputs), weight_hh.shape[1]
        cells, tanh_cells, outputs = (inputs.new_empty(count, width) for _ in range(3))
        operations = choose_operations(inputs.dtype)
        view, advance = operations.view, operations.advance
        written = [view(x) for x in (cells, tanh_cells, outputs)]
        activated, cells_before = view(gates), view(c.detach().contiguous())
        # products with a contiguous matrix are faster
        recurrent, seen, before = weight_hh.T.contiguous(), h, 0
        # views of all steps at once, as slices are slow
        steps = zip(gates.split(batch_sizes), outputs.split(batch_sizes), strict=True)
        for start, (step, output) in zip(list_starts(batch_sizes), steps, strict=True):
            step.addmm_(seen[: len(step)], recurrent)
            advance(activated, start, len(step), cells_before, before, *written)
            cells_before, seen, before = written[0], output, start
        ctx.batch_sizes = batch_sizes
        ctx.save_for_backward(
            *(inputs, h, c, weight_ih, weight_hh, bias_ih, bias_hh),
            *(gates, cells, tanh_cells, outputs),
        )
        return outputs

    @staticmethod
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            return None, *differentiate_steps(ctx, grad_outputs)
        inputs, h, c, weight_ih, weight_hh, *_ = ctx.saved_tensors
        gates, cells, tanh_cells, outputs = ctx.saved_tensors[7:]
        sizes = ctx.batch_sizes
        operations = choose_operations(inputs.dtype)
        view, retreat = operations.view, operations.retreat
        grad_gates, grad_c = torch.empty_like(gates), torch.zeros_like(c)
        # what later steps add to the gradients of the outputs is added in place
        grad_h = grad_outputs.clone(memory_format=torch.contiguous_format)
        arrays = [view(x) for x in (tanh_cells, grad_h, grad_c, grad_gates)]
        activated, first_cells, later_cells = view(gates), view(c.contiguous()), view(cells)
        starts = list_starts(sizes)
        grad_steps, h_steps = grad_gates.split(sizes), grad_h.split(sizes)
        for step in reversed(range(len(sizes))):
            if step + 1 < len(sizes):
                after = grad_steps[step + 1]
                # only sentences that have not ended have a step after
                h_steps[step][: len(after)].addmm_(after, weight_hh)
            cells_before = later_cells if step else first_cells
            before = starts[step - 1] if step else 0
            retreat(activated, starts[step], sizes[step], cells_before, before, *arrays)
        # the state that each token's gates were computed from
        seen = torch.cat(
            [h, *(x[:n] for x, n in zip(outputs.split(sizes), sizes[1:], strict=False))]
        )
        grad_bias = grad_gates.sum(0)
        return (
            None,
            grad_gates @ weight_ih if ctx.needs_input_grad[1] else None,
            grad_steps[0] @ weight_hh if ctx.needs_input_grad[2] else None,
            grad_c,
            grad_gates.T @ inputs,
            grad_gates.T @ seen,
            grad_bias,
            grad_bias,
        )


def differentiate_steps(ctx: Any, grad_outputs: Tensor) -> list[Tensor | None]:
    """The gradients of `Steps`, as a graph that can be differentiated again."""
    arguments = ctx.saved_tensors[:7]
    outputs = make_steps(ctx.batch_sizes, *arguments)
    return differentiate_again(outputs, arguments, ctx.needs_input_grad[1:], grad_outputs)


def make_steps(
    batch_sizes: tuple[int, ...],
    inputs: Tensor,
    h: Tensor,
    c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
) -> Tensor:
    """`Steps` in operations that PyTorch differentiates as often as one likes."""
    gates = torch.addmm(bias_ih + bias_hh, inputs, weight_ih.T)
    outputs = []
    for step in gates.split(batch_sizes):
        i, f, g, o = torch.addmm(step, h[: len(step)], weight_hh.T).chunk(4, 1)
        c = f.sigmoid() * c[: len(step)] + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.cat(outputs)


def list_starts(batch_sizes: tuple[int, ...]) -> list[int]:
    """The place of the first token of each step."""
    return [0, *accumulate(batch_sizes[:-1])]
