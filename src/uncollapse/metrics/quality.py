"""How good sentences drawn from the prior are: whether they are sentences, differ from each other, and are not copies."""

from collections.abc import Callable, Sequence

import numpy as np

from uncollapse.data.corpus import Corpus

COMPARED = 200  # sentences that self-BLEU compares with each other: the cost grows with the square


def quality(
    drawn: Corpus, training: Corpus, vocabulary: Sequence[str], log_prob: Callable[[Corpus], np.ndarray] | None = None
) -> dict:
    """Shares and scores of drawn sentences, N of them.

    sample_distinct: different sentences / N. sample_novel: share that is not in the training part, word for word. sample_self_bleu: BLEU-4
    of a sentence against the others, 0 to 100, mean over the first 200 (Zhu et al. 2018, "Texygen"): high when samples are alike; that of
    as many training sentences, sample_self_bleu_data, is what to compare with. sample_words: words a sentence.
    With the data's own log p (a grammar): sample_grammatical, the share with p > 0, and over these sample_oracle_ppl, exp(-sum log p / sum
    tokens).
    """
    sentences = as_bytes(drawn)
    copies = set(sentences) & set(as_bytes(training))
    found = {
        "sample_count": len(sentences),
        "sample_words": float(drawn.lengths.mean()),
        "sample_distinct": len(set(sentences)) / len(sentences),
        "sample_novel": float(np.mean([s not in copies for s in sentences])),
        "sample_self_bleu": self_bleu(texts(first(drawn, COMPARED), vocabulary)),
        "sample_self_bleu_data": self_bleu(texts(first(training, COMPARED), vocabulary)),
    }
    return found if log_prob is None else found | oracle(log_prob(drawn), drawn.lengths + 1)


def oracle(log_prob: np.ndarray, tokens: np.ndarray) -> dict:
    """From the data's exact log p of each drawn sentence, [N] nats, -inf where it has none, and its tokens, the end counted."""
    real = np.isfinite(log_prob)
    ppl = float(np.exp(-log_prob[real].sum() / tokens[real].sum())) if real.any() else None
    return {"sample_grammatical": float(real.mean()), "sample_oracle_ppl": ppl}


def self_bleu(sentences: Sequence[str]) -> float | None:
    """Mean BLEU-4 of each sentence (words apart by spaces) against all others, 0 to 100, smoothed; None for fewer than two."""
    from sacrebleu.metrics import BLEU  # type: ignore[attr-defined]

    if len(sentences) < 2:
        return None
    bleu = BLEU(tokenize="none", effective_order=True, smooth_method="exp")
    scores = [bleu.sentence_score(s, [*sentences[:i], *sentences[i + 1 :]]).score for i, s in enumerate(sentences)]
    return float(np.mean(scores))


def as_bytes(corpus: Corpus) -> list[bytes]:
    """Each sentence's token ids as one hashable value."""
    ids = np.ascontiguousarray(corpus.tokens, dtype=np.int32)
    return [ids[a:b].tobytes() for a, b in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)]


def first(corpus: Corpus, count: int) -> Corpus:
    offsets = corpus.offsets[: count + 1]
    return Corpus(corpus.tokens[: offsets[-1]], offsets)


def texts(corpus: Corpus, vocabulary: Sequence[str]) -> list[str]:
    """Each sentence as words with spaces between."""
    words = [vocabulary[i] for i in np.asarray(corpus.tokens)]
    return [" ".join(words[a:b]) for a, b in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)]
