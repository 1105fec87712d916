"""Word tables of the built-in grammar: everyday English about six topics.

``FACTOR_PRIORS`` are the six factors. A sentence has these slots, from left to right:

    opener  front  determiner  describer  subject  auxiliary  manner  verb
    which  quality  object  place  time  feeling  tail  end

Words in a list are ordered from frequent to rare: the r-th has weight 1 / r (Zipf's law). Most
factors show in several slots, and most slots have neutral phrases, so a sentence reveals most
factors and may leave one open: "cut" is past or present after a plural, and is done to food or in
the garden; "staff" is singular or plural; "one" is any object.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product

from uncollapse.data.grammar import Grammar, Slot

PhraseTable = dict[str, float]

FACTOR_PRIORS: dict[str, PhraseTable] = {
    "topic": {
        "food": 0.2,
        "music": 0.18,
        "sport": 0.18,
        "travel": 0.16,
        "work": 0.14,
        "garden": 0.14,
    },
    "polarity": {"positive": 0.55, "negative": 0.45},
    "mood": {"statement": 0.5, "question": 0.27, "exclamation": 0.23},
    "tense": {"past": 0.4, "present": 0.35, "future": 0.25},
    "number": {"singular": 0.55, "plural": 0.45},
    "style": {"plain": 0.4, "formal": 0.3, "casual": 0.3},
}

# Per topic: who (singular/plural), what they do (base/third person/past), to what, where.
TOPICS: dict[str, dict[str, str]] = {
    "food": {
        "subject": "cook/cooks | waiter/waiters | baker/bakers | guest/guests | chef/chefs",
        "verb": "cut/cuts/cut | eat/eats/ate | order/orders/ordered"
        " | taste/tastes/tasted | share/shares/shared",
        "object": "bread | cake | pie | cheese | ham | melon",
        "place": "in the kitchen | at the market | at the long table",
    },
    "music": {
        "subject": "singer/singers | drummer/drummers | pianist/pianists"
        " | composer/composers | dancer/dancers",
        "verb": "play/plays/played | record/records/recorded | hum/hums/hummed"
        " | rehearse/rehearses/rehearsed | perform/performs/performed",
        "object": "song | tune | melody | waltz | hymn | ballad",
        "place": "on the stage | in the concert hall | at the festival",
    },
    "sport": {
        "subject": "player/players | coach/coaches | runner/runners"
        " | driver/drivers | captain/captains",
        "verb": "win/wins/won | lose/loses/lost | play/plays/played"
        " | quit/quits/quit | finish/finishes/finished",
        "object": "match | game | final | race | contest | tournament",
        "place": "in the stadium | at the arena | at the club",
    },
    "travel": {
        "subject": "tourist/tourists | driver/drivers | pilot/pilots"
        " | sailor/sailors | traveller/travellers",
        "verb": "catch/catches/caught | miss/misses/missed | take/takes/took | board/boards/boarded"
        " | leave/leaves/left",
        "object": "train | bus | ferry | plane | tram | boat",
        "place": "at the station | near the border | by the harbour",
    },
    "work": {
        "subject": "manager/managers | clerk/clerks | lawyer/lawyers"
        " | worker/workers | banker/bankers",
        "verb": "read/reads/read | sign/signs/signed | finish/finishes/finished | send/sends/sent"
        " | review/reviews/reviewed",
        "object": "report | letter | plan | contract | memo | budget",
        "place": "in the office | at the meeting | on the top floor",
    },
    "garden": {
        "subject": "gardener/gardeners | farmer/farmers | worker/workers"
        " | florist/florists | owner/owners",
        "verb": "cut/cuts/cut | plant/plants/planted | water/waters/watered"
        " | trim/trims/trimmed | grow/grows/grew",
        "object": "rose | hedge | bush | vine | tree | lily",
        "place": "in the garden | behind the barn | by the pond",
    },
}
SHARED = {
    "subject": "friend/friends | staff/staff | student/students"
    " | neighbour/neighbours | visitor/visitors",
    "verb": "choose/chooses/chose | prepare/prepares/prepared | describe/describes/described"
    " | check/checks/checked",
    "object": "one | thing",
    "place": "in town | over there | near here",
}
# probability of the topic's own words; the rest is SHARED
OWN_SHARE = {"subject": 0.6, "verb": 0.6, "object": 0.75}

OPENERS: dict[str, dict[str, PhraseTable]] = {
    "statement": {
        "plain": {"": 0.85, "in fact ,": 0.1, "well ,": 0.05},
        "formal": {"": 0.25, "indeed ,": 0.3, "in fact ,": 0.2, "as we know ,": 0.25},
        "casual": {"": 0.25, "well ,": 0.3, "honestly ,": 0.25, "you know ,": 0.2},
    },
    "question": {
        "plain": {"": 0.85, "please tell me ,": 0.15},
        "formal": {"": 0.25, "if i may ask ,": 0.4, "excuse me ,": 0.2, "please tell me ,": 0.15},
        "casual": {"": 0.25, "hey ,": 0.4, "so ,": 0.35},
    },
    "exclamation": {
        "plain": {"": 0.8, "oh ,": 0.2},
        "formal": {"": 0.2, "my word ,": 0.5, "oh ,": 0.3},
        "casual": {"": 0.2, "wow ,": 0.4, "gosh ,": 0.25, "oh ,": 0.15},
    },
}

DETERMINERS: dict[str, PhraseTable] = {
    "singular": {"the": 0.7, "our": 0.2, "this": 0.1},
    "plural": {"the": 0.6, "our": 0.15, "": 0.15, "some": 0.1},
}
DESCRIBERS = "young | old | tall | quiet | busy"

MANNERS = {
    "positive": "gladly | proudly | kindly | cheerfully | bravely",
    "negative": "sadly | angrily | grimly | rudely | nervously",
}
NEUTRAL_MANNERS = "quickly | often | quietly | slowly"

WHICH: PhraseTable = {"the": 0.7, "this": 0.2, "that": 0.1}
QUALITIES = {
    "positive": "good | lovely | fine | charming | impressive",
    "negative": "bad | dull | poor | ugly | dreadful",
}
NEUTRAL_QUALITIES = "new | big | small | usual"
DEGREES = {"plain": "very", "formal": "remarkably | rather", "casual": "really | pretty"}

TIMES = {
    "past": "yesterday | last week | long ago | last night",
    "present": "these days | every week | nowadays | most evenings",
    "future": "tomorrow | next week | soon | one day",
}
NEUTRAL_TIMES = "again | after dark | before noon"

FEELINGS = {
    "positive": "with great joy | with real skill | in a good mood",
    "negative": "with no pleasure | without much luck | in a bad temper",
}

# Closing clause of a statement: conjunction, who, and what they do (past/present/future).
TAIL_SUBJECTS = "everyone | the whole town | my sister | the boss"
TAIL_CONJUNCTIONS = {"positive": ", and", "negative": ", but"}
TAIL_VERBS = {
    "positive": "loved it/loves it/will love it | was happy/is happy/will be happy"
    " | asked for more/asks for more/will ask for more",
    "negative": "hated it/hates it/will hate it | was upset/is upset/will be upset"
    " | left early/leaves early/will leave early",
}
NEUTRAL_TAILS = {
    "past": "while it rained | because there was time",
    "present": "when it rains | if there is time",
    "future": "before it rains | if there is time",
}


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
    """What stands before the subject: the auxiliary of a question, the "how" of an exclamation."""
    if mood == "statement":
        return {"": 1.0}
    if mood == "exclamation":
        # An adverb after "how" takes the place of the one before the verb.
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
