"""MNIST and Omniglot from the user's files, or from the hub through `datasets`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from uncollapse.data.facts import read_facts, require_facts
from uncollapse.data.hub_images import get_split, load_hub_images, load_hub_omniglot
from uncollapse.data.idx_files import read_idx_split
from uncollapse.data.images import (
    GREY_LEVELS,
    ImageData,
    ImageSplit,
    check_images,
    fingerprint_images,
    take_first,
)
from uncollapse.data.omniglot_files import read_omniglot
from uncollapse.errors import InputError, expand_home
from uncollapse.interfaces.data import DataConfig

SPLIT_SEED = 0  # for splits that a set does not define


@dataclass(kw_only=True)
class MnistConfig(DataConfig):
    """The ten digits, 28 x 28 grey pixels (LeCun, Bottou, Bengio & Haffner 1998)."""

    kind: ClassVar[str] = "images"
    dir: str | None
    hub: str
    revision: str | None
    train: int | None
    valid: int | None
    test: int | None
    binarise: str
    batch_size: int

    def load(self) -> ImageData:
        """InputError for a file or a hub set that is missing, damaged or of another form."""
        require_facts("mnist")
        check_images(self.batch_size, self.binarise)
        if self.dir is None:
            loaded = load_hub_images(self.hub, self.revision, "mnist", {"digit": "label"})
            train, test = (get_split(loaded, name, self.hub) for name in ("train", "test"))
        else:
            folder = require_folder(self.dir, "mnist", "the four idx files")
            train, test = read_idx_split(folder, "train"), read_idx_split(folder, "t10k")
        size = count_validation("mnist", train)  # the last images, as in the literature
        cut = len(train[0]) - size
        parts = {
            "train": take_images(train, np.arange(cut)),
            "valid": take_images(train, np.arange(cut, cut + size)),
            "test": test,
        }
        return assemble_data(self, parts, fingerprint_images(train, test))


@dataclass(kw_only=True)
class OmniglotConfig(DataConfig):
    """1,623 handwritten characters of 50 alphabets (Lake, Salakhutdinov & Tenenbaum 2015)."""

    kind: ClassVar[str] = "images"
    dir: str | None
    hub: str
    revision: str | None
    train: int | None
    valid: int | None
    test: int | None
    binarise: str
    batch_size: int

    def load(self) -> ImageData:
        """InputError for a file or a hub set that is missing, damaged or of another form."""
        require_facts("omniglot")
        check_images(self.batch_size, self.binarise)
        rng = np.random.default_rng(SPLIT_SEED)
        if self.dir is None:
            train, test = load_hub_omniglot(self.hub, self.revision, rng)
        else:
            train, test = read_omniglot(
                require_folder(self.dir, "omniglot", "chardata.mat or an .npz file")
            )
        order = rng.permutation(len(train[0]))  # files are sorted by character
        size = count_validation("omniglot", train)
        parts = {
            "train": take_images(train, order[size:]),
            "valid": take_images(train, order[:size]),
        }
        # the file is sorted by character as well, and `test` may be limited to its first images
        parts["test"] = take_images(test, rng.permutation(len(test[0])))
        return assemble_data(self, parts, fingerprint_images(train, test))


def count_validation(name: str, train: ImageSplit) -> int:
    """How many training images make the validation split; a sixth of a smaller set."""
    return min(read_facts(name).valid, len(train[0]) // 6)


def take_images(part: ImageSplit, examples: np.ndarray) -> ImageSplit:
    """These examples of a split."""
    images, labels = part
    return images[examples], {name: values[examples] for name, values in labels.items()}


def assemble_data(
    cfg: MnistConfig | OmniglotConfig, parts: Mapping[str, ImageSplit], content: str
) -> ImageData:
    """The data of a run: each split reduced to its size in the config."""
    cut = {split: take_first(*part, getattr(cfg, split), split) for split, part in parts.items()}
    labels = {split: own for split, (_, own) in cut.items()}
    return ImageData(
        {split: images for split, (images, _) in cut.items()},
        GREY_LEVELS,
        cfg.batch_size,
        cfg.binarise,
        labels,
        content=content,
    )


def require_folder(word: str, name: str, holding: str) -> Path:
    """The folder. InputError where there is none."""
    folder = expand_home(word)
    if not folder.is_dir():
        raise InputError(
            f"data.dir={word}: no such folder; give one that holds {holding}, or leave data.dir "
            f"out: data={name} then comes from the hub"
        )
    return folder
