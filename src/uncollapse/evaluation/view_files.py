"""Write views of samples to files: tables of text, or grids of images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from uncollapse.runs.layout import Run

SampleItem = str | np.ndarray  # a sentence, or an image [S, S] of 0 and 1
IMAGE_SIDE = 56  # pixels to which smaller images are enlarged


@dataclass(frozen=True)
class View:
    """A table of sentences or images: column names, and rows with a name and an item per column."""

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
    """Images [S, S] of 0 and 1 as one PNG, dark on light, with one row per row of the view."""
    from PIL import Image

    images = np.array([[*row] for row in rows], dtype=float)  # [R, C, S, S]
    # kron repeats each pixel; 1 - x, because ink is 1 and paper is white
    enlarged = np.kron(1 - images, np.ones((max(1, IMAGE_SIDE // images.shape[-1]),) * 2))
    # a grey frame of two pixels separates neighbouring images
    framed = np.pad(enlarged, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=0.6)
    # [R, C, S, S] -> [R, S, C, S], whose first two and last two axes form the grid
    grid = framed.transpose(0, 2, 1, 3).reshape(framed.shape[0] * framed.shape[2], -1)
    file = BytesIO()
    Image.fromarray(np.uint8(255 * grid)).save(file, "PNG")
    return file.getvalue()
