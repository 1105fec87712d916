"""The built-in corpus: sentences drawn from the English grammar, whose exact entropy and log-likelihood are known."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from uncollapse.data.corpus import SPECIALS, Corpus
from uncollapse.data.levels import sizes_of
from uncollapse.data.text import SPLITS, TextData, check_batching
from uncollapse.errors import MOST_EXAMPLES, check_integer
from uncollapse.interfaces.data import DataConfig


@dataclass
class GrammarConfig(DataConfig):
    """Sentences per split and the seed they are drawn from; the run's own seed does not change the data."""

    kind: ClassVar[str] = "text"
    train: int = 20_000
    valid: int = 2_000
    test: int = 2_000
    data_seed: int = 0
    batch_size: int = 64
    batching: str = "mixed"

    def load(self) -> TextData:
        from uncollapse.data.english import english

        check_batching(self.batch_size, self.batching)
        check_integer("data.data_seed", self.data_seed, 0)
        grammar = english()
        vocabulary = (*SPECIALS, *grammar.words)
        corpora, labels, log_prob = {}, {}, {}
        for number, split in enumerate(SPLITS):
            size = check_integer(f"data.{split}", getattr(self, split), 1, MOST_EXAMPLES)
            drawn = grammar.sample(size, seed=len(SPLITS) * self.data_seed + number)
            corpus = Corpus((drawn.tokens + len(SPECIALS)).astype(np.int32), drawn.offsets)
            corpora[split] = Corpus(corpus.tokens, corpus.offsets, *sizes_of(corpus, vocabulary))
            labels[split] = dict(zip(grammar.factors, drawn.factors.T, strict=True))
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
