"""The work of a training step divided among processes: each encodes and decodes a share.

Hooks on the model's encoder and decoder do it: before, a batch is cut to the examples of this
process; afterwards the outputs of all processes are put together. So heads and objectives see the
complete batch in every process, and batch moments, sums over pairs and the like are those of one
process. Let L be the loss, of which every process computes the same value. The gradient of the
gathered outputs is summed over processes, so each process has, for its weights, the gradient of the
sum of all P losses through its share. The mean over processes is the gradient of L.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function

from uncollapse.data.corpus import TextBatch
from uncollapse.errors import InputError
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.model import Model
from uncollapse.processes import Team


class Gather(Function):
    """Rows of all processes [P, R, ...] from those of this one [R, ...]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, team: Team) -> Tensor:
        ctx.team = team
        parts = [torch.empty_like(rows) for _ in range(team.size)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return Own.apply(gradient, ctx.team), None


class Own(Function):
    """This process's rows of the sum over processes: the adjoint of `Gather`."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, team: Team) -> Tensor:
        ctx.team = team
        total = parts.contiguous().clone()
        distributed.all_reduce(total)
        return total[team.rank]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return Gather.apply(gradient, ctx.team), None


def find_share(count: int, team: Team) -> Tensor:
    """The examples of this process among `count`: each P-th, [R].

    R is the same everywhere, so that outputs can be gathered: the last example may be repeated.
    """
    rows = -(-count // team.size)
    return (torch.arange(rows) * team.size + team.rank).clamp(max=count - 1)


def join_shares(parts: Tensor, count: int) -> Tensor:
    """The outputs of all `count` examples in their order, from those of processes [P, R, ...]."""
    return parts.transpose(0, 1).flatten(0, 1)[:count]


class Division:
    """The hooks of one module, which divide its work while gradients are computed."""

    def __init__(self, module: nn.Module, team: Team) -> None:
        self.module, self.team = module, team
        self.count = 0  # examples of the current call, where it is divided; else 0
        self.depth = 0  # of calls that a module makes of itself
        self.state: list[Tensor] | None = None  # of the random generators after the call
        self.draws = has_dropout(module)
        module.register_forward_pre_hook(self.cut)
        module.register_forward_hook(self.join, always_call=True)

    def cut(self, module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The arguments, each cut to the examples of this process."""
        self.depth += 1
        if self.depth > 1 or not (module.training and torch.is_grad_enabled()):
            return None
        self.count = len(arguments[0])
        if self.draws:
            # a mask of its own in each process, and equal numbers in all of them afterwards
            seed = int(torch.randint(2**62, ()))
            self.state = get_random_states()
            torch.manual_seed(seed + self.team.rank)
        share = find_share(self.count, self.team)
        return tuple(select_rows(argument, share) for argument in arguments)

    def join(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        """The outputs for the complete batch."""
        self.depth -= 1
        if self.depth or not self.count:
            return None
        count, self.count = self.count, 0
        if self.state is not None:
            set_random_states(self.state)
            self.state = None
        return join_shares(Gather.apply(output, self.team), count)


def get_random_states() -> list[Tensor]:
    """The states of the random generators of the processor and, where it is used, of the GPU."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else states


def set_random_states(states: list[Tensor]) -> None:
    """Go back to states from `get_random_states`."""
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])


def has_dropout(module: nn.Module) -> bool:
    """Whether a module draws random numbers in training."""
    return any(
        value > 0
        for part in module.modules()
        for name, value in vars(part).items()
        if "dropout" in name and isinstance(value, float)
    ) or any(isinstance(part, nn.Dropout) and part.p > 0 for part in module.modules())


def select_rows(value: Any, rows: Tensor) -> Any:
    """Some examples of a batch or of a tensor [B, ...]."""
    if isinstance(value, Tensor):
        return value[rows.to(value.device)]
    if isinstance(value, TextBatch):
        return value.select(rows)
    if isinstance(value, Batch):
        raise InputError(f"torchrun: a {type(value).__name__} cannot be divided among processes")
    return value


def divide_work(model: Model, team: Team) -> None:
    """Divide the work of a model's encoder and decoder among processes."""
    children = dict(model.named_children())
    for name in ("encoder", "decoder"):
        if name in children:
            Division(children[name], team)
