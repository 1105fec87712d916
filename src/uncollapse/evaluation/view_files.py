"""Write views of samples to files: tables of text, or grids of images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from uncollapse.runs.layout import Run

SampleItem = str | np.ndarray  # text, or the brightness of an image [H, W] or [H, W, C]
IMAGE_SIDE = 56  # pixels to which smaller images are enlarged


@dataclass(frozen=True)
class View:
    """A table of texts or images: column names, and rows with a name and an item per column."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[SampleItem]]]


def numbered_view(names: Sequence[str], columns: Sequence[Sequence[SampleItem]]) -> View:
    """A view whose rows are named 1, 2, 3 ..."""
    rows = enumerate(zip(*columns, strict=True), 1)
    return View(names, [(str(number), row) for number, row in rows])


def write_view(view: View, run: Run, folder: str, name: str) -> None:
    """Write text as name.txt, with TAB between columns, and images as name.png."""
    if isinstance(view.rows[0][1][0], str):
        table = [("", *view.columns), *((row, *texts) for row, texts in view.rows)]
        content = encode_lines("\t".join(map(str, row)) for row in table)
        run.write(folder, f"{name}.txt", data=content)
    else:
        run.write(folder, f"{name}.png", data=encode_png([images for _, images in view.rows]))


def encode_lines(texts: Iterable[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def encode_png(rows: Sequence[Sequence[SampleItem]]) -> bytes:
    """Images of values from 0 to 1 as one PNG, with one row per row of the view."""
    from PIL import Image

    images = np.array([[*row] for row in rows], dtype=float)  # [R, C, H, W] or [R, C, H, W, 3]
    if images.ndim == 4:
        images = images[..., None]
    factor = max(1, IMAGE_SIDE // max(images.shape[2:4]))
    enlarged = images.repeat(factor, axis=2).repeat(factor, axis=3)
    # a grey frame of two pixels separates neighbouring images
    frame = ((0, 0), (0, 0), (2, 2), (2, 2), (0, 0))
    framed = np.pad(enlarged, frame, constant_values=0.6)
    # [R, C, H, W, 3] -> [R, H, C, W, 3], whose first four axes form the grid
    count, _, height = framed.shape[:3]
    grid = framed.swapaxes(1, 2).reshape(count * height, -1, framed.shape[-1])
    file = BytesIO()
    Image.fromarray(np.uint8(255 * (grid[..., 0] if grid.shape[-1] == 1 else grid))).save(
        file, "PNG"
    )
    return file.getvalue()
