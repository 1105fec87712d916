"""Binary images as the trainer sees them, how grey ones become binary, and the built-in digits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from uncollapse.data.batches import epoch_batches
from uncollapse.data.digests import array_digest, fingerprint
from uncollapse.data.text import SPLITS, check_batching
from uncollapse.errors import InputError, check_choice, check_integer
from uncollapse.interfaces.data import Batch, Data, DataConfig

BINARISE = ("dynamic", "fixed")

Part = tuple[np.ndarray, dict[str, np.ndarray]]  # images [N, P] uint8, labels by name [N]


@dataclass(frozen=True)
class ImageBatch(Batch):
    """B images. x [B, P] float32 of 0 and 1, row after row; examples [B] are their numbers in their split; targets: there are no words."""

    x: Tensor
    examples: np.ndarray
    targets: None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> "ImageBatch":
        return replace(self, x=self.x.to(device))

    def bag_nll(self, outputs: Tensor) -> Tensor:
        """-log of each image as P independent pixels with logits `outputs` [B, P] -> [B] nats: the bag of words of images."""
        return bernoulli_nll(self.x, outputs)


def bernoulli_nll(x: Tensor, logits: Tensor) -> Tensor:
    """-log p(x) of pixels x [B, P] of 0 and 1 under independent logits [..., B, P] -> [..., B] nats."""
    return functional.binary_cross_entropy_with_logits(
        logits, x.expand_as(logits), reduction="none"
    ).sum(-1)


@dataclass
class ImageData(Data):
    """Everything a run needs of its data: grey images split -> [N, P] uint8, 0 to `levels`; `labels` (split -> name -> classes [N]).

    A pixel is 1 with the probability grey / levels. Validation and test images are drawn once and stay the same for every run.
    dynamic: training images are drawn anew in each epoch (Salakhutdinov & Murray 2008), the same for every head and seed; fixed: once.
    """

    grey: Mapping[str, np.ndarray]
    levels: int
    batch_size: int
    binarise: str = "dynamic"
    labels: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    content: str | None = None  # a fingerprint of the set before it was split and cut

    def __post_init__(self) -> None:
        self.drawn: dict[str, tuple[int, np.ndarray]] = {}

    @property
    def inputs(self) -> int:
        """What a model must know of its data: P, the pixels of an image, a square number."""
        return self.grey["train"].shape[1]

    def size(self, split: str) -> int:
        return len(self.grey[split])

    def lengths(self, split: str) -> np.ndarray:
        """All equal, [N]."""
        return np.full(self.size(split), self.inputs)

    def batches(
        self,
        split: str,
        seed: int,
        epoch: int,
        size: int | None = None,
        batching: str | None = None,
    ) -> Sequence[np.ndarray]:
        """The index arrays of one pass over a split, in an order that depends on (seed, epoch) alone. All lengths are equal."""
        return epoch_batches(
            self.lengths(split), size or self.batch_size, batching or "mixed", seed, epoch
        )

    def batch(self, split: str, examples: np.ndarray, epoch: int = 0) -> ImageBatch:
        """These examples as they are in an epoch."""
        return ImageBatch(
            torch.from_numpy(self.binary(split, epoch)[examples].astype(np.float32)), examples
        )

    def binary(self, split: str, epoch: int = 0) -> np.ndarray:
        """A split as 0 and 1 in an epoch, [N, P] bool."""
        draw = epoch if split == "train" and self.binarise == "dynamic" else 0
        if self.drawn.get(split, (-1,))[0] != draw:
            self.drawn[split] = (
                draw,
                binarised(self.grey[split], self.levels, (SPLITS.index(split), draw)),
            )
        return self.drawn[split][1]

    def facts(self) -> dict:
        """What the report says about the data: pixels, sizes, how it was made binary, and the number of classes."""
        return {
            "pixels": self.inputs,
            **{split: len(images) for split, images in self.grey.items()},
            "binarise": self.binarise,
            "classes": {
                name: len(np.unique(values))
                for name, values in self.labels.get("train", {}).items()
            },
            "entropy": None,
            "oracle_nll": None,
            "content": self.content,
        }


def binarised(grey: np.ndarray, levels: int, seed: tuple[int, ...]) -> np.ndarray:
    """Each pixel of grey uint8 is 1 with the probability grey / levels, exactly; bool of the same shape."""
    return grey > np.random.default_rng(seed).integers(0, levels, size=grey.shape, dtype=np.uint8)


def images_content(*parts: Part) -> str:
    """The fingerprint of images and labels as they were read, packed or not, from files or from the hub."""
    return fingerprint(
        [
            [array_digest(images), {name: array_digest(values) for name, values in labels.items()}]
            for images, labels in parts
        ]
    )


def check_images(batch_size: object, binarise: str) -> None:
    """InputError unless batch_size is a whole number >= 1 and binarise a known way."""
    check_batching(batch_size, "mixed")
    check_choice("data.binarise", binarise, BINARISE)


def first_of(images: np.ndarray, labels: Mapping[str, np.ndarray], limit: object, split: str):
    """The first `limit` examples (null: all) of arrays that are in no order. InputError for more than there are."""
    if limit is None:
        return images, dict(labels)
    if check_integer(f"data.{split}", limit, 1) > len(images):
        raise InputError(f"data.{split}={limit}: the {split} part has {len(images)} images")
    return images[:limit], {name: values[:limit] for name, values in labels.items()}


# ---------------------------------------------------------------- the built-in digits


@dataclass
class DigitsConfig(DataConfig):
    """Handwritten digits of scikit-learn: 1,797 images of 8 x 8 pixels, 17 levels of grey, ten classes; no download.

    Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI 1998 (the part that scikit-learn ships). A fixed random split.
    """

    kind: ClassVar[str] = "images"
    train: int = 1_197
    valid: int = 300
    test: int = 300
    binarise: str = "dynamic"
    data_seed: int = 0
    batch_size: int = 64

    def load(self) -> ImageData:
        from sklearn.datasets import load_digits

        check_images(self.batch_size, self.binarise)
        seed = check_integer("data.data_seed", self.data_seed, 0)
        sizes = {split: check_integer(f"data.{split}", getattr(self, split), 1) for split in SPLITS}
        images, classes = load_digits(return_X_y=True)
        if sum(sizes.values()) > len(images):
            asked = " ".join(f"data.{split}={size}" for split, size in sizes.items())
            raise InputError(f"{asked}: there are {len(images)} digits in all")
        order = np.random.default_rng(seed).permutation(len(images))
        parts = dict(zip(SPLITS, np.split(order, np.cumsum(list(sizes.values()))), strict=False))
        return ImageData(
            {split: images[part].astype(np.uint8) for split, part in parts.items()},
            16,
            self.batch_size,
            self.binarise,
            {split: {"digit": classes[part]} for split, part in parts.items()},
            content=images_content((images, {"digit": classes})),
        )
