"""Images, how they become binary, and the built-in digits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from uncollapse.data.batches import epoch_batches
from uncollapse.data.digests import array_digest, fingerprint
from uncollapse.data.image_size import ImageSize, as_image_size
from uncollapse.data.text import SPLITS, check_batching
from uncollapse.errors import InputError, check_choice, check_integer
from uncollapse.interfaces.data import Batch, Data, DataConfig
from uncollapse.json_types import JsonObject

BINARISE = ("dynamic", "fixed", "none")
GREY_LEVELS = 255  # the largest grey value of a byte

ImageSplit = tuple[np.ndarray, dict[str, np.ndarray]]  # images [N, P] uint8, labels by name [N]


@dataclass(frozen=True)
class ImageBatch(Batch):
    """B images: x [B, P] float32, arranged as in `ImageSize`. `targets` is for text only.

    x is 0 or 1 where images are `binary`, and otherwise a grey value from 0 to 1.
    """

    x: Tensor
    examples: np.ndarray
    targets: None = None
    binary: bool = True

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> "ImageBatch":
        return replace(self, x=self.x.to(device))

    def bag_nll(self, outputs: Tensor) -> Tensor:
        """-log p of each image, its P values independent given `outputs` [B, P]; [B] nats.

        These are logits of binary pixels, and means of others, whose variance is 1.
        """
        if self.binary:
            return bernoulli_nll(self.x, outputs)
        return 0.5 * ((self.x - outputs).square() + math.log(2 * math.pi)).sum(-1)


def bernoulli_nll(x: Tensor, logits: Tensor) -> Tensor:
    """-log p(x) of pixels x [B, P] of 0 and 1 under logits [..., B, P]; [..., B] nats."""
    return functional.binary_cross_entropy_with_logits(
        logits, x.expand_as(logits), reduction="none"
    ).sum(-1)


@dataclass
class ImageData(Data):
    """Grey or colour images: split -> [N, P] uint8, from 0 to `levels`.

    A value is 1 with the probability grey / levels. Validation and test images are drawn once and
    are the same in every run. With binarise=dynamic, training images are drawn again in each epoch
    (Salakhutdinov & Murray 2008), identically for every head and seed; with fixed, once. With none,
    values are grey / levels. image_size None: grey and square.
    """

    grey: Mapping[str, np.ndarray]
    levels: int
    batch_size: int
    binarise: str = "dynamic"
    labels: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    content: str | None = None  # fingerprint of the set before it was split
    image_size: ImageSize | None = None
    divided: JsonObject | None = None  # the folder that the splits come from, and their shares
    ink: bool = True  # whether 1 is ink on paper, and shown dark, or light

    def __post_init__(self) -> None:
        # split -> the draw that is kept in memory, and its images
        self.drawn: dict[str, tuple[int, np.ndarray]] = {}

    @property
    def inputs(self) -> ImageSize:
        """P, the values of an image."""
        if self.image_size is not None:
            return self.image_size
        return as_image_size(next(iter(self.grey.values())).shape[1])

    @property
    def is_binary(self) -> bool:
        """Whether values are 0 and 1."""
        return self.binarise != "none"

    def size(self, split: str) -> int:
        return len(self.grey[split])

    def lengths(self, split: str) -> np.ndarray:
        """P for each image, [N]."""
        return np.full(self.size(split), self.inputs)

    def batches(
        self,
        split: str,
        seed: int,
        epoch: int,
        size: int | None = None,
        batching: str | None = None,
    ) -> Sequence[np.ndarray]:
        """The example numbers of each batch of one epoch."""
        return epoch_batches(
            self.lengths(split), size or self.batch_size, batching or "mixed", seed, epoch
        )

    def batch(self, split: str, examples: np.ndarray, epoch: int = 0) -> ImageBatch:
        """These examples as they are in an epoch."""
        if self.is_binary:
            x = self.binary(split, epoch)[examples].astype(np.float32)
        else:
            x = self.grey[split][examples].astype(np.float32) / np.float32(self.levels)
        return ImageBatch(torch.from_numpy(x), examples, binary=self.is_binary)

    def binary(self, split: str, epoch: int = 0) -> np.ndarray:
        """A split as 0 and 1 in an epoch, [N, P] bool."""
        draw = epoch if split == "train" and self.binarise == "dynamic" else 0
        if self.drawn.get(split, (-1,))[0] != draw:
            self.drawn[split] = (
                draw,
                draw_binary(self.grey[split], self.levels, (SPLITS.index(split), draw)),
            )
        return self.drawn[split][1]

    def facts(self) -> JsonObject:
        """Pixels, sizes, how images became binary, and the number of classes."""
        return {
            "pixels": int(self.inputs),
            **({} if self.image_size is None else {"shape": list(self.image_size.shape)}),
            **{split: len(images) for split, images in self.grey.items()},
            "binarise": self.binarise,
            "classes": {
                name: len(np.unique(values))
                for name, values in self.labels.get("train", {}).items()
            },
            "entropy": None,
            "oracle_nll": None,
            "content": self.content,
            **({"divided": self.divided} if self.divided else {}),
        }


def draw_binary(grey: np.ndarray, levels: int, seed: tuple[int, ...]) -> np.ndarray:
    """Each pixel of grey uint8 is 1 with probability grey / levels, exactly; bool, same shape."""
    # grey > u for u uniform on 0 ... levels - 1
    return grey > np.random.default_rng(seed).integers(0, levels, size=grey.shape, dtype=np.uint8)


def fingerprint_images(*parts: ImageSplit) -> str:
    """The fingerprint of images and labels, equal for files and the hub."""
    return fingerprint(
        [
            [array_digest(images), {name: array_digest(values) for name, values in labels.items()}]
            for images, labels in parts
        ]
    )


def check_images(batch_size: object, binarise: str) -> None:
    """InputError unless batch_size is an integer >= 1 and binarise one of BINARISE."""
    check_batching(batch_size, "mixed")
    check_choice("data.binarise", binarise, BINARISE)


def take_first(
    images: np.ndarray, labels: Mapping[str, np.ndarray], limit: object, split: str
) -> ImageSplit:
    """The first `limit` examples (null: all). InputError for more than there are."""
    if limit is None:
        return images, dict(labels)
    if check_integer(f"data.{split}", limit, 1) > len(images):
        raise InputError(f"data.{split}={limit}: the {split} split has {len(images)} images")
    return images[:limit], {name: values[:limit] for name, values in labels.items()}


def flatten_squares(images: np.ndarray, where: str) -> np.ndarray:
    """[N, S, S] -> [N, S * S]. InputError for images that are not square."""
    if images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise InputError(
            f"{where}: images of {' x '.join(map(str, images.shape[1:]))}; allowed are square grey "
            "ones"
        )
    return np.ascontiguousarray(images).reshape(len(images), -1)


# ---------------------------------------------------------------- the built-in digits


@dataclass(kw_only=True)
class DigitsConfig(DataConfig):
    """Handwritten digits of scikit-learn, split at random by data_seed; no download.

    1,797 images of 8 x 8 pixels with 17 levels of grey, ten classes. Alpaydin & Kaynak, "Optical
    Recognition of Handwritten Digits", UCI 1998 (its test set).
    """

    kind: ClassVar[str] = "images"
    train: int
    valid: int
    test: int
    binarise: str
    data_seed: int
    batch_size: int

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
            # of all images before they are split, so that other sizes are still the same data
            content=fingerprint_images((images, {"digit": classes})),
        )
