"""Text as the trainer sees it: splits of integer sentences, a vocabulary, batches; and how raw sentences become that.

Tokenising is splitting at white space, done column-wise by Arrow: no Python per token.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from uncollapse.checkpoint import write_whole
from uncollapse.data import SPLITS as SPLITS
from uncollapse.data.batches import BATCHING, epoch_batches
from uncollapse.data.corpus import SPECIALS, UNK, Corpus, TextBatch, make_batch
from uncollapse.errors import InputError, one_of, whole

UNKNOWN = (SPECIALS[UNK], "_UNK")  # words that files of published sets hold in place of rare ones


@dataclass(frozen=True)
class TextData:
    """Everything a run needs of its data. Where they are known: `entropy` (nats per sentence), `log_prob` (split -> log p(x), [N]),
    `labels` (split -> name -> class numbers [N]), `classes` (name -> what these numbers stand for), and `best_accuracy` (split -> name ->
    what the ideal classifier of x reaches). `exact_log_prob` gives log p(x) of any sentences, [N], -inf for impossible ones."""

    corpora: Mapping[str, Corpus]
    vocabulary: tuple[str, ...]
    batch_size: int
    batching: str = "mixed"
    skipped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    entropy: float | None = None
    log_prob: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    best_accuracy: Callable[[str], dict[str, float]] | None = None
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exact_log_prob: Callable[[Corpus], np.ndarray] | None = None

    @property
    def inputs(self) -> int:
        """What a model must know of its data: the size of the vocabulary."""
        return len(self.vocabulary)

    def size(self, split: str) -> int:
        return len(self.corpora[split])

    def lengths(self, split: str) -> np.ndarray:
        """Words per sentence, [N]."""
        return self.corpora[split].lengths

    def batches(
        self, split: str, seed: int, epoch: int, size: int | None = None, batching: str | None = None
    ) -> Sequence[np.ndarray]:
        """The index arrays of one pass over a split, in an order that depends on (seed, epoch) alone."""
        policy = batching or self.batching
        # only one policy looks at the lengths, which are 80 MB for ten million sentences
        lengths = self.lengths(split) if policy == "by_length" else np.broadcast_to(0, self.size(split))
        return epoch_batches(lengths, size or self.batch_size, policy, seed, epoch)

    def batch(self, split: str, examples: np.ndarray, epoch: int = 0) -> TextBatch:
        """These examples; the same in every epoch."""
        return make_batch(self.corpora[split], examples)

    def facts(self) -> dict:
        """What the report says about the data: sizes, words per sentence, what was skipped, what is known exactly."""
        return {
            "vocab": len(self.vocabulary),
            **{split: len(corpus) for split, corpus in self.corpora.items()},
            "words_per_sentence": {split: corpus.words_per_sentence for split, corpus in self.corpora.items()},
            "skipped": {split: dict(counts) for split, counts in self.skipped.items()},
            **({"classes": {name: list(names) for name, names in self.classes.items()}} if self.classes else {}),
            "entropy": self.entropy,
            "oracle_nll": {split: -float(values.mean()) for split, values in self.log_prob.items()} or None,
        }

    def save(self, folder: Path) -> None:
        """Write data.json and vocabulary.txt (one word a line, line number = id) into a run folder."""
        write_whole(folder / "vocabulary.txt", ("\n".join(self.vocabulary) + "\n").encode())
        write_whole(folder / "data.json", (json.dumps(self.facts(), indent=1) + "\n").encode())


def check_batching(batch_size: object, batching: str) -> None:
    """InputError unless batch_size is a whole number >= 1 and batching a known policy."""
    whole("data.batch_size", batch_size, 1)
    one_of("data.batching", batching, BATCHING)


def separated(texts):
    """Raw text [N] -> lower case, punctuation set apart by spaces, contractions cut as the Penn Treebank cuts them (do n't, it 's).

    Points and commas between digits stay; line breaks written as \\n or <br /> become spaces. A plain rule, not NLTK's tokeniser.
    """
    import pyarrow.compute as pc

    texts = pc.utf8_lower(texts)
    for pattern, by in SEPARATIONS:
        texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=by)
    return texts


SEPARATIONS = (
    (r"\\n|<br\s*/?>", " "),
    ("[’‘]", "'"),
    (r"([^\pL\pM\pN\s'.,_-])", r" \1 "),
    (r"([.,])([^\d]|$)", r" \1 \2"),
    (r"(^|[^\d])([.,])", r"\1 \2 "),
    (r"(^|\s)(['-]+)", r"\1\2 "),
    (r"(['-]+)(\s|$)", r" \1\2"),
    (r"(n't|'(?:s|m|d|re|ve|ll))(\s|$)", r" \1\2"),
)


def split_words(texts):
    """Arrow strings [N] -> (words flat, offsets [N+1]). Empty and missing sentences give no words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    texts = pc.utf8_trim_whitespace(pc.fill_null(texts.cast(pa.large_string()), ""))
    lists = pc.utf8_split_whitespace(texts)
    counts = pc.if_else(pc.equal(pc.utf8_length(texts), 0), 0, pc.list_value_length(lists)).to_numpy(
        zero_copy_only=False
    )
    words = lists.flatten()
    if (counts == 0).any():
        words = words.filter(pc.not_equal(words, ""))
    return words, np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def count_words(words):
    """Arrow strings -> a table of the different ones: `word`, and `count` of each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counted = pc.value_counts(words)
    return pa.table({"word": counted.field("values").cast(pa.large_string()), "count": counted.field("counts")})


def add_counts(tables: Sequence):
    """Several tables of counts as one."""
    import pyarrow as pa

    summed = pa.concat_tables(tables).group_by("word").aggregate([("count", "sum")])
    return pa.table({"word": summed["word"], "count": summed["count_sum"]})


def build_vocabulary(counts, limit: int | None, min_count: int) -> tuple[str, ...]:
    """The reserved words, then the words of the training part by falling count (ties in alphabetical order).

    `limit` bounds the whole vocabulary. InputError when nothing but reserved words is left.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rare = pc.less(counts["count"], min_count)
    counts = counts.filter(
        pc.invert(pc.or_(rare, pc.is_in(counts["word"], value_set=pa.array(UNKNOWN, pa.large_string()))))
    )
    ordered = counts.sort_by([("count", "descending"), ("word", "ascending")])
    kept = ordered["word"].slice(0, None if limit is None else max(0, limit - len(SPECIALS)))
    if not len(kept):
        raise InputError(
            f"data.vocab_size={limit} data.min_count={min_count}: no word of the training part is left but {SPECIALS[UNK]}; "
            f"allowed is a vocab_size above {len(SPECIALS)} and a min_count that some word reaches"
        )
    return (*SPECIALS, *kept.to_pylist())


def token_type(vocabulary: int) -> type:
    """The smallest integer type for ids below `vocabulary`."""
    return np.uint16 if vocabulary <= 2**16 else np.int32


def encode(words, vocabulary: Sequence[str]) -> np.ndarray:
    """Words -> ids [total] of token_type; words outside the vocabulary become <unk>. `vocabulary` may be an Arrow array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = vocabulary if isinstance(vocabulary, pa.Array) else pa.array(vocabulary, pa.large_string())
    # the reserved ones are no words of a text
    ids = pc.index_in(words, value_set=known[len(SPECIALS) :])
    ids = pc.fill_null(pc.add(ids, len(SPECIALS)), UNK)
    return ids.to_numpy(zero_copy_only=False).astype(token_type(len(known)))


def keep(offsets: np.ndarray, max_length: int | None) -> tuple[np.ndarray, dict[str, int]]:
    """Which sentences stay [N] bool, and how many were passed over for being empty or longer than max_length words."""
    lengths = np.diff(offsets)
    empty = lengths == 0
    long = np.zeros_like(empty) if max_length is None else lengths > max_length
    return ~(empty | long), {"empty": int(empty.sum()), "too_long": int(long.sum())}


def select(tokens: np.ndarray, offsets: np.ndarray, kept: np.ndarray) -> Corpus:
    """The kept sentences as a corpus."""
    if kept.all():
        return Corpus(tokens, offsets)
    lengths = np.diff(offsets)
    return Corpus(tokens[np.repeat(kept, lengths)], np.concatenate([[0], np.cumsum(lengths[kept])]))
