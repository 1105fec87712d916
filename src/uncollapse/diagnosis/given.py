"""The data, labels and log_prob that `diagnose` is given: what they may be, and whether they fit together."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from uncollapse.diagnosis.model import batch_tensors
from uncollapse.errors import InputError


def make_batches(data: Any, batch: int) -> tuple[Iterable, int | None]:
    """The batches, and the number of examples where it can be known before the walk."""
    if hasattr(data, "__array__"):
        try:
            x = data if isinstance(data, Tensor) else torch.as_tensor(np.asarray(data))
        except TypeError as error:
            raise InputError(
                f"data: an array that makes no tensor ({error}); allowed is an array of numbers"
            ) from None
        if x.dim() == 0:
            raise InputError("data: a tensor without dimensions; allowed is [N, ...]")
        return x.split(batch), len(x)
    walkable = isinstance(data, Iterable) or hasattr(data, "__getitem__")
    if isinstance(data, str | bytes | Mapping) or not walkable:
        raise InputError(
            f"data: a {type(data).__name__}; allowed is a tensor or array [N, ...], or batches: a list, a DataLoader"
        )
    if isinstance(data, list | tuple) and all(batch_tensors(x) for x in data):
        return data, sum(len(batch_tensors(x)[0]) for x in data)
    return data, None


def require_known_order(name: str, data: Any) -> None:
    """InputError unless it is known in which order `data` gives its examples: what has an index has an order."""
    why = (
        explain_unordered_loader(data) if isinstance(data, DataLoader) else explain_unordered(data)
    )
    if why:
        raise InputError(
            f"{name}: cannot be matched to the examples, because data is {why}; allowed with {name} is a tensor, a list of batches, "
            "or a DataLoader with shuffle=False and no sampler of its own"
        )


def explain_unordered(data: Any) -> str:
    """What makes the order of this data unknown; "" for what has an index."""
    if hasattr(data, "__array__") or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        return ""
    return f"a {type(data).__name__}, which may give its examples in any order (a list of the same batches has one)"


def explain_unordered_loader(loader: DataLoader) -> str:
    """What makes the order of a loader unknown; "" for one that goes through its data set from first to last."""
    if isinstance(loader.dataset, IterableDataset):
        return "a DataLoader of an IterableDataset, which may give its examples in any order"
    batches = loader.batch_sampler
    if batches is not None and type(batches) is not BatchSampler:
        return f"a DataLoader with the batch_sampler {type(batches).__name__}"
    sampler = loader.sampler if batches is None else batches.sampler
    if type(sampler) is not SequentialSampler:
        return f"a DataLoader that shuffles or selects ({type(sampler).__name__})"
    if loader.num_workers and not getattr(loader, "in_order", True):
        return "a DataLoader with in_order=False"
    if type(loader).__iter__ is not DataLoader.__iter__:
        return f"a {type(loader).__name__}, which walks through its data in its own way"
    return ""


def parse_labels(labels: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """{name: class numbers 0, 1, ... [N]}."""
    named = labels if isinstance(labels, Mapping) else {"label": labels}
    return {
        str(name): number_classes(str(name), to_array(values)) for name, values in named.items()
    }


def number_classes(name: str, values: np.ndarray) -> np.ndarray:
    if values.ndim != 1 or values.dtype.kind not in "iubUS":
        raise InputError(
            f"labels: {name} is of shape {list(values.shape)} and type {values.dtype}; allowed are whole numbers, [N]"
        )
    return np.unique(values, return_inverse=True)[1]


def parse_log_prob(log_prob: ArrayLike) -> np.ndarray:
    values = to_array(log_prob)
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise InputError(
            f"log_prob: of shape {list(values.shape)} and type {values.dtype}; allowed are finite numbers, [N]"
        )
    return values.astype(np.float64)


def to_array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def check_counts(size: int, factors: Mapping[str, np.ndarray], exact: np.ndarray | None) -> None:
    """InputError where there are too few examples, or not one label and one log_prob for each."""
    if size < 2:
        examples = "1 example" if size else "no example"
        raise InputError(
            f"data: {examples}; errors, mi and the shuffled gap compare examples: at least 2 are needed"
        )
    if factors and size < 4:
        raise InputError(
            f"labels: {size} examples; a probe learns from one half and needs at least 4"
        )
    for name, values in factors.items():
        if len(values) != size:
            raise InputError(
                f"labels: {name} has {len(values)} entries; allowed are {size}, one for each example"
            )
    if exact is not None and len(exact) != size:
        raise InputError(
            f"log_prob: {len(exact)} entries; allowed are {size}, one for each example"
        )
