"""The files of Omniglot: chardata.mat, or one .npz."""

from collections.abc import Callable, Mapping
from math import isqrt
from pathlib import Path

import numpy as np

from uncollapse.data.images import (
    GREY_LEVELS,
    ImageSplit,
    flatten_squares,
)
from uncollapse.errors import InputError


def read_omniglot(folder: Path) -> tuple[ImageSplit, ImageSplit]:
    """The training and the test split of a folder."""
    if (folder / "chardata.mat").is_file():
        return read_chardata(folder / "chardata.mat")
    found = sorted(folder.glob("*.npz"))
    if len(found) != 1:
        holds = f"{len(found)} .npz files" if found else "neither chardata.mat nor an .npz file"
        raise InputError(
            f"data.dir={folder}: {holds}; allowed is chardata.mat or exactly one .npz file"
        )
    return read_npz(found[0])


def read_npz(path: Path) -> tuple[ImageSplit, ImageSplit]:
    """train_images, test_images [N, S, S] uint8; optional train_alphabet, test_alphabet [N]."""
    arrays = load_arrays(path, load_npz)
    parts = []
    for split in ("train", "test"):
        images = np.asarray(get_array(arrays, f"{split}_images", path))
        if images.dtype != np.uint8:
            raise InputError(
                f"{path}: {split}_images holds {images.dtype}; allowed is uint8, 0 to 255"
            )
        alphabet = arrays.get(f"{split}_alphabet")
        if alphabet is not None and len(alphabet) != len(images):
            raise InputError(
                f"{path}: {len(alphabet)} entries in {split}_alphabet for {len(images)} images"
            )
        labels = {} if alphabet is None else {"alphabet": np.asarray(alphabet).astype(np.int64)}
        parts.append((flatten_squares(images, str(path)), labels))
    if parts[0][0].shape[1] != parts[1][0].shape[1]:
        raise InputError(f"{path}: training and test images differ in size")
    return parts[0], parts[1]


def read_chardata(path: Path) -> tuple[ImageSplit, ImageSplit]:
    """The file of Burda et al. 2016.

    data, testdata [784, N] from 0 to 1, pixels in column order; target, testtarget one-hot [50, N].
    """
    from scipy.io import loadmat

    arrays = load_arrays(path, loadmat)
    parts = []
    for images, target in (("data", "target"), ("testdata", "testtarget")):
        pixels, classes = (np.asarray(get_array(arrays, name, path)) for name in (images, target))
        side = isqrt(len(pixels))
        if side**2 != len(pixels):
            raise InputError(
                f"{path}: {images} has {len(pixels)} pixels an image; allowed are square images"
            )
        # pixels are stored column after column
        upright = pixels.T.reshape(-1, side, side).transpose(0, 2, 1)
        grey = np.rint(upright * GREY_LEVELS).astype(np.uint8)
        parts.append(
            (flatten_squares(grey, str(path)), {"alphabet": classes.argmax(0).astype(np.int64)})
        )
    return parts[0], parts[1]


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file."""
    # np.load would leave a file open that it opened itself and that turns out to be damaged
    with path.open("rb") as file:
        return dict(np.load(file))


def load_arrays(
    path: Path, load: Callable[[Path], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """All arrays of a file. InputError for a damaged one."""
    try:
        return dict(load(path))
    except Exception as error:  # a zip, zlib, pickle or MATLAB error, each of its own type
        raise InputError(
            f"{path}: damaged, or not a file of its kind ({str(error).splitlines()[0]})"
        ) from error


def get_array(arrays: Mapping[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    """An array by name. InputError where the file does not have it."""
    if name not in arrays:
        existing = ", ".join(key for key in arrays if not key.startswith("__"))
        raise InputError(f"{path}: no array {name}; it has {existing}")
    return arrays[name]
