"""What runs wrote or drew (`scripts/evaluate.py --metrics samples`), for the page: one finished run of each group."""

import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from uncollapse.runs.layout import SAMPLES_FOLDER

from .stats import by_group, finished
from .text import visible

VIEWS = {
    "prior": "Codes of the prior, decoded by drawing each word or pixel, and by taking the likeliest.",
    "reconstructions": "Test examples; their posterior means decoded by the likeliest, and a code of the posterior by drawing.",
    "interpolations": "On the straight way between the posterior means of two test examples, decoded by the likeliest.",
    "neighbours": "Test examples, and the training examples whose posterior means are nearest.",
    "responses": "Test contexts and their responses; the likeliest words for three codes of the prior, and for the response's own code.",
    "traversal": "One test example's posterior mean with one dimension moved over the quantiles of all test examples' means.",
}


MOST_LINES, MOST_CELLS, MOST_TEXT = 200, 50, 2000  # of a view, of a line; characters of a cell
MOST_SIDE = 10_000  # pixels of a picture
SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Sampled(NamedTuple):
    """One view of one run: lines of text, the first of them the header, or a picture and its path from the page."""

    title: str
    caption: str
    lines: list[list[str]]
    picture: str = ""
    data: bytes = b""


def all_samples(runs: pd.DataFrame, notes: list[str]) -> list[tuple[str, list[Sampled]]]:
    """(group, its views) of each group's first finished run that has some; odd files go to `notes`."""
    found: list[tuple[str, list[Sampled]]] = []
    for _, group in by_group(finished(runs)):
        for run in group[["saved", "folder", "group", "seed"]].to_dict("records"):
            views, odd = read_views(run["saved"].views(), len(found))
            notes += [f"{run['folder']}: {note}" for note in odd]
            if views:
                found.append((f"{run['group']}, seed {run['seed']}", views))
                break
    return found


def read_views(files: Mapping[str, bytes], number: int) -> tuple[list[Sampled], list[str]]:
    """The views of a run, the number-th on the page, and sentences on the files that are odd."""
    found, odd = [], []
    for stem, caption in VIEWS.items():
        text, picture = files.get(f"{stem}.txt", b""), files.get(f"{stem}.png")
        if text.strip():
            found.append(Sampled(stem.capitalize(), caption, cells(text)))
            if not is_text(text):
                odd.append(
                    f"{SAMPLES_FOLDER}/{stem}.txt is not UTF-8; \ufffd stands for what cannot be read"
                )
        elif picture is None and f"{stem}.txt" in files:
            odd.append(f"{SAMPLES_FOLDER}/{stem}.txt is empty")
        elif picture is not None and is_png(picture):
            found.append(
                Sampled(stem.capitalize(), caption, [], f"samples/{number}-{stem}.png", picture)
            )
        elif picture is not None:
            odd.append(
                f"{SAMPLES_FOLDER}/{stem}.png is no complete PNG of at most {MOST_SIDE:,} pixels a side; left out"
            )
    return found, odd


def cells(text: bytes) -> list[list[str]]:
    """Lines of cells, cut where they are too many or too long."""
    lines = text.decode("utf-8", errors="replace").rstrip("\n").split("\n", MOST_LINES)[:MOST_LINES]
    return [
        [visible(cell[:MOST_TEXT]) for cell in line.split("\t", MOST_CELLS)[:MOST_CELLS]]
        for line in lines
    ]


def is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def is_png(content: bytes) -> bool:
    """Whether these are the parts of one PNG, from the first byte to the last."""
    if len(content) < 33 or not content.startswith(SIGNATURE + b"\0\0\0\x0dIHDR"):
        return False
    sides, place, name = struct.unpack_from(">II", content, 16), len(SIGNATURE), b""
    while name != b"IEND" and (part := png_part(content, place)):
        name, place = part
    return (
        name == b"IEND" and place == len(content) and all(1 <= side <= MOST_SIDE for side in sides)
    )


def png_part(content: bytes, place: int) -> tuple[bytes, int] | None:
    """The name of the part at a place, and where the next one begins; None where it is damaged."""
    size = int.from_bytes(content[place : place + 4], "big")
    told, end = content[place + 4 : place + 8 + size], place + 12 + size
    if end > len(content) or zlib.crc32(told) != int.from_bytes(content[end - 4 : end], "big"):
        return None
    return told[:4], end
