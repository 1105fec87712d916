"""How well sentences are rebuilt from their codes: token accuracy, exact matches, BLEU-4."""

import numpy as np

from uncollapse.data.corpus import EOS, PAD, Corpus
from uncollapse.metrics.base import with_error
from uncollapse.metrics.rates import rate_with_errors


def compare_tokens(written: Corpus, original: Corpus) -> dict:
    """Shares of equal tokens and of equal sentences, each with its standard error.

    Both corpora have N sentences in the same order. Tokens are compared position by position over
    the original and its end, so that a missing or an additional word makes all later ones wrong.
    """
    width = int(max(written.lengths.max(), original.lengths.max())) + 1
    real, made = end_and_pad(original, width), end_and_pad(written, width)
    hits = ((real == made) & (real != PAD)).sum(1)
    accuracy, error, _, _ = rate_with_errors(hits, original.lengths + 1)
    return {
        "reconstruction_accuracy": accuracy,
        "reconstruction_accuracy_se": error,
        **with_error("reconstruction_exact", (real == made).all(1)),
    }


def end_and_pad(corpus: Corpus, width: int) -> np.ndarray:
    """Token ids [N, width]: each sentence, EOS, and then PAD."""
    rows = np.full((len(corpus), width), PAD, dtype=np.int32)
    # row after row, as the corpus stores the tokens
    rows[np.arange(width) < corpus.lengths[:, None]] = corpus.tokens
    rows[np.arange(len(corpus)), corpus.lengths] = EOS
    return rows
