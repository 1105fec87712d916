"""Batches as the user's data give them: a tensor, or a tuple, list or dict of tensors.

Anything else is passed on to the user's callables as it is.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

TensorBatch = Tensor | dict[str, Tensor] | list[Tensor] | tuple[Tensor, ...]
MAX_TENSORS_SHOWN = 6  # of a batch, in a message


def batch_tensors(x: object) -> list[Tensor]:
    """The tensors of a batch; [] if it holds anything else, so that it cannot be repeated."""
    # exact types: a subclass may not be built from its items alone
    if type(x) is dict:
        tensors = list(x.values())
    elif type(x) in (tuple, list):
        tensors = list(x)  # type: ignore[call-overload]
    else:
        tensors = [x]
    return tensors if all(map(is_batched, tensors)) else []


def is_batched(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0


def repeat_examples(x: TensorBatch, n: int) -> TensorBatch:
    """A batch with each example repeated n times, copies next to each other."""
    return map_tensors(x, lambda tensor: tensor.repeat_interleave(n, 0))


def take_examples(x: TensorBatch, n: int) -> TensorBatch:
    """The first n examples of a batch of tensors."""
    return map_tensors(x, lambda tensor: tensor[:n])


def map_tensors(x: TensorBatch, change: Callable[[Tensor], Tensor]) -> TensorBatch:
    """A batch with each of its tensors changed; see `batch_tensors`."""
    if isinstance(x, Tensor):
        return change(x)
    if isinstance(x, dict):
        # an example keeps its tensors together: all of them are repeated alike
        return {name: change(tensor) for name, tensor in x.items()}
    return type(x)(change(tensor) for tensor in x)


# ---------------------------------------------------------------- messages


def describe_batch(x: Mapping[object, object] | Sequence[object]) -> str:
    """'a list of 2 (float32 [64, 784], int64 [64])'."""
    if isinstance(x, Mapping):
        tensors = [f"{name}: {describe_tensor(tensor)}" for name, tensor in x.items()]
    else:
        tensors = [describe_tensor(tensor) for tensor in x]
    shown = tensors[:MAX_TENSORS_SHOWN]
    if len(tensors) > MAX_TENSORS_SHOWN:
        shown.append("...")
    return f"a {type(x).__name__} of {len(tensors)} ({', '.join(shown)})"


def describe_tensor(tensor: object) -> str:
    if isinstance(tensor, Tensor):
        return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
    return type(tensor).__name__


def suggest_unpacking(x: Mapping[object, object] | Sequence[object]) -> str:
    """How to give encode and nll only the tensor of a batch that they expect."""
    if isinstance(x, Mapping):
        index, loop = repr(next(iter(x), "x")), ""
    else:
        others = "_" if len(x) == 2 else "*_"
        index, loop = "0", f"data=(x for x, {others} in loader), or "
    return (
        f"give {loop}encode=lambda batch: model.encode(batch[{index}]) "
        f"and nll=lambda batch, z: model.nll(batch[{index}], z)"
    )
