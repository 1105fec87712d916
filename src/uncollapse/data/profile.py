"""Unknown words and lengths of a text: reported for every run, warned of, or refused."""

from collections.abc import Mapping
from typing import TypedDict

import numpy as np

from uncollapse.data.corpus import UNK, Corpus
from uncollapse.data.level_choice import TOKEN_LEVELS
from uncollapse.errors import InputError
from uncollapse.json_types import JsonMapping

ONE_WORD_MEAN = 1.5  # mean words a line below which lines seem to be single words
MUCH_UNKNOWN = 0.2  # share of unknown words that is warned of
TOO_MUCH_UNKNOWN = 0.9  # and that is refused
# a split is warned of if it has this many times the training split's share, and at least this share
UNKNOWN_RATIO, LEAST_UNKNOWN = 3, 0.05
# a long sentence has this many times the median length, and at least this many tokens
FAR_ABOVE_MEDIAN, LONG_SENTENCE = 20, 500
LARGE_VOCABULARY = 100_000  # entries
TOKENS_AT_ONCE = 1 << 22
SPACELESS = (
    "data.level=char reads characters, data.level=byte bytes, "
    "data.level=tokens data.tokenizer=FILE subwords"
)


class Profile(TypedDict):
    """Of one split: the fraction of unknown tokens, the longest and the median length in tokens."""

    unknown: float
    longest: int
    median_length: float


def profile_corpus(corpus: Corpus) -> Profile:
    """The profile of a corpus, read in pieces: its arrays may be on disk."""
    # a corpus of a hundred million tokens would otherwise need a boolean array of that size
    start, stop = int(corpus.offsets[0]), int(corpus.offsets[-1])
    unknown = sum(
        int((corpus.tokens[i : min(i + TOKENS_AT_ONCE, stop)] == UNK).sum())
        for i in range(start, stop, TOKENS_AT_ONCE)
    )
    lengths, counts = np.unique(corpus.lengths, return_counts=True)
    return make_profile(unknown, dict(zip(lengths.tolist(), counts.tolist(), strict=True)))


def make_profile(unknown: int, lengths: Mapping[int, int]) -> Profile:
    """The profile from the number of unknown tokens and the number of sentences of each length."""
    kinds = np.array(sorted(lengths), dtype=np.int64)
    counts = np.array([lengths[kind] for kind in kinds.tolist()], dtype=np.int64)
    ends, total = np.cumsum(counts), int((kinds * counts).sum())
    # the one or two sentences in the middle of the order by length
    middle = [
        kinds[np.searchsorted(ends, place, side="right")]
        for place in ((ends[-1] - 1) // 2, ends[-1] // 2)
    ]
    return {
        "unknown": unknown / total if total else 0.0,
        "longest": int(kinds[-1]),
        "median_length": float(sum(middle)) / 2,
    }


def describe_splits(facts: JsonMapping) -> list[str]:
    """A line for each split of text: size, words, fraction unknown, sentences left out."""
    found = []
    for split, share in facts.get("unknown", {}).items():
        unit = TOKEN_LEVELS[facts["level"]].unit
        found.append(
            f"{split} split: {facts[split]:,} sentences "
            f"of {facts['words_per_sentence'][split]:.1f} {unit} "
            f"(median {facts['median_length'][split]:g}, longest {facts['longest'][split]:,}), "
            f"{format_percent(share)} of them <unk>, vocabulary {facts['vocab']:,}"
        )
    for split, counts in facts.get("skipped", {}).items():
        if counted := {why: n for why, n in counts.items() if n}:
            found.append(f"{split}: sentences skipped: {counted}")
    return found


def list_text_warnings(facts: JsonMapping, width: int | None = None) -> list[str]:
    """Warnings about the text before training, each with the option that helps.

    width: inputs of the output layer, if known.
    """
    if "unknown" not in facts:  # no text
        return []
    return [
        *warn_of_single_words(facts),
        *warn_of_unknown_words(facts),
        *warn_of_long_sentences(facts),
        *warn_of_large_vocabulary(facts["vocab"], width),
    ]


def warn_of_single_words(facts: JsonMapping) -> list[str]:
    """A warning where lines have hardly more than one word, as without spaces."""
    words = facts["words_per_sentence"]
    few = [split for split, mean in words.items() if mean < ONE_WORD_MEAN]
    if facts["level"] != "word" or not few:
        return []
    return [
        f"a line of the {few[0]} split is one word on average ({words[few[0]]:.2f} words a "
        f"line), as in text without spaces; {SPACELESS}"
    ]


def warn_of_unknown_words(facts: JsonMapping) -> list[str]:
    """A warning for each split with many unknown words, or many more than the training split."""
    level, unknown = facts["level"], facts["unknown"]
    unit, in_training = TOKEN_LEVELS[level].unit, unknown.get("train", 0.0)
    found = []
    for split, share in unknown.items():
        amount = f"{format_percent(share)} of the {unit} of the {split} split are <unk>"
        if share > MUCH_UNKNOWN:
            found.append(
                f"{amount}, which a model predicts at little cost: perplexities are lower than "
                f"those of the text; {advise_on_unknown(level)}"
            )
        elif split != "train" and share > max(LEAST_UNKNOWN, UNKNOWN_RATIO * in_training):
            # a split without unknown words in training is compared with LEAST_UNKNOWN alone
            found.append(
                f"{amount}, {format_percent(in_training)} of the training split: are they the "
                f"same kind of text? {advise_on_unknown(level)}"
            )
    return found


def warn_of_long_sentences(facts: JsonMapping) -> list[str]:
    """A warning for each split whose longest sentence is far longer than the others."""
    unit, found = TOKEN_LEVELS[facts["level"]].unit, []
    for split, longest in facts["longest"].items():
        median = facts["median_length"][split]
        if longest > LONG_SENTENCE and longest > FAR_ABOVE_MEDIAN * median:
            found.append(
                f"the longest sentence of the {split} split has {longest:,} {unit}, the median "
                f"{median:g}: the longest sentence of a batch determines its time and memory; "
                f"data.max_length={suggest_length(median)} skips longer sentences"
            )
    return found


def warn_of_large_vocabulary(vocab: int, width: int | None) -> list[str]:
    """A warning where the softmax is over a large vocabulary."""
    if vocab <= LARGE_VOCABULARY:
        return []
    weights = f" ({vocab * width:,} output weights)" if width else ""
    return [
        f"a vocabulary of {vocab:,} entries: every step computes a softmax over them{weights}; "
        "data.vocab_size=20000 or data.min_count=2 make it smaller, "
        "data.level=tokens data.tokenizer=FILE needs no large one"
    ]


def advise_on_unknown(level: str) -> str:
    """The options that leave fewer words unknown."""
    if level == "tokens":
        return "another data.tokenizer=FILE, or data.level=byte, leaves less unknown"
    other = "or data.level=byte" if level == "char" else "data.level=char or data.level=tokens"
    return f"a larger data.vocab_size, a smaller data.min_count, {other} leaves less unknown"


def check_unknown_share(facts: JsonMapping) -> None:
    """InputError for a split that is almost all unknown: its numbers would mean nothing."""
    for split, share in facts["unknown"].items():
        if share > TOO_MUCH_UNKNOWN:
            # without spaces, every line is one unknown word, and a larger vocabulary would not
            # help
            unit, mean = TOKEN_LEVELS[facts["level"]].unit, facts["words_per_sentence"][split]
            spaceless = facts["level"] == "word" and mean < ONE_WORD_MEAN
            advice = SPACELESS if spaceless else advise_on_unknown(facts["level"])
            raise InputError(
                f"data.{split}: {format_percent(share)} of its {unit} are <unk> (vocabulary "
                f"{facts['vocab']:,}, {mean:.1f} {unit} a line), "
                f"allowed is at most {format_percent(TOO_MUCH_UNKNOWN)}; {advice}"
            )


def format_percent(share: float) -> str:
    """Never 0 % for a share that is not 0, nor 100 % for one that is not 1."""
    if 0 < share < 0.0001:
        return "less than 0.01 %"
    if 0.9999 < share < 1:
        return "more than 99.99 %"
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + " %"


def suggest_length(median: float) -> int:
    """About five times the median, as a round number."""
    return max(50, int(np.ceil(5 * median / 50)) * 50)
