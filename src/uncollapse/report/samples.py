"""What runs wrote or drew (`scripts/evaluate.py --metrics samples`), for the page: one finished run of each group."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

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


MOST_LINES, MOST_TEXT = 200, 2000  # of a view; characters of a cell


class Sampled(NamedTuple):
    """One view of one run: lines of text, the first of them the header, or a picture and its path from the page."""

    title: str
    caption: str
    lines: list[list[str]]
    picture: str = ""
    data: bytes = b""


def all_samples(runs: pd.DataFrame) -> list[tuple[str, list[Sampled]]]:
    """(group, its views) of each group's first finished run that has some."""
    found: list[tuple[str, list[Sampled]]] = []
    for _, group in by_group(finished(runs)):
        for saved, name, seed in zip(group["saved"], group["group"], group["seed"], strict=True):
            files = saved.views()
            views = [view for stem in VIEWS for view in read_view(files, stem, len(found))]
            if views:
                found.append((f"{name}, seed {seed}", views))
                break
    return found


def read_view(files: Mapping[str, bytes], stem: str, number: int) -> list[Sampled]:
    """A list of one, or none where the run has no such view."""
    title = stem.capitalize()
    text, picture = files.get(f"{stem}.txt"), files.get(f"{stem}.png")
    if text:
        lines = text.decode("utf-8", errors="replace").rstrip("\n").split("\n")[:MOST_LINES]
        cells = [[visible(cell[:MOST_TEXT]) for cell in line.split("\t")] for line in lines]
        return [Sampled(title, VIEWS[stem], cells)]
    if picture:
        return [Sampled(title, VIEWS[stem], [], f"samples/{number}-{stem}.png", picture)]
    return []
