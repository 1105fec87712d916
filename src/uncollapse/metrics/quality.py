"""The quality of generated text: sentences drawn from the prior, and responses in dialogues."""

from collections.abc import Callable, Sequence

import numpy as np

from uncollapse.data.corpus import SPECIALS, UNK, Corpus
from uncollapse.metrics.rates import per_token

# sentences that self-BLEU compares with each other; its cost is quadratic in their number
SELF_BLEU_SENTENCES = 200


def score_samples(
    drawn: Corpus,
    training: Corpus,
    vocabulary: Sequence[str],
    log_prob: Callable[[Corpus], np.ndarray] | None = None,
    baseline: Callable[[Corpus], np.ndarray] | None = None,
    held_out: Corpus | None = None,
) -> dict:
    """Shares and scores of drawn sentences; a word is one token at the level of the data.

    log_prob: the exact log p [N] of sentences, for data from a grammar; gives sample_grammatical
    and sample_oracle_ppl. baseline: log p [N] under a language model; gives sample_lm_ppl and, for
    held-out sentences, sample_lm_ppl_data. Self-BLEU: Zhu et al. 2018, "Texygen".
    """

    def some_texts(corpus: Corpus) -> list[str]:
        return format_sentences(first_sentences(corpus, SELF_BLEU_SENTENCES), vocabulary)

    # token ids instead of text, so that the training split need not be decoded
    sentences = sentence_bytes(drawn)
    copies = set(sentences) & set(sentence_bytes(training))
    found = {
        "sample_count": len(sentences),
        "sample_words": float(drawn.lengths.mean()),
        "sample_distinct": len(set(sentences)) / len(sentences),
        "sample_novel": float(np.mean([s not in copies for s in sentences])),
        "sample_self_bleu": self_bleu(some_texts(drawn)),
        "sample_self_bleu_data": self_bleu(some_texts(training)),
    }
    if log_prob is not None:
        # + 1 for the end of each sentence, which the probabilities include
        found |= score_by_oracle(log_prob(drawn), drawn.lengths + 1)
    if baseline is not None and held_out is not None:
        pairs = {"sample_lm_ppl": drawn, "sample_lm_ppl_data": held_out}
        found |= {
            name: per_token(-baseline(corpus), corpus.lengths + 1)["ppl"]
            for name, corpus in pairs.items()
        }
    return found


def score_responses(
    written: Sequence[str], real: Sequence[str], others: Sequence[Sequence[str]]
) -> dict:
    """Scores of N responses, one per context, their words separated by spaces.

    others: several responses to each of some contexts, from different codes. BLEU-4 is corpus BLEU
    (Papineni et al. 2002), in which an unknown word matches nothing; distinct-1 and distinct-2: Li
    et al. 2016.
    """
    # <unk> in a response must not match <unk> in a reference: the words may differ
    known = [text.replace(SPECIALS[UNK], "?" + SPECIALS[UNK]) for text in real]
    return {
        "response_count": len(written),
        "response_bleu4": corpus_bleu(written, known),
        "response_distinct_1": share_of_distinct(written, 1),
        "response_distinct_1_data": share_of_distinct(real, 1),
        "response_distinct_2": share_of_distinct(written, 2),
        "response_distinct_2_data": share_of_distinct(real, 2),
        "response_variety": float(np.mean([len(set(few)) / len(few) for few in others])),
        "response_words": float(np.mean([len(text.split()) for text in written])),
        "response_words_data": float(np.mean([len(text.split()) for text in real])),
    }


def corpus_bleu(written: Sequence[str], references: Sequence[str]) -> float:
    """BLEU-4 of a corpus, 0 to 100, with one reference each (Papineni et al. 2002).

    Words are separated by spaces. An n-gram order without any match counts as half a match, the
    next such order as a quarter, and so on (sacrebleu's exponential smoothing); 0 if no word
    matches, or if no sentence has four words.
    """
    from sacrebleu.metrics import BLEU  # type: ignore[attr-defined]

    bleu = BLEU(tokenize="none", force=True, smooth_method="exp")
    return float(bleu.corpus_score(list(written), [list(references)]).score)


def share_of_distinct(sentences: Sequence[str], n: int) -> float | None:
    """Distinct n-grams / all n-grams of words separated by spaces; None if there are none."""
    words = [text.split() for text in sentences]
    grams = [tuple(line[i : i + n]) for line in words for i in range(len(line) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def score_by_oracle(log_prob: np.ndarray, tokens: np.ndarray) -> dict:
    """Scores from the exact log p [N] of sentences in nats, -inf outside the grammar.

    tokens [N] include the end of each sentence.
    """
    # one sentence outside the grammar would make the perplexity infinite
    real = np.isfinite(log_prob)
    ppl = per_token(-log_prob[real], tokens[real])["ppl"] if real.any() else None
    return {"sample_grammatical": float(real.mean()), "sample_oracle_ppl": ppl}


def self_bleu(sentences: Sequence[str]) -> float | None:
    """Mean smoothed BLEU-4 of each sentence against all others, 0 to 100; None for fewer than 2."""
    from sacrebleu.metrics import BLEU  # type: ignore[attr-defined]

    if len(sentences) < 2:
        return None
    # effective order: a sentence shorter than four words has no 4-grams
    bleu = BLEU(tokenize="none", effective_order=True, smooth_method="exp")
    scores = [
        bleu.sentence_score(s, [*sentences[:i], *sentences[i + 1 :]]).score
        for i, s in enumerate(sentences)
    ]
    return float(np.mean(scores))


def sentence_bytes(corpus: Corpus) -> list[bytes]:
    """The token ids of each sentence as one hashable value."""
    # one integer type, since corpora are stored in different ones
    ids = np.ascontiguousarray(corpus.tokens, dtype=np.int32)
    return [
        ids[a:b].tobytes() for a, b in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    ]


def first_sentences(corpus: Corpus, count: int) -> Corpus:
    """The first `count` sentences."""
    offsets = corpus.offsets[: count + 1]
    return Corpus(corpus.tokens[: offsets[-1]], offsets)


def format_sentences(corpus: Corpus, vocabulary: Sequence[str]) -> list[str]:
    """Each sentence as words separated by spaces; a space inside a word is written \u2423."""
    # a character-level vocabulary contains the space itself
    shown = [word.replace(" ", "\u2423") for word in vocabulary]
    words = [shown[i] for i in np.asarray(corpus.tokens)]
    return [
        " ".join(words[a:b]) for a, b in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    ]
