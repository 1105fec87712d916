"""The interfaces of data: their section of the config, the loaded data, and batches."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from uncollapse.interfaces.hooks import Interface
from uncollapse.json_types import JsonObject

# split -> label name -> accuracy of the ideal classifier of x
BestAccuracy = Callable[[str], dict[str, float]]
# split -> label name -> mean entropy of the label given x, nats
LabelEntropy = Callable[[str], dict[str, float]]
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Batch(metaclass=Interface, interface=True):
    """B examples on one device."""

    examples: np.ndarray  # [B], their numbers in their split
    lengths: Tensor | None = None  # tokens per example [B], where examples differ in length
    chars: np.ndarray | None = None  # characters per example [B], where there is text
    bytes: np.ndarray | None = None  # bytes of UTF-8 per example [B], where there is text

    @abstractmethod
    def __len__(self) -> int:
        """B."""

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""

    @abstractmethod
    def bag_nll(self, outputs: Tensor) -> Tensor:
        """-log p of each example under `outputs` [B, V], its entries independent; [B] nats."""


class Data(metaclass=Interface, interface=True):
    """Three splits of examples.

    The attributes with a value here are optional. Data whose distribution is known exactly set
    `entropy`, `log_prob`, `best_accuracy` and `label_entropy`; data with classes set `labels`.
    """

    batch_size: int
    batching: str = "mixed"  # or by_length: batches of sentences of one length
    entropy: float | None = None  # nats per example
    log_prob: Mapping[str, np.ndarray] = NOTHING  # split -> log p(x) [N], nats
    labels: Mapping[str, Mapping[str, np.ndarray]] = NOTHING  # split -> name -> classes [N]
    best_accuracy: BestAccuracy | None = None
    label_entropy: LabelEntropy | None = None
    corpora: Mapping[str, Any] = NOTHING  # split -> Corpus, of text

    @property
    @abstractmethod
    def inputs(self) -> int:
        """The input size of a model for these data: vocabulary size, pixels or dimensions."""

    @abstractmethod
    def size(self, split: str) -> int:
        """The number of examples of a split, N."""

    @abstractmethod
    def lengths(self, split: str) -> np.ndarray:
        """Tokens per example, [N]."""

    @abstractmethod
    def batches(
        self,
        split: str,
        seed: int,
        epoch: int,
        size: int | None = None,
        batching: str | None = None,
    ) -> Sequence[np.ndarray]:
        """The example numbers of each batch of one epoch; the order depends on (seed, epoch)."""

    @abstractmethod
    def batch(self, split: str, examples: np.ndarray, epoch: int = 0) -> Batch:
        """These examples. Their content may depend on the epoch (see ImageData)."""

    @abstractmethod
    def facts(self) -> JsonObject:
        """Facts about the data for data.json and the report, as JSON values."""

    def listing(self) -> str | None:
        """The vocabulary, one entry a line; None where there is none."""
        return None


class DataConfig(metaclass=Interface, interface=True):
    """The data section of a config. Its fields are the keys of a file in conf/data."""

    kind: ClassVar[str]  # a model takes data of one kind: text, dialogue, images or vectors

    @abstractmethod
    def load(self) -> Data:
        """The data. InputError for values, files or sets that are missing, damaged or refused."""
