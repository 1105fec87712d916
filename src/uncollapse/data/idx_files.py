"""The idx files of MNIST."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

from uncollapse.data.images import (
    ImageSplit,
    flatten_squares,
)
from uncollapse.errors import InputError

# magic number -> content of the file, and the number of sizes in its header
IDX = {2051: ("images", 3), 2049: ("labels", 1)}


def read_idx_split(folder: Path, name: str) -> ImageSplit:
    """Images and labels of "train" or "t10k" from idx files in a folder."""
    (images, where), (labels, where_labels) = (
        read_idx(find_idx(folder, f"{name}-{rest}"))
        for rest in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    if len(images) != len(labels):
        raise InputError(
            f"{where_labels}: {len(labels)} labels for the {len(images)} images of {where}"
        )
    return flatten_squares(images, str(where)), {"digit": labels.astype(np.int64)}


def find_idx(folder: Path, name: str) -> Path:
    """The file under its usual name, or with `.idx` as some archives write it, or compressed."""
    # the name without an ending first, so an unpacked file has precedence over its archive
    names = [
        form + ending for form in (name, name.replace("-idx", ".idx")) for ending in ("", ".gz")
    ]
    for candidate in names:
        if (folder / candidate).is_file():
            return folder / candidate
    raise InputError(
        f"data.dir={folder}: no {name}; looked for {', '.join(names)}; leave data.dir out and "
        "data=mnist comes from the hub"
    )


def read_idx(path: Path) -> tuple[np.ndarray, Path]:
    """The array of an idx file, [N, H, W] or [N] uint8, and its path.

    InputError for another magic number or size.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path}: damaged or truncated .gz file ({error}); fetch it again"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    magic = int.from_bytes(content[:4], "big")
    wanted = next(number for number, (what, _) in IDX.items() if what in path.name)
    if magic != wanted:
        raise InputError(
            f"{path}: magic number {magic}, but an idx file of {IDX[wanted][0]} begins with "
            f"{wanted}"
        )
    header = 4 + 4 * IDX[wanted][1]
    # big-endian, like all numbers of the format
    sizes = [int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4)]
    if len(content) != header + prod(sizes):
        raise InputError(
            f"{path}: {len(content):,} bytes, but its header says {' x '.join(map(str, sizes))}, "
            f"which is {header + prod(sizes):,}; the file is truncated or wrong, fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes), path
