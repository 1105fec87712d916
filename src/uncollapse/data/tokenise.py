"""From sources of raw text to integer arrays on disk, in two passes over blocks.

The first pass checks everything and counts the words of the training split. The vocabulary is
made, and the second pass writes the ids. Memory holds some blocks and the distinct words, never a
corpus. All cores share the work, and the result depends neither on blocks nor on workers.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.data.block_passes import Passes, count_cores, show_progress
from uncollapse.data.blocks import BLOCK_BYTES, Block, Source
from uncollapse.data.corpus import UNK
from uncollapse.data.levels import Words, measure_sentences
from uncollapse.data.profile import make_profile
from uncollapse.data.tab_counts import TabCounts
from uncollapse.data.text import SPLITS
from uncollapse.data.words import (
    add_counts,
    count_words,
    find_kept,
    select_sentences,
    split_words,
    token_type,
)
from uncollapse.errors import InputError

MIN_SENTENCES = 20  # below this number, labels are never called too many


@dataclass(frozen=True)
class Shape:
    """The options that shape the ids: bounds of vocabulary and length, and the token level."""

    vocab_size: int | None
    min_count: int
    max_length: int | None
    level: Words = field(default_factory=Words)


@dataclass
class Survey:
    """The findings of the first pass about a split.

    lengths: sentences of each length. words, labels: tables of counts, where needed. tabs: lines
    that look like label TAB text, where the user has not said.
    """

    lines: int = 0
    sentences: int = 0
    tokens: int = 0
    skipped: dict[str, int] = field(default_factory=lambda: {"empty": 0, "too_long": 0})
    lengths: Counter[int] = field(default_factory=Counter)
    words: Any = None
    labels: Any = None
    tabs: TabCounts | None = None


def tokenise(
    sources: Mapping[str, Source],
    shape: Shape,
    folder: Path,
    workers: int | None = None,
    block: int = BLOCK_BYTES,
) -> dict:
    """Write <split>-{tokens,offsets,chars,bytes[,labels]}.npy into `folder`.

    Returns vocabulary, skipped, classes (or None) and profiles. InputError for a fault of a source,
    for a split without any sentence left, and for a label that the training split does not have.
    """
    start, workers = time.perf_counter(), workers or count_cores()
    total = 2 * sum(source.size for source in sources.values())
    with ThreadPoolExecutor(workers) as pool, show_progress(total) as advance:
        passes = Passes(pool, 2 * workers, block, advance)
        # the training split last: faults of the others are found before the long work
        seen = {split: survey(passes, sources[split], shape, split) for split in reversed(SPLITS)}
        vocabulary = shape.level.vocabulary(seen["train"].words, shape.vocab_size, shape.min_count)
        classes = number_classes(seen["train"].labels, sources["train"].classes)
        unknown = {
            split: write_split(
                passes, sources[split], shape, folder / split, seen[split], vocabulary, classes
            )
            for split in SPLITS
        }
    sentences, tokens = (
        sum(getattr(part, name) for part in seen.values()) for name in ("sentences", "tokens")
    )
    seconds, unit = time.perf_counter() - start, shape.level.unit
    print(
        f"tokenised {sentences:,} sentences of {tokens:,} {unit} in {seconds:.1f} s on {workers} "
        "cores",
        flush=True,
    )
    return {
        "vocabulary": vocabulary,
        "skipped": {split: seen[split].skipped for split in SPLITS},
        "classes": classes,
        "profiles": {split: make_profile(unknown[split], seen[split].lengths) for split in SPLITS},
    }


# ---------------------------------------------------------------- first pass


def survey(passes: Passes, source: Source, shape: Shape, split: str) -> Survey:
    """Check and count a split; count its words, too, if it is the training split.

    InputError when no sentence is left.
    """
    seen, words, labels = Survey(), Tally(), Tally()
    for part in passes.over(source, lambda block: survey_block(block, shape, split == "train")):
        for name in ("lines", "sentences", "tokens"):
            setattr(seen, name, getattr(seen, name) + getattr(part, name))
        seen.lengths += part.lengths
        seen.tabs = part.tabs if seen.tabs is None else seen.tabs.and_then(part.tabs)
        seen.skipped = {why: n + part.skipped[why] for why, n in seen.skipped.items()}
        words.add(part.words)
        labels.add(part.labels)
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
    """A sum of tables of counts, summed whenever the new rows outnumber the sum: linear time."""

    def __init__(self) -> None:
        self.tables: list[Any] = []
        self.rows = 0

    def add(self, table: Any) -> None:
        if table is None:
            return
        self.tables.append(table)
        self.rows += table.num_rows
        if self.rows > 2 * self.tables[0].num_rows and self.rows > 1 << 16:
            self.total()

    def total(self) -> Any:
        """The sum so far, or None."""
        if self.tables:
            self.tables = [add_counts(self.tables)]
            self.rows = self.tables[0].num_rows
        return self.tables[0] if self.tables else None


def check_classes(seen: Survey, source: Source) -> None:
    """InputError for labels that are nearly all different, which are no classes."""
    kinds = 0 if seen.labels is None else seen.labels.num_rows
    if source.classes is None and seen.sentences >= MIN_SENTENCES and 2 * kinds > seen.sentences:
        example = seen.labels["word"][0].as_py()[:40]
        raise InputError(
            f"{source.where}: {kinds:,} different labels for {seen.sentences:,} sentences (such as "
            f"{example}), so they are no "
            "classes; labels stand before the first TAB, or in data.label_column"
        )


def number_classes(labels: Any, known: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The classes by number.

    Those of the source if it has any, else those of the training split: numbers by value, other
    labels in alphabetical order.
    """
    if labels is None or known is not None:
        return None if labels is None else known
    found = labels["word"].to_pylist()
    numbers = all(word.isascii() and word.isdigit() for word in found)
    return tuple(sorted(found, key=(lambda word: (int(word), word)) if numbers else None))


# ---------------------------------------------------------------- second pass


def write_split(
    passes: Passes,
    source: Source,
    shape: Shape,
    stem: Path,
    seen: Survey,
    vocabulary: tuple[str, ...],
    classes: tuple[str, ...] | None,
) -> int:
    """Append the arrays of a split, block by block, to files of the surveyed sizes.

    Returns the number of unknown tokens.
    """
    import pyarrow as pa

    encoder = shape.level.encoder(vocabulary)
    names = None if classes is None else pa.array(classes, pa.large_string())
    files: dict[str, tuple[int, type]] = dict.fromkeys(
        ("chars", "bytes"), (seen.sentences, np.int32)
    )
    files |= {
        "tokens": (seen.tokens, token_type(len(vocabulary))),
        "offsets": (seen.sentences + 1, np.int64),
    }
    if names is not None:
        files["labels"] = (seen.sentences, np.int32)
    done = unknown = 0
    with open_arrays(stem, files) as append:
        append("offsets", np.zeros(1))
        for columns in passes.over(
            source, lambda block: encode_block(block, source, shape, encoder, names)
        ):
            ends = columns.pop("offsets")
            append("offsets", done + ends)
            done += int(ends[-1]) if len(ends) else 0
            unknown += int((columns["tokens"] == UNK).sum())
            for name, values in columns.items():
                append(name, values)
    return unknown


def encode_block(
    block: Block, source: Source, shape: Shape, encoder: Callable[[Any], np.ndarray], names: Any
) -> dict[str, np.ndarray]:
    """The columns of the kept sentences, by name.

    tokens [total], offsets (their ends) [n], chars and bytes [n], and labels [n] if there are any.
    """
    import pyarrow.compute as pc

    texts, labels = block.columns()
    words = split_words(texts)
    units, offsets = shape.level.split(*words)
    kept, _ = find_kept(offsets, shape.max_length)
    corpus = select_sentences(encoder(units), offsets, kept)
    chars, size = measure_sentences(*words)
    columns = {
        "tokens": corpus.tokens,
        "offsets": corpus.offsets[1:],
        "chars": chars[kept],
        "bytes": size[kept],
    }
    if names is not None:
        found = pc.index_in(labels, value_set=names)
        if found.null_count:
            first = int(np.argmax(pc.is_null(found).to_numpy(zero_copy_only=False)))
            allowed = names.to_pylist() if len(names) <= 20 else [*names[:20].to_pylist(), "..."]
            raise InputError(
                f"{source.place(block.first + first)}: label {labels[first]}, which no line of the "
                "training split has; "
                f"those are {', '.join(allowed)}"
            )
        columns["labels"] = found.to_numpy(zero_copy_only=False)[kept]
    return columns


@contextmanager
def open_arrays(
    stem: Path, files: Mapping[str, tuple[int, type]]
) -> Iterator[Callable[[str, np.ndarray], None]]:
    """Files <stem>-<name>.npy of known length and type, to append to.

    InputError unless all of them are filled.
    """
    opened = {name: stem.with_name(f"{stem.name}-{name}.npy").open("wb") for name in files}
    left = {name: length for name, (length, _) in files.items()}
    try:
        for name, (length, kind) in files.items():
            header = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(kind)),
                "fortran_order": False,
                "shape": (length,),
            }
            np.lib.format.write_array_header_1_0(opened[name], header)

        def append(name: str, values: np.ndarray) -> None:
            opened[name].write(np.ascontiguousarray(values, dtype=files[name][1]).data)
            left[name] -= len(values)

        yield append
    finally:
        for file in opened.values():
            file.close()
    if any(left.values()):
        raise InputError(
            f"the {stem.name} split changed while it was being read; give the same command again"
        )
