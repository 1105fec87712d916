"""Images of your own: folders of PNG and JPEG files, grey or RGB, of one size."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from uncollapse.data import SPLITS
from uncollapse.data.arrays import number_labels
from uncollapse.data.image_size import ImageSize
from uncollapse.data.images import GREY_LEVELS, ImageData, check_images, fingerprint_images
from uncollapse.data.shares import check_shares, describe_division, draw_rows
from uncollapse.data.split_files import SPLIT_NAMES
from uncollapse.errors import InputError, check_choice, expand_home, first_line
from uncollapse.interfaces.data import DataConfig

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
OTHER_ENDINGS = (".bmp", ".gif", ".tif", ".tiff", ".webp")  # images that are not read
COLOURS = {"grey": ("L", 1), "rgb": ("RGB", 3)}  # Pillow's mode, and the number of channels
CLASS = "class"  # the name of the labels

# Pillow's mode of a file -> the colour that it is read as
MODES = {"1": "grey", "L": "grey", "LA": "grey", "P": "rgb", "RGB": "rgb", "RGBA": "rgb"}

Labelled = tuple[Path, str | None]  # an image, and its class where there are sub-folders


@dataclass(kw_only=True)
class ImageFolderConfig(DataConfig):
    """Either a folder with train, valid and test in it, or one that is divided at random.

    Sub-folders of a split, or of the folder that is divided, are classes.
    """

    kind: ClassVar[str] = "images"
    dir: str | None
    split: list[float]  # shares of train, valid and test, for one folder
    split_seed: int
    colour: str
    binarise: str
    batch_size: int

    def load(self) -> ImageData:
        """InputError for files that cannot be read or differ in size or colour."""
        check_images(self.batch_size, self.binarise)
        check_choice("data.colour", self.colour, ("auto", *COLOURS))
        check_shares(self.split, self.split_seed)
        if self.dir is None:
            raise InputError("data.dir=null: give data.dir=FOLDER with PNG or JPEG files")
        folder = expand_home(self.dir)
        folders = find_split_folders(folder)
        found = (
            {split: list_images(place) for split, place in folders.items()}
            if folders
            else self.divide(folder)
        )
        require_same_labelling(found)
        files = [file for split in SPLITS for file, _ in found[split]]
        size = check_headers(files, self.colour)
        grey = {split: decode_images([file for file, _ in found[split]], size) for split in SPLITS}
        labels = label_splits(found)
        return ImageData(
            grey,
            GREY_LEVELS,
            self.batch_size,
            self.binarise,
            labels,
            content=fingerprint_images(*((grey[split], labels.get(split, {})) for split in SPLITS)),
            image_size=size,
            ink=False,
            divided=None
            if folders
            else describe_division(self.dir, self.split, self.split_seed, "folder"),
        )

    def divide(self, folder: Path) -> dict[str, list[Labelled]]:
        """The images of one folder, in the order of their names, as three splits."""
        images = list_images(folder)
        parts = draw_rows(len(images), self.split, self.split_seed)
        return {split: [images[i] for i in np.sort(part)] for split, part in parts.items()}


# ---------------------------------------------------------------- files


def find_split_folders(folder: Path) -> dict[str, Path]:
    """The folder of each split; empty where there is none. InputError where only some exist."""
    if not folder.is_dir():
        reason = "is a file, not a folder" if folder.exists() else "no such folder"
        raise InputError(f"data.dir={folder}: {reason}")
    found = {
        split: [folder / name for name in names if (folder / name).is_dir()]
        for split, names in SPLIT_NAMES.items()
    }
    if not any(found.values()):
        return {}
    for split, places in found.items():
        if len(places) != 1:
            names = " or ".join(SPLIT_NAMES[split])
            reason = "there are several" if places else "there is none"
            raise InputError(
                f"data.dir={folder}: it has folders of splits, and must have one called {names}; "
                f"{reason}"
            )
    return {split: places[0] for split, places in found.items()}


def list_images(folder: Path) -> list[Labelled]:
    """The images of a folder by name; those in a sub-folder have its name as their class.

    InputError where there is none, and for images both in sub-folders and beside them.
    """
    # hidden files are left out, and so is everything that is no image, such as a licence
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )
    for path in paths:
        if path.suffix.lower() in OTHER_ENDINGS:
            raise InputError(f"{path}: allowed are files that end with {', '.join(IMAGE_ENDINGS)}")
    images = [path for path in paths if path.suffix.lower() in IMAGE_ENDINGS]
    if not images:
        raise InputError(f"{folder}: no image in it; looked for {', '.join(IMAGE_ENDINGS)}")
    parts = [path.relative_to(folder).parts for path in images]
    classes = [names[0] if len(names) > 1 else None for names in parts]
    if None in classes and any(classes):
        path = images[classes.index(None)]
        raise InputError(
            f"{path}: it is beside sub-folders, which are classes, and so has no class; move it "
            "into one"
        )
    return list(zip(images, classes, strict=True))


def require_same_labelling(found: dict[str, list[Labelled]]) -> None:
    """InputError where one split has sub-folders and another none, and for a class not in train."""
    classes = {split: {name for _, name in images} for split, images in found.items()}
    for split, names in classes.items():
        if (None in names) != (None in classes["train"]):
            raise InputError(
                f"data.dir: the {split} split has {'no ' if None in names else ''}sub-folders, "
                "which are classes, unlike the train split"
            )
        if lacking := sorted(filter(None, names - classes["train"])):
            raise InputError(
                f"data.dir: the {split} split has the class {lacking[0]}, which no image of the "
                "train split has"
            )


def label_splits(found: dict[str, list[Labelled]]) -> dict[str, dict[str, np.ndarray]]:
    """The class numbers of each split, in alphabetical order of their names; {} without."""
    if found["train"][0][1] is None:
        return {}
    return number_labels(
        {split: {CLASS: np.array([name for _, name in images])} for split, images in found.items()}
    )


# ---------------------------------------------------------------- content


def check_headers(files: Sequence[Path], colour: str) -> ImageSize:
    """The size that all images have. InputError names the first file that differs from most.

    Only the headers are read, so faults are found before the images are decoded.
    """
    sizes, colours = [], []
    for path in files:
        with open_image(path) as image:
            sizes.append((image.height, image.width))
            colours.append(find_colour(path, image, colour))
    (height, width), _ = Counter(sizes).most_common(1)[0]
    usual, _ = Counter(colours).most_common(1)[0]
    for path, size, own in zip(files, sizes, colours, strict=True):
        if size != (height, width):
            raise InputError(
                f"{path}: {size[0]} x {size[1]} pixels (height x width), where most images have "
                f"{height} x {width}; allowed is one size"
            )
        if own != usual:
            raise InputError(
                f"{path}: this image is {own}, and most are {usual}; data.colour=grey or "
                "data.colour=rgb converts them all"
            )
    return ImageSize(height, width, COLOURS[usual][1])


def find_colour(path: Path, image: "Image", colour: str) -> str:
    """The colour that an image is read as. InputError for one of another kind."""
    if image.mode not in MODES:
        raise InputError(
            f"{path}: pixels of the kind {image.mode}; allowed are 8-bit grey and RGB images"
        )
    return MODES[image.mode] if colour == "auto" else colour


def decode_images(files: Sequence[Path], size: ImageSize) -> np.ndarray:
    """[N, P] uint8. InputError for a damaged image, and for one that is transparent somewhere."""
    pixels = np.empty((len(files), size), np.uint8)
    mode = next(mode for mode, channels in COLOURS.values() if channels == size.channels)
    for row, path in zip(pixels, files, strict=True):
        with open_image(path) as image:
            row[:] = np.asarray(make_opaque(path, image).convert(mode)).reshape(-1)
    return pixels


def make_opaque(path: Path, image: "Image") -> "Image":
    """The decoded image without its alpha channel."""
    try:
        image.load()
    # damaged files raise whatever their decoder stumbles over
    except Exception as error:
        raise damaged_image(path, error) from error
    if not image.has_transparency_data:
        return image
    full = image.convert("RGBA")
    alpha = full.getchannel("A").getextrema()
    if alpha != (255, 255):
        raise InputError(f"{path}: transparent in places; draw it on a background first")
    return image.convert("L") if image.mode == "LA" else full


def open_image(path: Path) -> "Image":
    """The image, of which the header is read. InputError for a file that is none."""
    from PIL import Image

    try:
        return Image.open(path, formats=("PNG", "JPEG"))
    except Exception as error:
        raise damaged_image(path, error) from error


def damaged_image(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not a PNG or JPEG image, or damaged ({first_line(error)})")
