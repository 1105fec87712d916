"""The built-in grammar: which phrases each slot of a sentence takes, given the latent factors.

``FACTOR_PRIORS`` are the six factors. A sentence has these slots, from left to right:

    opener  front  determiner  describer  subject  auxiliary  manner  verb
    which  quality  object  place  time  feeling  tail  end

Most factors show in several slots, and most slots have neutral phrases, so a sentence reveals most
factors and may leave one open: "cut" is past or present after a plural, and is done to food or in
the garden; "staff" is singular or plural; "one" is any object.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product

from uncollapse.data.english_words import (
    DEGREES,
    DESCRIBERS,
    DETERMINERS,
    FACTOR_PRIORS,
    FEELINGS,
    MANNERS,
    NEUTRAL_MANNERS,
    NEUTRAL_QUALITIES,
    NEUTRAL_TAILS,
    NEUTRAL_TIMES,
    OPENERS,
    OWN_SHARE,
    QUALITIES,
    SHARED,
    TAIL_CONJUNCTIONS,
    TAIL_SUBJECTS,
    TAIL_VERBS,
    TIMES,
    TOPICS,
    WHICH,
    PhraseTable,
)
from uncollapse.data.grammar import Grammar, Slot


@lru_cache(maxsize=1)
def english() -> Grammar:
    """The built-in grammar."""
    return Grammar(FACTOR_PRIORS, slots())


def slots() -> list[Slot]:
    """The slots of the sentence, from left to right."""
    return [
        _slot("opener", ("mood", "style"), lambda mood, style: OPENERS[mood][style]),
        _slot("front", ("mood", "tense", "number", "polarity"), _front),
        _slot("determiner", ("number",), lambda number: DETERMINERS[number]),
        _slot("describer", (), lambda: _mix((0.9, {"": 1.0}), (0.1, _ranked(DESCRIBERS)))),
        _slot("subject", ("topic", "number"), _subject),
        _slot("auxiliary", ("mood", "tense"), _auxiliary),
        _slot("manner", ("mood", "polarity"), _manner),
        _slot("verb", ("topic", "mood", "tense", "number"), _verb),
        _slot("which", (), lambda: WHICH),
        _slot("quality", ("polarity", "style"), _quality),
        _slot("object", ("topic",), lambda topic: _own_or_shared("object", topic, 0)),
        _slot("place", ("topic",), _place),
        _slot("time", ("tense",), _time),
        _slot("feeling", ("mood", "polarity"), _feeling),
        _slot("tail", ("mood", "polarity", "tense"), _tail),
        _slot("end", ("mood",), _end),
    ]


def _slot(name: str, given: tuple[str, ...], phrases: Callable[..., PhraseTable]) -> Slot:
    """A slot whose `phrases` are a function of the values of the factors in `given`."""
    # one row per combination of values, in the order of the priors
    combinations = product(*(FACTOR_PRIORS[factor] for factor in given))
    return Slot(name, given, {values: phrases(*values) for values in combinations})


def _ranked(listed: str, form: int = 0) -> PhraseTable:
    """Phrases of a ``|`` list with weights 1 / rank; `form` selects among those between ``/``."""
    phrases = [entry.strip().split("/")[form] for entry in listed.split("|")]
    total = sum(1 / r for r in range(1, len(phrases) + 1))
    return _mix(*((1 / r / total, {phrase: 1.0}) for r, phrase in enumerate(phrases, start=1)))


def _mix(*parts: tuple[float, PhraseTable]) -> PhraseTable:
    """The mixture of some rows."""
    mixed: PhraseTable = {}
    for weight, row in parts:
        for phrase, p in row.items():
            mixed[phrase] = mixed.get(phrase, 0.0) + weight * p
    return mixed


def _joined(left: PhraseTable, right: PhraseTable) -> PhraseTable:
    """Each phrase of one row followed by each of another, independently."""
    return {f"{a} {b}": p * q for (a, p), (b, q) in product(left.items(), right.items())}


def _own_or_shared(kind: str, topic: str, form: int) -> PhraseTable:
    """The topic's own words, mixed with those of all topics."""
    return _mix(
        (OWN_SHARE[kind], _ranked(TOPICS[topic][kind], form)),
        (1 - OWN_SHARE[kind], _ranked(SHARED[kind], form)),
    )


def _subject(topic: str, number: str) -> PhraseTable:
    return _own_or_shared("subject", topic, int(number == "plural"))


def _verb(topic: str, mood: str, tense: str, number: str) -> PhraseTable:
    """Finite form in the past and present, the base form after an auxiliary and with plurals."""
    if mood == "question" or tense == "future":
        return _own_or_shared("verb", topic, 0)
    return _own_or_shared("verb", topic, 2 if tense == "past" else int(number == "singular"))


def _front(mood: str, tense: str, number: str, polarity: str) -> PhraseTable:
    """The words before the subject: the auxiliary of a question, the "how" of an exclamation."""
    if mood == "statement":
        return {"": 1.0}
    if mood == "exclamation":
        # An adverb after "how" replaces the one before the verb (see `_manner`).
        return _mix((0.3, {"": 1.0}), (0.7, _joined({"how": 1.0}, _adverb(polarity))))
    auxiliary = {
        "past": "did",
        "future": "will",
        "present": "does" if number == "singular" else "do",
    }[tense]
    return {auxiliary: 0.65, f"why {auxiliary}": 0.35}


def _auxiliary(mood: str, tense: str) -> PhraseTable:
    return {"will" if tense == "future" and mood != "question" else "": 1.0}


def _adverb(polarity: str) -> PhraseTable:
    return _mix((0.7, _ranked(MANNERS[polarity])), (0.3, _ranked(NEUTRAL_MANNERS)))


def _manner(mood: str, polarity: str) -> PhraseTable:
    return (
        {"": 1.0} if mood == "exclamation" else _mix((0.75, {"": 1.0}), (0.25, _adverb(polarity)))
    )


def _quality(polarity: str, style: str) -> PhraseTable:
    plain = _ranked(QUALITIES[polarity])
    strong = _joined(_ranked(DEGREES[style]), plain)
    return _mix((0.3, {"": 1.0}), (0.05, _ranked(NEUTRAL_QUALITIES)), (0.3, plain), (0.35, strong))


def _place(topic: str) -> PhraseTable:
    return _mix(
        (0.55, {"": 1.0}), (0.3, _ranked(TOPICS[topic]["place"])), (0.15, _ranked(SHARED["place"]))
    )


def _time(tense: str) -> PhraseTable:
    return _mix((0.5, {"": 1.0}), (0.4, _ranked(TIMES[tense])), (0.1, _ranked(NEUTRAL_TIMES)))


def _feeling(mood: str, polarity: str) -> PhraseTable:
    return (
        {"": 1.0}
        if mood == "exclamation"
        else _mix((0.7, {"": 1.0}), (0.3, _ranked(FEELINGS[polarity])))
    )


def _tail(mood: str, polarity: str, tense: str) -> PhraseTable:
    if mood != "statement":
        return {"": 1.0}
    verbs = _ranked(TAIL_VERBS[polarity], ("past", "present", "future").index(tense))
    clause = _joined({TAIL_CONJUNCTIONS[polarity]: 1.0}, _joined(_ranked(TAIL_SUBJECTS), verbs))
    return _mix((0.45, {"": 1.0}), (0.45, clause), (0.1, _ranked(NEUTRAL_TAILS[tense])))


def _end(mood: str) -> PhraseTable:
    return {"statement": {".": 0.95, "!": 0.05}, "question": {"?": 1.0}, "exclamation": {"!": 1.0}}[
        mood
    ]
