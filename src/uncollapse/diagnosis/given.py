"""The data, labels and log_prob given to `diagnose`: which are allowed, and whether they match."""

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from uncollapse.diagnosis.batches import batch_tensors
from uncollapse.errors import InputError


@runtime_checkable
class SupportsArray(Protocol):
    """A tensor, or anything that numpy can make an array of."""

    def __array__(self) -> np.ndarray: ...


@runtime_checkable
class SupportsIndex(Protocol):
    """Examples or batches that can be read by index."""

    def __getitem__(self, index: int, /) -> object: ...


# ---------------------------------------------------------------- data


def make_batches(data: object, batch: int) -> tuple[Iterable[object], int | None]:
    """The batches, and the number of examples if it is known beforehand."""
    if isinstance(data, SupportsArray):
        x = make_tensor(data)
        return x.split(batch), len(x)
    # these can be iterated over, but not in batches
    is_other = isinstance(data, str | bytes | Mapping)
    if is_other or not isinstance(data, Iterable | SupportsIndex):
        raise InputError(
            f"data: a {type(data).__name__}; allowed is a tensor or array [N, ...], "
            "or batches: a list, a DataLoader"
        )
    if isinstance(data, list | tuple) and all(batch_tensors(x) for x in data):
        return data, sum(len(batch_tensors(x)[0]) for x in data)
    # batches of tensors can be counted in advance; iterators cannot
    return data if isinstance(data, Iterable) else iter(data), None


def make_tensor(data: SupportsArray) -> Tensor:
    """An array as a tensor [N, ...]."""
    try:
        x = data if isinstance(data, Tensor) else torch.as_tensor(np.asarray(data))
    except TypeError as error:
        raise InputError(
            f"data: an array that makes no tensor ({error}); allowed is an array of numbers"
        ) from None
    if x.dim() == 0:
        raise InputError("data: a tensor without dimensions; allowed is [N, ...]")
    return x


# ---------------------------------------------------------------- labels and log_prob


@dataclass(frozen=True)
class Reference:
    """Known facts about each example: labels by name, and exact log p(x), both in data order."""

    factors: dict[str, np.ndarray] = field(default_factory=dict)  # class numbers 0, 1, ... [N]
    log_prob: np.ndarray | None = None  # [N] nats

    @classmethod
    def parse(
        cls,
        labels: ArrayLike | Mapping[str, ArrayLike] | None,
        log_prob: ArrayLike | None,
        data: object,
    ) -> "Reference":
        """InputError for values of another kind, or if the order of `data` is unknown."""
        factors = {} if labels is None else parse_labels(labels)
        exact = None if log_prob is None else parse_log_prob(log_prob)
        for name, given in (("labels", labels), ("log_prob", log_prob)):
            if given is not None:
                require_known_order(name, data)
        return cls(factors, exact)

    def check_counts(self, size: int) -> None:
        """InputError for too few examples, or without one label and one log_prob for each."""
        if size < 2:
            examples = "1 example" if size else "no example"
            raise InputError(
                f"data: {examples}; errors, mi and the shuffled gap compare examples: "
                "at least 2 are needed"
            )
        if self.factors and size < 4:
            raise InputError(
                f"labels: {size} examples; a probe learns from one half and needs at least 4"
            )
        for name, values in self.factors.items():
            if len(values) != size:
                raise InputError(
                    f"labels: {name} has {len(values)} entries; allowed are {size}, "
                    "one for each example"
                )
        if self.log_prob is not None and len(self.log_prob) != size:
            raise InputError(
                f"log_prob: {len(self.log_prob)} entries; allowed are {size}, one for each example"
            )


def parse_labels(labels: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """{name: class numbers 0, 1, ... [N]}."""
    named = labels if isinstance(labels, Mapping) else {"label": labels}
    return {str(name): encode_classes(str(name), to_array(v)) for name, v in named.items()}


def encode_classes(name: str, values: np.ndarray) -> np.ndarray:
    """Integers or text [N] as class numbers 0, 1, ... in sorted order."""
    if values.ndim != 1 or values.dtype.kind not in "iubUS":
        raise InputError(
            f"labels: {name} is of shape {list(values.shape)} and type {values.dtype}; "
            "allowed are integers, [N]"
        )
    # any integers or words become 0, 1, ... in sorted order
    return np.unique(values, return_inverse=True)[1]


def parse_log_prob(log_prob: ArrayLike) -> np.ndarray:
    values = to_array(log_prob)
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise InputError(
            f"log_prob: of shape {list(values.shape)} and type {values.dtype}; "
            "allowed are finite numbers, [N]"
        )
    return values.astype(np.float64)


def to_array(values: ArrayLike) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


# ---------------------------------------------------------------- order of the data


def require_known_order(name: str, data: object) -> None:
    """InputError if the order in which `data` gives its examples is unknown."""
    if isinstance(data, DataLoader):
        fault = explain_unordered_loader(data)
    else:
        fault = explain_unordered(data)
    if fault:
        raise InputError(
            f"{name}: cannot be matched to the examples, because data is {fault}; allowed with "
            f"{name} is a tensor, a list of batches, or a DataLoader with shuffle=False and no "
            "sampler of its own"
        )


def explain_unordered(data: object) -> str:
    """Why the order of this data is unknown; '' for data with an index."""
    has_index = isinstance(data, SupportsIndex) and isinstance(data, Sized)
    if has_index or isinstance(data, SupportsArray):
        return ""
    return (
        f"a {type(data).__name__}, which may give its examples in any order "
        "(a list of the same batches has one)"
    )


def explain_unordered_loader(loader: DataLoader) -> str:
    """Why the order of a loader is unknown; '' if it reads its data set from first to last."""
    if isinstance(loader.dataset, IterableDataset):
        return "a DataLoader of an IterableDataset, which may give its examples in any order"
    batches = loader.batch_sampler
    # exact types, since a subclass may change the order
    if batches is not None and type(batches) is not BatchSampler:
        return f"a DataLoader with the batch_sampler {type(batches).__name__}"
    sampler = loader.sampler if batches is None else batches.sampler
    if type(sampler) is not SequentialSampler:
        return f"a DataLoader that shuffles or selects ({type(sampler).__name__})"
    # workers may then return batches in the order in which they finish
    if loader.num_workers and not loader.in_order:
        return "a DataLoader with in_order=False"
    if type(loader).__iter__ is not DataLoader.__iter__:
        return f"a {type(loader).__name__}, which iterates over its data in its own way"
    return ""
