"""MNIST and Omniglot from the user's own files or from the hub, read through `datasets`."""

import gzip
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt, prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uncollapse.data.images import ImageData, Part, check_images, first_of, images_content
from uncollapse.errors import InputError, expand_home
from uncollapse.interfaces.data import DataConfig

LEVELS = 255
IDX = {
    2051: ("images", 3),
    2049: ("labels", 1),
}  # magic number -> what the file holds, and how many sizes its header gives
SIDE = 28  # larger hub images are resampled to this
MNIST_VALID, OMNIGLOT_VALID = 10_000, 1_345
SPLIT_SEED = 0  # of the parts that a set does not come with


@dataclass
class MnistConfig(DataConfig):
    """The ten digits, 28 x 28 grey pixels, LeCun, Bottou, Bengio & Haffner 1998."""

    kind: ClassVar[str] = "images"
    dir: str | None = None
    hub: str = "ylecun/mnist"
    revision: str | None = "refs/convert/parquet"
    train: int | None = None
    valid: int | None = None
    test: int | None = None
    binarise: str = "dynamic"
    batch_size: int = 128

    def load(self) -> ImageData:
        """InputError for a file or a hub set that is missing, damaged or of another form."""
        check_images(self.batch_size, self.binarise)
        if self.dir is None:
            loaded = hub_images(self.hub, self.revision, "mnist", {"digit": "label"})
            train, test = (part_of(loaded, name, self.hub) for name in ("train", "test"))
        else:
            folder = existing_folder(self.dir, "mnist", "the four idx files")
            train, test = idx_part(folder, "train"), idx_part(folder, "t10k")
        # in the order of the files, as in the literature; a smaller set gives a sixth of itself
        size = min(MNIST_VALID, len(train[0]) // 6)
        cut = len(train[0]) - size
        parts = {
            "train": chosen(train, np.arange(cut)),
            "valid": chosen(train, np.arange(cut, cut + size)),
            "test": test,
        }
        return assembled(self, parts, images_content(train, test))


@dataclass
class OmniglotConfig(DataConfig):
    """1,623 handwritten characters of 50 alphabets, Lake, Salakhutdinov & Tenenbaum 2015."""

    kind: ClassVar[str] = "images"
    dir: str | None = None
    hub: str = "GATE-engine/omniglot"
    revision: str | None = "refs/convert/parquet"
    train: int | None = None
    valid: int | None = None
    test: int | None = None
    binarise: str = "dynamic"
    batch_size: int = 128

    def load(self) -> ImageData:
        """InputError for a file or a hub set that is missing, damaged or of another form."""
        check_images(self.batch_size, self.binarise)
        rng = np.random.default_rng(SPLIT_SEED)
        if self.dir is None:
            train, test = hub_omniglot(self.hub, self.revision, rng)
        else:
            train, test = omniglot_files(
                existing_folder(self.dir, "omniglot", "chardata.mat or an .npz file")
            )
        order = rng.permutation(len(train[0]))  # files are sorted by character
        size = min(OMNIGLOT_VALID, len(order) // 6)
        parts = {"train": chosen(train, order[size:]), "valid": chosen(train, order[:size])}
        parts["test"] = chosen(test, rng.permutation(len(test[0])))
        return assembled(self, parts, images_content(train, test))


def chosen(part: Part, examples: np.ndarray) -> Part:
    images, labels = part
    return images[examples], {name: values[examples] for name, values in labels.items()}


def assembled(
    cfg: MnistConfig | OmniglotConfig, parts: Mapping[str, Part], content: str
) -> ImageData:
    """The data of a run: each part cut to the size asked for."""
    cut = {split: first_of(*part, getattr(cfg, split), split) for split, part in parts.items()}
    labels = {split: own for split, (_, own) in cut.items()}
    return ImageData(
        {split: images for split, (images, _) in cut.items()},
        LEVELS,
        cfg.batch_size,
        cfg.binarise,
        labels,
        content=content,
    )


def existing_folder(word: str, name: str, holding: str) -> Path:
    folder = expand_home(word)
    if not folder.is_dir():
        raise InputError(
            f"data.dir={word}: no such folder; give one that holds {holding}, or leave data.dir out: data={name} then comes from the hub"
        )
    return folder


def flat_squares(images: np.ndarray, where: str) -> np.ndarray:
    """[N, S, S] -> [N, S * S]. InputError for images that are not square."""
    if images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise InputError(
            f"{where}: images of {' x '.join(map(str, images.shape[1:]))}; allowed are square grey ones"
        )
    return np.ascontiguousarray(images).reshape(len(images), -1)


# ---------------------------------------------------------------- idx files


def idx_part(folder: Path, name: str) -> Part:
    """Images and labels of "train" or "t10k" from idx files in a folder."""
    (images, where), (labels, where_labels) = (
        read_idx(find_idx(folder, f"{name}-{rest}"))
        for rest in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    if len(images) != len(labels):
        raise InputError(
            f"{where_labels}: {len(labels)} labels for the {len(images)} images of {where}"
        )
    return flat_squares(images, str(where)), {"digit": labels.astype(np.int64)}


def find_idx(folder: Path, name: str) -> Path:
    """The file under its own name, with a dot as some archives write it, or compressed."""
    names = [
        form + ending for form in (name, name.replace("-idx", ".idx")) for ending in ("", ".gz")
    ]
    for candidate in names:
        if (folder / candidate).is_file():
            return folder / candidate
    raise InputError(
        f"data.dir={folder}: no {name}; looked for {', '.join(names)}; leave data.dir out and data=mnist comes from the hub"
    )


def read_idx(path: Path) -> tuple[np.ndarray, Path]:
    """The array of an idx file, [N, H, W] or [N] uint8, and where it was read. InputError for another magic number or size."""
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
            f"{path}: magic number {magic}, but an idx file of {IDX[wanted][0]} begins with {wanted}"
        )
    header = 4 + 4 * IDX[wanted][1]
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4)]
    if len(content) != header + prod(sizes):
        raise InputError(
            f"{path}: {len(content):,} bytes, but its header says {' x '.join(map(str, sizes))}, "
            f"which is {header + prod(sizes):,}; the file is cut off or another one, fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes), path


# ---------------------------------------------------------------- Omniglot files


def omniglot_files(folder: Path) -> tuple[Part, Part]:
    """The training and the test part of a folder."""
    if (folder / "chardata.mat").is_file():
        return read_chardata(folder / "chardata.mat")
    found = sorted(folder.glob("*.npz"))
    if len(found) != 1:
        there = f"{len(found)} .npz files" if found else "neither chardata.mat nor an .npz file"
        raise InputError(
            f"data.dir={folder}: {there}; allowed is chardata.mat or exactly one .npz file"
        )
    return read_npz(found[0])


def read_npz(path: Path) -> tuple[Part, Part]:
    """train_images, test_images [N, S, S] uint8, and train_alphabet, test_alphabet [N] where they are there."""
    arrays = load_arrays(path, np.load)
    parts = []
    for split in ("train", "test"):
        images = np.asarray(wanted_array(arrays, f"{split}_images", path))
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
        parts.append((flat_squares(images, str(path)), labels))
    if parts[0][0].shape[1] != parts[1][0].shape[1]:
        raise InputError(f"{path}: training and test images differ in size")
    return parts[0], parts[1]


def read_chardata(path: Path) -> tuple[Part, Part]:
    """The file of Burda et al.: data, testdata [784, N] from 0 to 1, an image column by column; target, testtarget one-hot [50, N]."""
    from scipy.io import loadmat

    arrays = load_arrays(path, loadmat)
    parts = []
    for images, target in (("data", "target"), ("testdata", "testtarget")):
        pixels, classes = (
            np.asarray(wanted_array(arrays, name, path)) for name in (images, target)
        )
        side = isqrt(len(pixels))
        if side**2 != len(pixels):
            raise InputError(
                f"{path}: {images} has {len(pixels)} pixels an image; allowed are square images"
            )
        upright = pixels.T.reshape(-1, side, side).transpose(0, 2, 1)
        grey = np.rint(upright * LEVELS).astype(np.uint8)
        parts.append(
            (flat_squares(grey, str(path)), {"alphabet": classes.argmax(0).astype(np.int64)})
        )
    return parts[0], parts[1]


def load_arrays(path: Path, load: Any) -> dict[str, Any]:
    try:
        return dict(load(path))
    except Exception as error:  # a zip, zlib, pickle or MATLAB error, each of its own type
        raise InputError(
            f"{path}: damaged, or not a file of its kind ({str(error).splitlines()[0]})"
        ) from error


def wanted_array(arrays: Mapping[str, Any], name: str, path: Path) -> Any:
    if name not in arrays:
        there = ", ".join(key for key in arrays if not key.startswith("__"))
        raise InputError(f"{path}: no array {name}; it has {there}")
    return arrays[name]


# ---------------------------------------------------------------- the hub


def hub_images(
    hub: str, revision: str | None, name: str, labels: Mapping[str, str]
) -> dict[str, Part]:
    """Every part of a hub set (or of a local folder of the same form) with the columns image and label: images grey, at most SIDE wide."""
    import datasets
    import pyarrow as pa

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()

    if revision is None and not Path(hub).is_dir():
        raise InputError(
            f"data.revision=null: {hub} may change on the hub; give a revision (a tag or commit)"
        )
    try:
        loaded: Any = datasets.load_dataset(hub, revision=None if Path(hub).is_dir() else revision)
    except Exception as error:  # no connection, no such set, damaged files: each has its own type
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"data.hub={hub}: could not be loaded from the hub ({first}); if you have the files, give data={name} data.dir=FOLDER"
        ) from error
    parts = {}
    for split, table in loaded.items():
        for column in ("image", *labels.values()):
            if column not in table.column_names:
                raise InputError(
                    f"data.hub={hub}: no column {column}; it has {', '.join(table.column_names)}"
                )
        encoded = pa.chunked_array(table.data.column("image")).combine_chunks().field("bytes")
        images = [
            grey_image(png.as_py(), f"{hub}, {split} part, image {i}")
            for i, png in enumerate(encoded)
        ]
        sizes = {image.shape for image in images}
        if len(sizes) > 1:
            odd = next(i for i, image in enumerate(images) if image.shape != images[0].shape)
            raise InputError(
                f"{hub}, {split} part, image {odd}: {images[odd].shape[0]} x {images[odd].shape[1]} pixels, the first has "
                f"{images[0].shape[0]} x {images[0].shape[1]}; allowed is one size"
            )
        own = {ours: np.asarray(table[theirs]).astype(np.int64) for ours, theirs in labels.items()}
        parts[split] = flat_squares(np.stack(images), hub), own
    return parts


def grey_image(encoded: bytes, where: str) -> np.ndarray:
    """[S, S] uint8 from an encoded image; a larger one is averaged down to SIDE."""
    import io

    from PIL import Image

    try:
        image = Image.open(io.BytesIO(encoded)).convert("L")
    except Exception as error:
        raise InputError(f"{where}: not an image that can be read ({error})") from error
    if image.size[0] != image.size[1]:
        raise InputError(
            f"{where}: {image.size[0]} x {image.size[1]} pixels; allowed are square images"
        )
    if image.size[0] > SIDE:
        image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image)


def hub_omniglot(hub: str, revision: str | None, rng: np.random.Generator) -> tuple[Part, Part]:
    """The training and the test part, a random quarter as in Burda et al.; the hub has one part, without alphabets, its ink dark."""
    images, _ = part_of(hub_images(hub, revision, "omniglot", {}), "full", hub)
    order = rng.permutation(len(images))
    cut = len(order) // 4
    return (LEVELS - images[order[cut:]], {}), (LEVELS - images[order[:cut]], {})


def part_of(parts: Mapping[str, Part], name: str, hub: str) -> Part:
    if name not in parts:
        raise InputError(f"data.hub={hub}: no {name} part; it has {', '.join(parts)}")
    return parts[name]
