"""Characters and bytes of sentences, whose words are separated by one space.

Word arrays are flat; `offsets` [N+1] says where each sentence begins and ends in them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from uncollapse.data.corpus import Corpus

if TYPE_CHECKING:
    import pyarrow as pa


def join_arrow_words(words: "pa.Array", offsets: np.ndarray) -> "pa.Array":
    """Sentences [N] as Arrow strings, one space between words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = pa.LargeListArray.from_arrays(pa.array(offsets), words)
    return pc.binary_join(lists, pa.scalar(" ", pa.large_string()))


def encode_utf8(words: "pa.Array", offsets: np.ndarray) -> tuple[bytes, np.ndarray]:
    """All sentences as one piece of UTF-8, one space between words, and their bounds [N+1]."""
    texts = join_arrow_words(words, offsets)
    _, ends, data = texts.buffers()
    # Arrow arrays may be views into a larger buffer
    bounds = (
        np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        if ends
        else np.zeros(1, int)
    )
    return (bytes(data)[bounds[0] : bounds[-1]] if data else b""), bounds - bounds[0]


def measure_sentences(words: "pa.Array", offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Characters and bytes of each sentence [N], one space between words."""
    import pyarrow.compute as pc

    lengths = (
        measure(words).to_numpy(zero_copy_only=False)
        for measure in (pc.utf8_length, pc.binary_length)
    )
    chars, size = (sum_lengths(found, offsets) for found in lengths)
    return chars, size


def measure_encoded_sentences(
    corpus: Corpus, vocabulary: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """As `measure_sentences`, for sentences whose words are all in the vocabulary."""
    chars, size = (
        np.array([len(word) for word in words])
        for words in (vocabulary, map(str.encode, vocabulary))
    )
    return sum_lengths(chars[corpus.tokens], corpus.offsets), sum_lengths(
        size[corpus.tokens], corpus.offsets
    )


def sum_lengths(lengths: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The length of each sentence [N]: its words, and one space between each two."""
    # the sum over a sentence is a difference of cumulative sums
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[offsets]
    return np.diff(ends) + np.maximum(np.diff(offsets) - 1, 0)
