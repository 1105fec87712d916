"""From sentences to words, counts and ids, by operations on Arrow arrays, not on each token."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from uncollapse.data.corpus import SPECIALS, UNK, Corpus
from uncollapse.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


# published files contain these in place of rare words
UNKNOWN_WORDS = (SPECIALS[UNK], "_UNK")


def separate_tokens(texts: "pa.Array") -> "pa.Array":
    r"""Raw text [N] -> lower case, punctuation separated by spaces.

    Contractions are cut as in the Penn Treebank (do n't, it 's). Points and commas between digits
    stay. Line breaks written as \n or <br /> become spaces. Simple rules, not NLTK's tokeniser.
    """
    import pyarrow.compute as pc

    texts = pc.utf8_lower(texts)
    for pattern, by in SEPARATIONS:
        texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=by)
    return texts


# (pattern, replacement), applied in this order
SEPARATIONS = (
    # line breaks as reviews on the web write them
    (r"\\n|<br\s*/?>", " "),
    # typographic apostrophes, so that contractions match below
    ("[’‘]", "'"),
    # all other punctuation becomes a word
    (r"([^\pL\pM\pN\s'.,_-])", r" \1 "),
    # a point or comma before anything but a digit, then after anything but a digit
    (r"([.,])([^\d]|$)", r" \1 \2"),
    (r"(^|[^\d])([.,])", r"\1 \2 "),
    # apostrophes and hyphens at the edge of a word, but not inside it
    (r"(^|\s)(['-]+)", r"\1\2 "),
    (r"(['-]+)(\s|$)", r" \1\2"),
    # contractions
    (r"(n't|'(?:s|m|d|re|ve|ll))(\s|$)", r" \1\2"),
)


def split_words(texts: "pa.Array | pa.ChunkedArray") -> tuple["pa.Array", np.ndarray]:
    """Arrow strings [N] -> (words flat, offsets [N+1]). Empty and null texts give no words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    texts = pc.utf8_trim_whitespace(pc.fill_null(texts.cast(pa.large_string()), ""))
    lists = pc.utf8_split_whitespace(texts)
    counts = pc.if_else(
        pc.equal(pc.utf8_length(texts), 0), 0, pc.list_value_length(lists)
    ).to_numpy(zero_copy_only=False)
    words = lists.flatten()
    # the empty string splits into one empty word, which must not become a token
    if (counts == 0).any():
        words = words.filter(pc.not_equal(words, ""))
    return words, np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def count_words(words: "pa.Array") -> "pa.Table":
    """Arrow strings -> a table of the distinct ones: `word`, and `count` of each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counted = pc.value_counts(words)
    return pa.table(
        {"word": counted.field("values").cast(pa.large_string()), "count": counted.field("counts")}
    )


def add_counts(tables: Sequence["pa.Table"]) -> "pa.Table":
    """The sum of several tables of counts."""
    import pyarrow as pa

    summed = pa.concat_tables(tables).group_by("word").aggregate([("count", "sum")])
    return pa.table({"word": summed["word"], "count": summed["count_sum"]})


def build_vocabulary(counts: "pa.Table", limit: int | None, min_count: int) -> tuple[str, ...]:
    """The reserved words, then the training words by decreasing count, ties in alphabetical order.

    `limit` bounds the complete vocabulary. InputError when only reserved words are left.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    # both conditions in one filter, as tables of counts may have millions of rows
    rare = pc.less(counts["count"], min_count)
    counts = counts.filter(
        pc.invert(
            pc.or_(
                rare, pc.is_in(counts["word"], value_set=pa.array(UNKNOWN_WORDS, pa.large_string()))
            )
        )
    )
    ordered = counts.sort_by([("count", "descending"), ("word", "ascending")])
    # the slice after sorting drops the rarest words
    kept = ordered["word"].slice(0, None if limit is None else max(0, limit - len(SPECIALS)))
    if not len(kept):
        raise InputError(
            f"data.vocab_size={limit} data.min_count={min_count}: no word of the training split is "
            f"left but {SPECIALS[UNK]}; "
            f"allowed is a vocab_size above {len(SPECIALS)} and a min_count that some word reaches"
        )
    return (*SPECIALS, *kept.to_pylist())


def token_type(vocabulary: int) -> type:
    """The smallest integer type for ids below `vocabulary`."""
    # uint16 halves the size of most corpora on disk and in memory
    return np.uint16 if vocabulary <= 2**16 else np.int32


def encode_words(words: "pa.Array", vocabulary: "Sequence[str] | pa.Array") -> np.ndarray:
    """Words -> ids [total] of token_type; unknown words become <unk>.

    `vocabulary` may be an Arrow array.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    entries = (
        vocabulary if isinstance(vocabulary, pa.Array) else pa.array(vocabulary, pa.large_string())
    )
    # a word of a text that is spelt like a reserved entry is unknown
    ids = pc.index_in(words, value_set=entries[len(SPECIALS) :])
    ids = pc.fill_null(pc.add(ids, len(SPECIALS)), UNK)
    return ids.to_numpy(zero_copy_only=False).astype(token_type(len(entries)))


def find_kept(offsets: np.ndarray, max_length: int | None) -> tuple[np.ndarray, dict[str, int]]:
    """Which sentences are kept [N] bool, and counts of those empty or longer than max_length."""
    lengths = np.diff(offsets)
    empty = lengths == 0
    long = np.zeros_like(empty) if max_length is None else lengths > max_length
    return ~(empty | long), {"empty": int(empty.sum()), "too_long": int(long.sum())}


def select_sentences(tokens: np.ndarray, offsets: np.ndarray, kept: np.ndarray) -> Corpus:
    """The kept sentences as a corpus."""
    # the usual case, which needs no copy
    if kept.all():
        return Corpus(tokens, offsets)
    lengths = np.diff(offsets)
    return Corpus(tokens[np.repeat(kept, lengths)], np.concatenate([[0], np.cumsum(lengths[kept])]))
