"""Generated text of a given shape: gamma-distributed sentence lengths, words by Zipf's law."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uncollapse.data import SPLITS
from uncollapse.data.corpus import SPECIALS, Corpus
from uncollapse.data.text import TextData


@dataclass(frozen=True)
class TextShape:
    """The size of the vocabulary, and how long sentences are, in words."""

    vocabulary: int
    mean: float
    spread: float  # standard deviation
    shortest: int
    longest: int


def generate_text(shape: TextShape, sentences: int = 4000) -> TextData:
    """Such sentences, the same ones in every split."""
    corpora = dict.fromkeys(SPLITS, generate_corpus(shape, sentences))
    vocabulary = tuple(f"w{i}" for i in range(shape.vocabulary))
    return TextData(corpora, vocabulary, batch_size=32)


def generate_corpus(shape: TextShape, sentences: int, seed: int = 0) -> Corpus:
    """Token ids of such sentences; the same for the same seed."""
    rng = np.random.default_rng(seed)
    # a gamma distribution with shape k and scale s has the mean k s and the variance k s^2
    squared, scale = (shape.mean / shape.spread) ** 2, shape.spread**2 / shape.mean
    drawn = rng.gamma(squared, scale, sentences).round().astype(int)
    lengths = drawn.clip(shape.shortest, shape.longest)
    # log-uniform ranks have the frequencies of Zipf's law
    ranks = (shape.vocabulary - len(SPECIALS)) ** rng.random(lengths.sum())
    tokens = (len(SPECIALS) - 1 + ranks).astype(np.int32)
    return Corpus(tokens, np.concatenate([[0], np.cumsum(lengths)]))


def write_sentences(path: Path, shape: TextShape, count: int, block: int = 100_000) -> None:
    """A file of `count` sentences, one a line, written block by block."""
    import pyarrow as pa
    import pyarrow.compute as pc

    vocabulary = pa.array([f"word{i}" for i in range(shape.vocabulary)])
    with path.open("wb") as file:
        # in blocks, as ten million sentences would not fit in memory as Python strings
        for start in range(0, count, block):
            corpus = generate_corpus(shape, min(block, count - start), seed=start)
            # Arrow joins the words of a sentence without making a Python string of each word
            words = vocabulary.take(pa.array(corpus.tokens.astype(np.int64)))
            offsets = pa.array(corpus.offsets.astype(np.int32))
            lines = pc.binary_join(pa.ListArray.from_arrays(offsets, words), " ")
            file.write(("\n".join(lines.to_pylist()) + "\n").encode())
