"""What runs wrote or drew (`scripts/evaluate.py --metrics samples`), for the page: one finished run of each group."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from .stats import by_group, finished

VIEWS = {
    "prior": "Codes of the prior, decoded by drawing each word or pixel, and by taking the likeliest.",
    "reconstructions": "Test examples; their posterior means decoded by the likeliest, and a code of the posterior by drawing.",
    "interpolations": "On the straight way between the posterior means of two test examples, decoded by the likeliest.",
    "neighbours": "Test examples, and the training examples whose posterior means are nearest.",
    "responses": "Test contexts and their responses; the likeliest words for three codes of the prior, and for the response's own code.",
    "traversal": "One test example's posterior mean with one dimension moved over the quantiles of all test examples' means.",
}


class Sampled(NamedTuple):
    """One view of one run: lines of text, the first of them the header, or a picture's path from the page."""

    title: str
    caption: str
    lines: list[list[str]]
    picture: str = ""


def all_samples(runs: pd.DataFrame, study: Path, report: Path) -> list[tuple[str, list[Sampled]]]:
    """(group, its views) of each group's first finished run that has some; pictures are copied into the report."""
    found: list[tuple[str, list[Sampled]]] = []
    for _, group in by_group(finished(runs)):
        for folder, name, seed in zip(group["folder"], group["group"], group["seed"], strict=True):
            run = study / folder if (study / folder).is_dir() else study  # a report of a single run
            views = [view for stem in VIEWS for view in read_view(run / "samples", stem, report, len(found))]
            if views:
                found.append((f"{name}, seed {seed}", views))
                break
    return found


def read_view(folder: Path, stem: str, report: Path, number: int) -> list[Sampled]:
    """A list of one, or none where the run has no such view."""
    title = stem.capitalize()
    text, picture = folder / f"{stem}.txt", folder / f"{stem}.png"
    if text.is_file():
        lines = [line.split("\t") for line in text.read_text(encoding="utf-8").splitlines()]
        return [Sampled(title, VIEWS[stem], lines)]
    if picture.is_file():
        (report / "samples").mkdir(exist_ok=True)
        copied = report / "samples" / f"{number}-{stem}.png"
        shutil.copyfile(picture, copied)
        return [Sampled(title, VIEWS[stem], [], copied.relative_to(report).as_posix())]
    return []
