"""How good what a model writes is: sentences of the prior (are they sentences, do they differ, are they no copies?), and responses."""

from collections.abc import Callable, Sequence

import numpy as np

from uncollapse.data.corpus import SPECIALS, UNK, Corpus
from uncollapse.metrics.rates import per_token

COMPARED = 200  # sentences that self-BLEU compares with each other: the cost grows with the square


def quality(
    drawn: Corpus,
    training: Corpus,
    vocabulary: Sequence[str],
    log_prob: Callable[[Corpus], np.ndarray] | None = None,
    baseline: Callable[[Corpus], np.ndarray] | None = None,
    held_out: Corpus | None = None,
) -> dict:
    """Shares and scores of drawn sentences, N of them.

    sample_distinct: different sentences / N. sample_novel: share that is not in the training part, word for word. sample_self_bleu: BLEU-4
    of a sentence against the others, 0 to 100, mean over the first 200 (Zhu et al. 2018, "Texygen"): high when samples are alike; that of
    as many training sentences, sample_self_bleu_data, is what to compare with. sample_words: words a sentence. (A word is what the
    data's level makes a token.)
    With the data's own log p (a grammar): sample_grammatical, the share with p > 0, and over these sample_oracle_ppl, exp(-sum log p / sum
    tokens). With another model's log p, a language model's: sample_lm_ppl, the perplexity of the drawn sentences to it, and of real ones
    that it has not seen, sample_lm_ppl_data. Low is not good by itself: the likeliest sentence again and again is lower than any data.
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
    if log_prob is not None:
        found |= oracle(log_prob(drawn), drawn.lengths + 1)
    if baseline is not None and held_out is not None:
        pairs = {"sample_lm_ppl": drawn, "sample_lm_ppl_data": held_out}
        found |= {
            name: per_token(-baseline(corpus), corpus.lengths + 1)["ppl"]
            for name, corpus in pairs.items()
        }
    return found


def responses(written: Sequence[str], real: Sequence[str], others: Sequence[Sequence[str]]) -> dict:
    """Scores of N responses, words apart by spaces, one for each context; others: for some contexts, several each from codes of their own.

    response_bleu4: BLEU-4 of the corpus against the real responses, 0 to 100, an unknown word being no match (Papineni et al. 2002).
    response_distinct_1, _2: different words, pairs of words / all of them (Li et al. 2016), falling with N; of the real ones:
    response_distinct_1_data, _2_data. response_variety: share of different responses among those to one context, 1 / their number where
    the code is ignored.
    """
    from sacrebleu.metrics import BLEU  # type: ignore[attr-defined]

    # two unknown words are not the same word
    known = [text.replace(SPECIALS[UNK], "?" + SPECIALS[UNK]) for text in real]
    return {
        "response_count": len(written),
        "response_bleu4": BLEU(tokenize="none", force=True)
        .corpus_score(list(written), [known])
        .score,
        "response_distinct_1": distinct(written, 1),
        "response_distinct_1_data": distinct(real, 1),
        "response_distinct_2": distinct(written, 2),
        "response_distinct_2_data": distinct(real, 2),
        "response_variety": float(np.mean([len(set(few)) / len(few) for few in others])),
        "response_words": float(np.mean([len(text.split()) for text in written])),
        "response_words_data": float(np.mean([len(text.split()) for text in real])),
    }


def distinct(sentences: Sequence[str], n: int) -> float | None:
    """Different n-grams / all n-grams of sentences whose words are apart by spaces; None where there is none."""
    words = [text.split() for text in sentences]
    grams = [tuple(line[i : i + n]) for line in words for i in range(len(line) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def oracle(log_prob: np.ndarray, tokens: np.ndarray) -> dict:
    """From the data's exact log p of each drawn sentence, [N] nats, -inf where it has none, and its tokens, the end counted."""
    real = np.isfinite(log_prob)
    ppl = per_token(-log_prob[real], tokens[real])["ppl"] if real.any() else None
    return {"sample_grammatical": float(real.mean()), "sample_oracle_ppl": ppl}


def self_bleu(sentences: Sequence[str]) -> float | None:
    """Mean BLEU-4 of each sentence (words apart by spaces) against all others, 0 to 100, smoothed; None for fewer than two."""
    from sacrebleu.metrics import BLEU  # type: ignore[attr-defined]

    if len(sentences) < 2:
        return None
    bleu = BLEU(tokenize="none", effective_order=True, smooth_method="exp")
    scores = [
        bleu.sentence_score(s, [*sentences[:i], *sentences[i + 1 :]]).score
        for i, s in enumerate(sentences)
    ]
    return float(np.mean(scores))


def as_bytes(corpus: Corpus) -> list[bytes]:
    """Each sentence's token ids as one hashable value."""
    ids = np.ascontiguousarray(corpus.tokens, dtype=np.int32)
    return [
        ids[a:b].tobytes() for a, b in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    ]


def first(corpus: Corpus, count: int) -> Corpus:
    offsets = corpus.offsets[: count + 1]
    return Corpus(corpus.tokens[: offsets[-1]], offsets)


def texts(corpus: Corpus, vocabulary: Sequence[str]) -> list[str]:
    """Each sentence as words with spaces between, one that is a space itself as \u2423."""
    shown = [word.replace(" ", "\u2423") for word in vocabulary]
    words = [shown[i] for i in np.asarray(corpus.tokens)]
    return [
        " ".join(words[a:b]) for a, b in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    ]
