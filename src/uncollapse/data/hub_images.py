"""Image sets of the hub, through `datasets`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uncollapse.data.images import (
    GREY_LEVELS,
    ImageSplit,
    flatten_squares,
)
from uncollapse.errors import InputError

if TYPE_CHECKING:
    import datasets

SIDE = 28  # pixels a side; larger images are averaged down to it


def load_hub_images(
    hub: str, revision: str | None, name: str, labels: Mapping[str, str]
) -> dict[str, ImageSplit]:
    """All splits of a hub set, or of a local folder, with columns of images and labels.

    Images become grey, and are reduced to SIDE pixels a side. `labels` goes from name to column.
    """
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    if revision is None and not Path(hub).is_dir():
        raise InputError(
            f"data.revision=null: {hub} may change on the hub; give a revision (a tag or commit)"
        )
    try:
        loaded = datasets.load_dataset(hub, revision=None if Path(hub).is_dir() else revision)
    except Exception as error:  # no connection, no such set, damaged files: each has its own type
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"data.hub={hub}: could not be loaded from the hub ({first}); if you have the files, "
            f"give data={name} data.dir=FOLDER"
        ) from error
    return {split: decode_split(table, labels, hub, split) for split, table in loaded.items()}


def decode_split(
    table: "datasets.Dataset", labels: Mapping[str, str], hub: str, split: str
) -> ImageSplit:
    """One split of a hub set. InputError for a missing column, and for images of several sizes."""
    import pyarrow as pa

    for column in ("image", *labels.values()):
        if column not in table.column_names:
            raise InputError(
                f"data.hub={hub}: no column {column}; it has {', '.join(table.column_names)}"
            )
    # the column holds encoded images, with their bytes and their path
    encoded = pa.chunked_array(table.data.column("image")).combine_chunks().field("bytes")
    images = [
        grey_image(png.as_py(), f"{hub}, {split} split, image {i}") for i, png in enumerate(encoded)
    ]
    height, width = images[0].shape
    for i, image in enumerate(images):
        if image.shape != (height, width):
            raise InputError(
                f"{hub}, {split} split, image {i}: {image.shape[0]} x {image.shape[1]} pixels, "
                f"the first has {height} x {width}; allowed is one size"
            )
    classes = {name: np.asarray(table[column]).astype(np.int64) for name, column in labels.items()}
    return flatten_squares(np.stack(images), hub), classes


def grey_image(encoded: bytes, where: str) -> np.ndarray:
    """[S, S] uint8 from an encoded image, averaged down to SIDE if it is larger."""
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
        # BOX averages all pixels that a target pixel covers
        image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image)


def load_hub_omniglot(
    hub: str, revision: str | None, rng: np.random.Generator
) -> tuple[ImageSplit, ImageSplit]:
    """The training split, and a random quarter as the test split, as in Burda et al. 2016.

    The hub's set has one split, no alphabets, and dark ink on a light ground.
    """
    images, _ = get_split(load_hub_images(hub, revision, "omniglot", {}), "full", hub)
    order = rng.permutation(len(images))
    cut = len(order) // 4
    # inverted, because the other sources have light ink on a dark ground
    return (GREY_LEVELS - images[order[cut:]], {}), (GREY_LEVELS - images[order[:cut]], {})


def get_split(parts: Mapping[str, ImageSplit], name: str, hub: str) -> ImageSplit:
    """A split. InputError where the set does not have it."""
    if name not in parts:
        raise InputError(f"data.hub={hub}: no {name} split; it has {', '.join(parts)}")
    return parts[name]
