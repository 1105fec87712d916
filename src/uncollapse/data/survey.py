"""The first pass over raw text: check every sentence, and count words, labels and lengths."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from uncollapse.data.block_passes import Passes
from uncollapse.data.blocks import Block, Source
from uncollapse.data.levels import Words
from uncollapse.data.tab_counts import TabCounts
from uncollapse.data.words import add_counts, count_words, find_kept, split_words
from uncollapse.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


MIN_SENTENCES = 20  # in a smaller split, labels are never refused as too many


@dataclass(frozen=True)
class Shape:
    """The options that shape the ids: bounds of vocabulary and length, and the token level."""

    vocab_size: int | None
    min_count: int
    max_length: int | None
    level: Words = field(default_factory=Words)


@dataclass
class Survey:
    """Counts of the first pass over a split.

    lengths: the number of sentences of each length. words, labels: tables of counts, of the
    training split only. tabs: counts of lines that look like label TAB text, where the user has
    not said whether they are.
    """

    lines: int = 0
    sentences: int = 0
    tokens: int = 0
    skipped: dict[str, int] = field(default_factory=lambda: {"empty": 0, "too_long": 0})
    lengths: Counter[int] = field(default_factory=Counter)
    words: "pa.Table | None" = None
    labels: "pa.Table | None" = None
    tabs: TabCounts | None = None


def survey_split(passes: Passes, source: Source, shape: Shape, split: str) -> Survey:
    """Check and count a split; count its words and labels, too, if it is the training split.

    InputError when no sentence is left.
    """
    # counts of all blocks, added up
    seen, words, labels = Survey(), Tally(), Tally()
    for part in passes.over(source, lambda block: survey_block(block, shape, split == "train")):
        for name in ("lines", "sentences", "tokens"):
            setattr(seen, name, getattr(seen, name) + getattr(part, name))
        seen.lengths += part.lengths
        seen.tabs = part.tabs if seen.tabs is None else seen.tabs.and_then(part.tabs)
        seen.skipped = {why: n + part.skipped[why] for why, n in seen.skipped.items()}
        words.add(part.words)
        labels.add(part.labels)
    # after the pass, since single blocks may well be empty
    if not seen.sentences:
        raise InputError(
            f"{source.where}: no sentence is left in the {split} split ({seen.lines} lines, "
            f"skipped: {seen.skipped})"
        )
    if seen.tabs is not None:
        seen.tabs.check(source)
    seen.words, seen.labels = words.total(), labels.total()
    check_classes(seen, source)
    return seen


def survey_block(block: Block, shape: Shape, counting: bool) -> Survey:
    """The survey of one block."""
    texts, labels = block.columns()
    units, offsets = shape.level.split(*split_words(texts))
    kept, skipped = find_kept(offsets, shape.max_length)
    # a histogram of the lengths, from which the median follows without keeping all lengths
    found, counts = np.unique(np.diff(offsets)[kept], return_counts=True)
    return Survey(
        len(kept),
        int(kept.sum()),
        int((found * counts).sum()),
        skipped,
        Counter(dict(zip(found.tolist(), counts.tolist(), strict=True))),
        shape.level.count(units) if counting else None,
        count_words(labels) if counting and labels is not None else None,
        block.tabs(texts),
    )


class Tally:
    """A sum of tables of counts.

    Tables are collected and summed once their rows outnumber those of the sum, so that the total
    work is linear in the number of rows.
    """

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self.rows = 0

    def add(self, table: "pa.Table | None") -> None:
        if table is None:
            return
        self.tables.append(table)
        self.rows += table.num_rows
        if self.rows > 2 * self.tables[0].num_rows and self.rows > 1 << 16:
            self.total()

    def total(self) -> "pa.Table | None":
        """The sum so far, or None."""
        if self.tables:
            self.tables = [add_counts(self.tables)]
            self.rows = self.tables[0].num_rows
        return self.tables[0] if self.tables else None


def check_classes(seen: Survey, source: Source) -> None:
    """InputError for labels that are nearly all different, which are no classes."""
    if seen.labels is None or source.classes is not None:
        return
    kinds = seen.labels.num_rows
    # more than half as many labels as sentences: an id, or the text itself
    if seen.sentences >= MIN_SENTENCES and 2 * kinds > seen.sentences:
        example = seen.labels["word"][0].as_py()[:40]
        raise InputError(
            f"{source.where}: {kinds:,} different labels for {seen.sentences:,} sentences (such as "
            f"{example}), so they are not "
            "classes; labels stand before the first TAB, or in data.label_column"
        )


def number_classes(
    labels: "pa.Table | None", given: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """The classes in the order of their numbers; None without labels.

    These are the classes `given` by the source, or else those of the training split: numbers by
    value, other labels in alphabetical order.
    """
    if labels is None or given is not None:
        return None if labels is None else given
    found = labels["word"].to_pylist()
    # "10" comes after "9" as a number, but not as text
    numbers = all(word.isascii() and word.isdigit() for word in found)
    return tuple(sorted(found, key=(lambda word: (int(word), word)) if numbers else None))
