"""Batches as the user's data give them: a tensor, or a tuple, list or dict of tensors.

Anything else is passed on to the user's callables as it is.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

MAX_PARTS_SHOWN = 6


def batch_tensors(x: object) -> list[Tensor]:
    """The tensors of a batch; [] if it holds anything else, so that it cannot be repeated."""
    # exact types: a subclass may not be built from its items alone
    if type(x) is dict:
        parts = list(x.values())
    elif type(x) in (tuple, list):
        parts = list(x)  # type: ignore[call-overload]
    else:
        parts = [x]
    return parts if all(isinstance(part, Tensor) and part.dim() > 0 for part in parts) else []


def repeat_examples(x: Any, n: int) -> Any:
    """A batch with each example repeated n times, copies next to each other."""
    return map_tensors(x, lambda tensor: tensor.repeat_interleave(n, 0))


def take_examples(x: Any, n: int) -> Any:
    """The first n examples of a batch of tensors."""
    return map_tensors(x, lambda tensor: tensor[:n])


def map_tensors(x: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A batch with each of its tensors changed; see `batch_tensors`."""
    if isinstance(x, Tensor):
        return change(x)
    if isinstance(x, dict):
        return {name: change(tensor) for name, tensor in x.items()}
    return type(x)(change(tensor) for tensor in x)


# ---------------------------------------------------------------- messages


def describe_batch(x: Any) -> str:
    """'a list of 2 (float32 [64, 784], int64 [64])'."""
    if isinstance(x, Mapping):
        parts = [f"{name}: {describe_tensor(part)}" for name, part in x.items()]
    else:
        parts = [describe_tensor(part) for part in x]
    shown = parts[:MAX_PARTS_SHOWN]
    if len(parts) > MAX_PARTS_SHOWN:
        shown.append("...")
    return f"a {type(x).__name__} of {len(parts)} ({', '.join(shown)})"


def describe_tensor(part: object) -> str:
    if isinstance(part, Tensor):
        return f"{str(part.dtype).removeprefix('torch.')} {list(part.shape)}"
    return type(part).__name__


def suggest_unpacking(x: Any) -> str:
    """How to pass on the tensor of a batch that encode and nll expect."""
    if isinstance(x, Mapping):
        index, loop = repr(next(iter(x), "x")), ""
    else:
        others = "_" if len(x) == 2 else "*_"
        index, loop = "0", f"data=(x for x, {others} in loader), or "
    return (
        f"give {loop}encode=lambda batch: model.encode(batch[{index}]) "
        f"and nll=lambda batch, z: model.nll(batch[{index}], z)"
    )
