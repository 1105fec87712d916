"""What the files of a study's heads say of them: idea, promise, paper and knobs."""

from dataclasses import dataclass, field

import pandas as pd

from uncollapse.config import heads
from uncollapse.config.descriptions import find_promise, read_header, read_knobs
from uncollapse.config.snippets import NO_SNIPPET, Snippet, write_snippet
from uncollapse.errors import InputError
from uncollapse.report.text import clean_text, write_symbols

MOST_DESCRIPTION = 2000  # characters of one comment
PARTS = {"Idea": "Idea", "Promise": "Promise", "Source": "Paper", "Note": "Note"}


@dataclass(frozen=True)
class Remedy:
    """A head as its file describes it; `missing` says why there is no description."""

    head: str
    label: str
    parts: dict[str, str] = field(default_factory=dict)  # title -> text
    knobs: list[tuple[str, str, str]] = field(default_factory=list)  # name, default, meaning
    missing: str = ""
    snippet: Snippet = NO_SNIPPET  # for a training loop of one's own

    def symbol_of(self, knob: str) -> str:
        """'τ' for 'tau'; '' for a knob that is not named after a symbol."""
        symbol = write_symbols(knob)
        return symbol if symbol != knob else ""


def describe_remedies(runs: pd.DataFrame) -> list[Remedy]:
    """The heads of a study in the order of figures, each with the label of its first group."""
    first = runs.sort_values("order").drop_duplicates("head")
    known = set(heads())
    return [
        describe_remedy(head, label, head in known)
        for head, label in zip(first["head"].tolist(), first["label"].tolist(), strict=True)
    ]


def describe_remedy(head: str, label: str, known: bool) -> Remedy:
    """One head. A run may come from anywhere, so only heads that are `known` are looked up."""
    if not known:
        where = "neither in this package nor in your own config folders and plugins"
        return Remedy(head, label, missing=f"No file describes this head: it is {where}.")
    try:
        header = {**read_header(head), "Promise": find_promise(head)}
        knobs, snippet = read_knobs(head), write_snippet(head)
    except (InputError, OSError, UnicodeDecodeError) as error:
        reason = clean_text(f"The file of this head cannot be read: {error}")
        return Remedy(head, label, missing=reason)
    parts = {
        title: write_symbols(clean_text(header[name], MOST_DESCRIPTION))
        for name, title in PARTS.items()
        if header.get(name)
    }
    shown = [
        (name, clean_text(str(default)), write_symbols(clean_text(meaning, MOST_DESCRIPTION)))
        for name, (default, meaning) in knobs.items()
    ]
    return Remedy(head, label, parts, shown, snippet=snippet)
