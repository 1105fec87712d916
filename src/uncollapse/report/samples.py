"""What runs wrote or drew (`scripts/evaluate.py --metrics samples`), as the page shows it."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from uncollapse.report.png import MOST_SIDE, is_png
from uncollapse.report.stats import by_group, finished
from uncollapse.report.text import escape_invisible
from uncollapse.runs.layout import SAMPLES

VIEW_CAPTIONS = {
    "prior": "Codes of the prior, decoded by drawing each word or pixel, and by taking the most "
    "likely one.",
    "reconstructions": "Test examples; the most likely decoding of their posterior means, and a "
    "drawn decoding of a code of the posterior.",
    "interpolations": "Points on the straight line between the posterior means of two test "
    "examples, and their most likely decodings.",
    "neighbours": "Test examples, and the training examples whose posterior means are nearest.",
    "responses": "Test contexts and their responses; the most likely words for three codes of the "
    "prior, and for the response's own code.",
    "traversal": "One test example's posterior mean, with one dimension moved over the quantiles "
    "of all test examples' means.",
}
MOST_LINES, MOST_CELLS, MOST_CELL_TEXT = 200, 50, 2000  # of a view, of a line; characters of a cell


class Sampled(NamedTuple):
    """One view of one run: lines of cells, the first the header, or a picture and its path."""

    title: str
    caption: str
    lines: list[list[str]]
    picture: str = ""
    data: bytes = b""


def all_samples(runs: pd.DataFrame, notes: list[str]) -> list[tuple[str, list[Sampled]]]:
    """(group, views) of each group's first finished run with views; notes on damaged files."""
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
    """The views of the run with this number on the page, and sentences on damaged files."""
    found, odd = [], []
    for stem, caption in VIEW_CAPTIONS.items():
        text, picture = files.get(f"{stem}.txt", b""), files.get(f"{stem}.png")
        if text.strip():
            found.append(Sampled(stem.capitalize(), caption, split_cells(text)))
            if not is_utf8(text):
                odd.append(
                    f"{SAMPLES}/{stem}.txt is not UTF-8; \ufffd stands for what cannot be read"
                )
        elif picture is None and f"{stem}.txt" in files:
            odd.append(f"{SAMPLES}/{stem}.txt is empty")
        elif picture is not None and is_png(picture):
            path = f"samples/{number}-{stem}.png"
            found.append(Sampled(stem.capitalize(), caption, [], path, picture))
        elif picture is not None:
            odd.append(
                f"{SAMPLES}/{stem}.png is no complete PNG of at most {MOST_SIDE:,} pixels a side; "
                "left out"
            )
    return found, odd


def split_cells(text: bytes) -> list[list[str]]:
    """Lines of cells that are safe to show, no more and no longer than a page can hold."""
    lines = text.decode("utf-8", errors="replace").rstrip("\n").split("\n", MOST_LINES)
    rows = [line.split("\t", MOST_CELLS)[:MOST_CELLS] for line in lines[:MOST_LINES]]
    return [[escape_invisible(cell[:MOST_CELL_TEXT]) for cell in row] for row in rows]


def is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
