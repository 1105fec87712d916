"""From sources of raw text to integer arrays on disk, in two passes over blocks.

The first pass checks everything and counts the words of the training split. The vocabulary is
made, and the second pass writes the ids. Memory holds some blocks and the distinct words, never a
corpus. All cores share the work, and the result depends neither on blocks nor on workers.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uncollapse.data.block_passes import Passes, show_block_progress
from uncollapse.data.blocks import BLOCK_BYTES, Block, Source
from uncollapse.data.corpus import UNK
from uncollapse.data.levels import Encoder
from uncollapse.data.profile import make_profile
from uncollapse.data.sentence_sizes import measure_sentences
from uncollapse.data.survey import Shape, Survey, number_classes, survey_split
from uncollapse.data.text import SPLITS
from uncollapse.data.words import (
    find_kept,
    select_sentences,
    split_words,
    token_type,
)
from uncollapse.device import count_available_cores
from uncollapse.errors import InputError
from uncollapse.json_types import JsonObject

if TYPE_CHECKING:
    import pyarrow as pa


def tokenise(
    sources: Mapping[str, Source],
    shape: Shape,
    folder: Path,
    workers: int | None = None,
    block: int = BLOCK_BYTES,
) -> JsonObject:
    """Write <split>-{tokens,offsets,chars,bytes[,labels]}.npy into `folder`.

    Returns vocabulary, skipped, classes (or None) and profiles. InputError for a fault of a source,
    for a split with no sentence left, and for a label that the training split does not have.
    """
    start, workers = time.perf_counter(), workers or count_available_cores()
    # each source is read twice
    total = 2 * sum(source.size for source in sources.values())
    with ThreadPoolExecutor(workers) as pool, show_block_progress(total) as advance:
        # a few blocks ahead per worker, so that no worker waits for the slowest block
        passes = Passes(pool, 2 * workers, block, advance)
        # the training split last, so that faults of the small splits are found early
        seen = {
            split: survey_split(passes, sources[split], shape, split) for split in reversed(SPLITS)
        }
        # the vocabulary and the classes are those of the training split alone
        vocabulary = shape.level.vocabulary(seen["train"].words, shape.vocab_size, shape.min_count)
        classes = number_classes(seen["train"].labels, sources["train"].classes)
        unknown = {
            split: write_split(
                passes, sources[split], shape, folder / split, seen[split], vocabulary, classes
            )
            for split in SPLITS
        }
    print_speed(seen, shape.level.unit, time.perf_counter() - start, workers)
    return {
        "vocabulary": vocabulary,
        "skipped": {split: seen[split].skipped for split in SPLITS},
        "classes": classes,
        "profiles": {split: make_profile(unknown[split], seen[split].lengths) for split in SPLITS},
    }


def print_speed(seen: Mapping[str, Survey], unit: str, seconds: float, workers: int) -> None:
    """Print how much was tokenised, and how fast."""
    sentences = sum(part.sentences for part in seen.values())
    tokens = sum(part.tokens for part in seen.values())
    print(
        f"tokenised {sentences:,} sentences of {tokens:,} {unit} in {seconds:.1f} s on {workers} "
        "cores",
        flush=True,
    )


def write_split(
    passes: Passes,
    source: Source,
    shape: Shape,
    stem: Path,
    seen: Survey,
    vocabulary: tuple[str, ...],
    classes: tuple[str, ...] | None,
) -> int:
    """Write the arrays of a split, block by block; their sizes are known from the survey.

    Returns the number of unknown tokens.
    """
    import pyarrow as pa

    encoder = shape.level.encoder(vocabulary)
    names = None if classes is None else pa.array(classes, pa.large_string())
    files: dict[str, tuple[int, type]] = dict.fromkeys(
        ("chars", "bytes"), (seen.sentences, np.int32)
    )
    # the types are fixed before writing, so that files can be mapped as they are
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
            # offsets of a block are relative to it; `done` is the number of tokens before it
            append("offsets", done + ends)
            done += int(ends[-1]) if len(ends) else 0
            unknown += int((columns["tokens"] == UNK).sum())
            for name, values in columns.items():
                append(name, values)
    return unknown


def encode_block(
    block: Block, source: Source, shape: Shape, encoder: Encoder, names: "pa.Array | None"
) -> dict[str, np.ndarray]:
    """The columns of the kept sentences, by name.

    tokens [total], offsets (their ends) [n], chars and bytes [n], and labels [n] if there are any.
    """
    import pyarrow.compute as pc

    texts, labels = block.columns()
    # words first at every level, so that characters and bytes are counted in the same way
    words = split_words(texts)
    units, offsets = shape.level.split(*words)
    # lengths are counted in tokens of the level, not in words
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
        assert labels is not None  # all splits have labels, or none has
        # null where a label is not among the names
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
    # a source that shrank or grew between the two passes
    if any(left.values()):
        raise InputError(
            f"the {stem.name} split changed while it was being read; give the same command again"
        )
