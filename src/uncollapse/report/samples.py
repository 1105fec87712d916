"""Samples of runs (`scripts/evaluate.py --metrics samples`) as the page shows them."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from uncollapse.report.png import MOST_SIDE, is_png
from uncollapse.report.stats import by_group, finished
from uncollapse.report.text import escape_invisible
from uncollapse.runs.layout import SAMPLES_FOLDER

VIEW_CAPTIONS = {
    "prior": "Codes drawn from the prior, decoded by drawing each word or value at random, and by "
    "taking the most likely one.",
    "reconstructions": "Test examples; greedy decodings of their posterior means; and random "
    "decodings of codes drawn from their posteriors.",
    "interpolations": "Pairs of test examples, and greedy decodings of points on the straight line "
    "between their posterior means.",
    "neighbours": "Test examples, and the training examples with the nearest posterior means.",
    "responses": "Test contexts and their real responses; greedily decoded responses for three "
    "codes drawn from the prior, and for the posterior mean of the real response.",
    "traversal": "Greedy decodings of one test example's posterior mean, with one dimension moved "
    "to quantiles of the posterior means of the test examples.",
}
# of models that draw one pixel after the other, whose most likely image may be blank, `typical` is
# drawn (evaluation.decoding.Decoding.typical)
TYPICAL = (
    "the most likely value of every pixel or, if the model draws pixel after pixel, values drawn "
    "with common random numbers"
)
PICTURE_CAPTIONS = {
    "prior": "Codes drawn from the prior, decoded at random (left) and as typical images (right): "
    f"{TYPICAL}.",
    "reconstructions": "From the left: test examples; their posterior means, decoded as typical "
    f"images ({TYPICAL}); codes drawn from their posteriors, decoded at random.",
    "interpolations": "At both ends: test examples. Between them: points on the straight line "
    f"between their posterior means, decoded as typical images ({TYPICAL}).",
    "neighbours": "From the left: test examples, and the training examples with the nearest "
    "posterior means.",
    "traversal": "The posterior mean of one test example, decoded as typical images "
    f"({TYPICAL}), with one dimension moved to quantiles of the posterior means of the test "
    "examples, from low (left) to high. Each row moves another dimension: those that vary most.",
}
# lines of a view, cells of a line, characters of a cell
MOST_LINES, MOST_CELLS, MOST_CELL_TEXT = 200, 50, 2000


class Sampled(NamedTuple):
    """One view of one run: lines of cells, of which the first is the header, or a picture."""

    title: str
    caption: str
    lines: list[list[str]]
    picture: str = ""  # its path in the report
    data: bytes = b""


def all_samples(runs: pd.DataFrame, notes: list[str]) -> list[tuple[str, list[Sampled]]]:
    """The views of the first finished run of each group that has any; notes on damaged files are
    added to `notes`."""
    found: list[tuple[str, list[Sampled]]] = []
    for _, group in by_group(finished(runs)):
        # seeds in order, until one has samples
        for run in group[["saved", "folder", "group", "seed"]].to_dict("records"):
            views, odd = read_views(run["saved"].views(), len(found))
            notes += [f"{run['folder']}: {note}" for note in odd]
            if views:
                found.append((f"{run['group']}, seed {run['seed']}", views))
                break
    return found


def read_views(files: Mapping[str, bytes], number: int) -> tuple[list[Sampled], list[str]]:
    """The views of a run, which is the `number`-th on the page, and sentences on damaged files."""
    found, odd = [], []
    for stem, caption in VIEW_CAPTIONS.items():
        text, picture = files.get(f"{stem}.txt", b""), files.get(f"{stem}.png")
        # text first: a run has either text or pictures of a view
        if text.strip():
            found.append(Sampled(stem.capitalize(), caption, split_cells(text)))
            if not is_utf8(text):
                odd.append(
                    f"{SAMPLES_FOLDER}/{stem}.txt is not UTF-8; "
                    "\ufffd stands for what cannot be read"
                )
        elif picture is None and f"{stem}.txt" in files:
            odd.append(f"{SAMPLES_FOLDER}/{stem}.txt is empty")
        elif picture is not None and is_png(picture):
            path = f"samples/{number}-{stem}.png"
            caption = PICTURE_CAPTIONS.get(stem, caption)
            found.append(Sampled(stem.capitalize(), caption, [], path, picture))
        elif picture is not None:
            odd.append(
                f"{SAMPLES_FOLDER}/{stem}.png is not a complete PNG of at most {MOST_SIDE:,} "
                "pixels a side; left out"
            )
    return found, odd


def split_cells(text: bytes) -> list[list[str]]:
    """Lines of cells that are safe to show, limited in number and length."""
    # limited while splitting, so that a huge file is never split completely
    lines = text.decode("utf-8", errors="replace").rstrip("\n").split("\n", MOST_LINES)
    rows = [line.split("\t", MOST_CELLS)[:MOST_CELLS] for line in lines[:MOST_LINES]]
    return [[escape_invisible(cell[:MOST_CELL_TEXT]) for cell in row] for row in rows]


def is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
