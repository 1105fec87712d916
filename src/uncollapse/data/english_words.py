"""Word tables of the built-in grammar: everyday English about six topics.

Words in a list are ordered from frequent to rare: the r-th has weight 1 / r (Zipf's law). Where
forms differ by number or tense, they are separated by slashes.
"""

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
