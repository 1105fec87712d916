"""The built-in corpus: sentences of the English grammar, with exact entropy and likelihood."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from uncollapse.data.corpus import SPECIALS, Corpus
from uncollapse.data.grammar import Sample
from uncollapse.data.profile_pooling import Floats
from uncollapse.data.sentence_sizes import measure_encoded_sentences
from uncollapse.data.text import SPLITS, TextData, check_batching
from uncollapse.errors import MAX_EXAMPLES, InputError, check_integer
from uncollapse.interfaces.data import DataConfig


@dataclass(kw_only=True)
class GrammarConfig(DataConfig):
    """Sentences per split, drawn by data_seed; the seed of the run does not change them.

    With `fresh`, every epoch after the first trains on new sentences, also drawn by data_seed.
    """

    kind: ClassVar[str] = "text"
    train: int
    valid: int
    test: int
    data_seed: int
    batch_size: int
    batching: str
    fresh: bool

    def load(self) -> TextData:
        from uncollapse.data.english import english

        self.check()
        grammar = english()
        vocabulary = (*SPECIALS, *grammar.words)
        corpora, labels, log_prob = {}, {}, {}
        for number, split in enumerate(SPLITS):
            size = check_integer(f"data.{split}", getattr(self, split), 1, MAX_EXAMPLES)
            # a seed of its own for each split: validation sentences do not depend on the size of
            # train
            drawn = grammar.sample(size, seed=len(SPLITS) * self.data_seed + number)
            corpus = as_corpus(drawn)
            corpora[split] = Corpus(
                corpus.tokens, corpus.offsets, *measure_encoded_sentences(corpus, vocabulary)
            )
            labels[split] = dict(zip(grammar.factors, drawn.factors.T, strict=True))
            # the training split does not need it, and it is the largest
            if split != "train":
                log_prob[split] = grammar.log_prob(drawn.tokens, drawn.offsets)

        @lru_cache(maxsize=1)  # all batches of an epoch come from one draw
        def draw_epoch(epoch: int) -> Corpus:
            # a sequence seeds another stream than any single number
            return as_corpus(grammar.sample(self.train, seed=[self.data_seed, epoch]))

        @lru_cache(maxsize=1)  # for the accuracy and the entropy
        def factor_posterior(split: str) -> dict[str, Floats]:
            tokens = corpora[split].tokens - len(SPECIALS)
            return grammar.factor_posterior(tokens, corpora[split].offsets)

        return TextData(
            corpora,
            vocabulary,
            self.batch_size,
            self.batching,
            entropy=grammar.entropy(),
            log_prob=log_prob,
            labels=labels,
            best_accuracy=lambda split: mean_best_accuracy(factor_posterior(split)),
            label_entropy=lambda split: mean_entropy(factor_posterior(split)),
            exact_log_prob=lambda corpus: grammar.log_prob(
                corpus.tokens - len(SPECIALS), corpus.offsets
            ),
            draw_epoch=draw_epoch if self.fresh else None,
        )

    def check(self) -> None:
        """InputError for a setting out of range; sizes are checked as they are used."""
        check_batching(self.batch_size, self.batching)
        check_integer("data.data_seed", self.data_seed, 0)
        if self.fresh and self.batching != "mixed":
            raise InputError(
                f"data.batching={self.batching}: data.fresh=true draws new sentences every epoch, "
                "whose lengths are not known in advance; allowed with it is mixed"
            )


def mean_best_accuracy(posteriors: dict[str, Floats]) -> dict[str, float]:
    """The accuracy of always choosing the most likely class, of p(label|x) [N, C] of each label."""
    return {name: float(p.max(1).mean()) for name, p in posteriors.items()}


def mean_entropy(posteriors: dict[str, Floats]) -> dict[str, float]:
    """The mean of H(label|x) in nats, of p(label|x) [N, C] of each label."""
    # log 1 = 0 where p = 0
    return {
        name: -float((p * np.log(np.where(p > 0, p, 1))).sum(1).mean())
        for name, p in posteriors.items()
    }


def as_corpus(drawn: Sample) -> Corpus:
    """Sentences of the grammar as token ids of a vocabulary that begins with SPECIALS."""
    return Corpus((drawn.tokens + len(SPECIALS)).astype(np.int32), drawn.offsets)
