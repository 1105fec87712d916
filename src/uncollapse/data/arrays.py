"""Vectors of your own, from NumPy files: features, counts, or pixels of any shape."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from uncollapse.data import SPLITS
from uncollapse.data.digests import array_digest, fingerprint
from uncollapse.data.shares import check_shares, describe_division, draw_rows
from uncollapse.data.text import check_batching
from uncollapse.data.vectors import VectorData
from uncollapse.errors import InputError, expand_home, first_line
from uncollapse.interfaces.data import DataConfig

ENDINGS = (".npy", ".npz")
Labels = dict[str, dict[str, np.ndarray]]  # split -> name -> values [N]


@dataclass(kw_only=True)
class ArraysConfig(DataConfig):
    """Either one file, which is divided at random, or a folder with a file for each split.

    A .npy holds x [N, ...]; a .npz holds x and, under other names, labels [N]. Each example is
    flattened.
    """

    kind: ClassVar[str] = "vectors"
    file: str | None
    dir: str | None
    split: list[float]  # shares of train, valid and test, for one file
    split_seed: int
    batch_size: int
    batching: str

    def load(self) -> VectorData:
        """InputError for files that are missing or hold no numbers, and for splits that differ."""
        check_batching(self.batch_size, self.batching)
        if (self.file is None) == (self.dir is None):
            raise InputError("data: give either data.file=FILE.npz or data.dir=FOLDER")
        found = self.divide() if self.file is not None else self.read_folder()
        require_equal_sizes({split: x for split, (x, _) in found.items()})
        vectors = {split: flatten(x) for split, (x, _) in found.items()}
        return VectorData(
            vectors,
            self.batch_size,
            self.batching,
            labels=number_labels({split: labels for split, (_, labels) in found.items()}),
            content=fingerprint([array_digest(vectors[split]) for split in SPLITS]),
            divided=None
            if self.file is None
            else describe_division(self.file, self.split, self.split_seed),
        )

    def divide(self) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
        """The examples of `file`, in an order drawn by split_seed, as three splits."""
        check_shares(self.split, self.split_seed)
        path = expand_home(str(self.file))
        if not path.is_file():
            raise InputError(f"data.file={self.file}: there is no such file")
        x, labels = load_arrays(path)
        return {
            split: (x[part], {name: values[part] for name, values in labels.items()})
            for split, part in draw_rows(len(x), self.split, self.split_seed).items()
        }

    def read_folder(self) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
        """train.npy, valid.npy and test.npy of `dir`, or .npz."""
        return {
            split: load_arrays(find_array(expand_home(str(self.dir)), split)) for split in SPLITS
        }


def find_array(folder: Path, split: str) -> Path:
    """The only file of a split in a folder. InputError if there is none, or two."""
    found = [path for end in ENDINGS if (path := folder / f"{split}{end}").is_file()]
    if len(found) != 1:
        reason = "both are there" if found else "neither is there"
        names = " or ".join(f"{split}{end}" for end in ENDINGS)
        raise InputError(f"data.dir={folder}: it must hold one of {names}; {reason}")
    return found[0]


def load_arrays(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """x [N, ...] and labels by name, [N] each. InputError for anything else in the file."""
    if path.suffix not in ENDINGS:
        raise InputError(f"data.file={path}: allowed are files that end with .npy or .npz")
    try:
        # no pickles: they could run code
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            arrays = {"x": content} if isinstance(content, np.ndarray) else dict(content)
    # damaged files raise whatever their parser stumbles over
    except Exception as error:
        reason = first_line(error)
        raise InputError(f"{path}: cannot be read as NumPy arrays ({reason})") from error
    if "x" not in arrays:
        raise InputError(f"{path}: no array x in it; it has {', '.join(arrays) or 'none'}")
    x, labels = arrays.pop("x"), arrays
    if x.dtype.kind not in "buif" or x.ndim < 2 or not x.size or not is_float32(x):
        raise InputError(
            f"{path}: x is {x.dtype} of shape {list(x.shape)}; allowed are finite numbers [N, ...]"
        )
    for name, values in labels.items():
        if values.shape != (len(x),):
            raise InputError(
                f"{path}: {name} has shape {list(values.shape)}; labels have one value for each of "
                f"the {len(x)} examples"
            )
    return x, labels


def is_float32(x: np.ndarray) -> bool:
    """Whether every number is finite, also as a float32."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(x.astype(np.float32)).all())


def number_labels(labels: Labels) -> Labels:
    """Labels of any values as class numbers, the same in every split, by increasing value.

    InputError for labels that a split lacks.
    """
    names = set[str]().union(*labels.values())
    for split, of_split in labels.items():
        if lacking := sorted(names - of_split.keys()):
            raise InputError(f"data: the {split} split has no labels {lacking[0]}, others have")
    if not names:
        return {}
    classes = {
        name: np.unique(np.concatenate([of_split[name] for of_split in labels.values()]))
        for name in sorted(names)
    }
    return {
        split: {name: np.searchsorted(values, of_split[name]) for name, values in classes.items()}
        for split, of_split in labels.items()
    }


def require_equal_sizes(arrays: dict[str, np.ndarray]) -> None:
    """InputError unless the examples of all splits have one shape."""
    shapes = {split: x.shape[1:] for split, x in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{split} {list(shape)}" for split, shape in shapes.items())
        raise InputError(f"data: examples of different shapes ({listed})")


def flatten(x: np.ndarray) -> np.ndarray:
    """[N, ...] -> [N, P] float32."""
    return x.reshape(len(x), -1).astype(np.float32)
