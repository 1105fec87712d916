"""The built-in corpus: sentences of the English grammar, with exact entropy and likelihood."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from uncollapse.data.corpus import SPECIALS, Corpus
from uncollapse.data.sentence_sizes import measure_encoded_sentences
from uncollapse.data.text import SPLITS, TextData, check_batching
from uncollapse.errors import MAX_EXAMPLES, check_integer
from uncollapse.interfaces.data import DataConfig


@dataclass(kw_only=True)
class GrammarConfig(DataConfig):
    """Sentences per split, drawn by data_seed; the seed of the run does not change them."""

    kind: ClassVar[str] = "text"
    train: int
    valid: int
    test: int
    data_seed: int
    batch_size: int
    batching: str

    def load(self) -> TextData:
        from uncollapse.data.english import english

        check_batching(self.batch_size, self.batching)
        check_integer("data.data_seed", self.data_seed, 0)
        grammar = english()
        vocabulary = (*SPECIALS, *grammar.words)
        corpora, labels, log_prob = {}, {}, {}
        for number, split in enumerate(SPLITS):
            size = check_integer(f"data.{split}", getattr(self, split), 1, MAX_EXAMPLES)
            # a seed of its own for each split: validation sentences do not depend on the size of
            # train
            drawn = grammar.sample(size, seed=len(SPLITS) * self.data_seed + number)
            corpus = Corpus((drawn.tokens + len(SPECIALS)).astype(np.int32), drawn.offsets)
            corpora[split] = Corpus(
                corpus.tokens, corpus.offsets, *measure_encoded_sentences(corpus, vocabulary)
            )
            labels[split] = dict(zip(grammar.factors, drawn.factors.T, strict=True))
            # the training split does not need it, and it is the largest
            if split != "train":
                log_prob[split] = grammar.log_prob(drawn.tokens, drawn.offsets)

        def best_accuracy(split: str) -> dict[str, float]:
            tokens = corpora[split].tokens - len(SPECIALS)
            posterior = grammar.factor_posterior(tokens, corpora[split].offsets)
            return {name: float(p.max(1).mean()) for name, p in posterior.items()}

        return TextData(
            corpora,
            vocabulary,
            self.batch_size,
            self.batching,
            entropy=grammar.entropy(),
            log_prob=log_prob,
            labels=labels,
            best_accuracy=best_accuracy,
            exact_log_prob=lambda corpus: grammar.log_prob(
                corpus.tokens - len(SPECIALS), corpus.offsets
            ),
        )
