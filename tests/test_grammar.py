"""The built-in corpus: exact quantities against independent enumeration or large samples."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uncollapse.data.english import english
from uncollapse.data.grammar import SENTENCES_AT_ONCE, Grammar, Sample, Slot

PRIORS = {"tone": {"good": 0.6, "bad": 0.4}, "time": {"now": 0.5, "then": 0.3, "soon": 0.2}}
SLOTS = [
    Slot("who", (), {(): {"we": 0.7, "the two of us": 0.3}}),
    Slot(
        "how", ("tone",), {("good",): {"": 0.5, "gladly": 0.5}, ("bad",): {"": 0.8, "sadly": 0.2}}
    ),
    Slot(
        "verb",
        ("time",),
        {
            ("now",): {"eat": 0.9, "cut": 0.1},
            ("then",): {"ate": 0.5, "cut": 0.5},
            ("soon",): {"will eat": 1.0},
        },
    ),
    Slot(
        "end",
        ("time", "tone"),
        {
            (time, tone): {
                "": 0.1 if tone == "good" else 0.2,
                "the pie": 0.9 if tone == "good" else 0.8,
            }
            for time, tone in product(PRIORS["time"], PRIORS["tone"])
        },
    ),
]


def enumerate_joint(priors, slots) -> dict[str, dict[tuple[str, ...], float]]:
    """p(sentence, combination) by brute force: sentence -> combination -> probability."""
    joint: dict[str, dict[tuple[str, ...], float]] = defaultdict(lambda: defaultdict(float))
    for combination in product(*priors.values()):
        value = dict(zip(priors, combination, strict=True))
        prior = np.prod([priors[name][v] for name, v in value.items()])
        rows = [slot.table[tuple(value[name] for name in slot.given)] for slot in slots]
        for phrases in product(*rows):
            p = prior * np.prod([row[phrase] for row, phrase in zip(rows, phrases, strict=True)])
            if p > 0:
                joint[" ".join(" ".join(phrases).split())][combination] += float(p)
    return joint


def is_ambiguous(slots) -> bool:
    """Whether two choices of phrases, for any factors, give the same sentence."""
    used = [
        sorted({phrase for row in slot.table.values() for phrase, p in row.items() if p > 0})
        for slot in slots
    ]
    spelled = Counter(" ".join(" ".join(phrases).split()) for phrases in product(*used))
    return max(spelled.values()) > 1


def shannon(probabilities) -> float:
    p = np.array([q for q in probabilities if q > 0])
    return float(-(p * np.log(p)).sum())


def encode(grammar: Grammar, sentences: list[str]) -> tuple[np.ndarray, np.ndarray]:
    ids = {word: i for i, word in enumerate(grammar.words)}
    coded = [[ids.get(word, len(ids)) for word in sentence.split()] for sentence in sentences]
    return np.array([t for c in coded for t in c], dtype=np.int32), np.cumsum([0, *map(len, coded)])


def check_against_enumeration(priors, slots) -> None:
    """Every exact quantity of a small grammar."""
    grammar = Grammar(priors, slots)
    joint = enumerate_joint(priors, slots)
    sentences = list(joint)
    tokens, offsets = encode(grammar, sentences)
    total = np.array([sum(joint[s].values()) for s in sentences])
    assert total.sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(grammar.log_prob(tokens, offsets), np.log(total), atol=1e-9)
    combinations = list(product(*priors.values()))
    expected = np.array([[joint[s].get(c, 0.0) for c in combinations] for s in sentences])
    np.testing.assert_allclose(np.exp(grammar.log_joint(tokens, offsets)), expected, atol=1e-12)
    posterior = grammar.factor_posterior(tokens, offsets)
    assert grammar.entropy() == pytest.approx(shannon(total), abs=1e-9)
    assert grammar.entropies.factors_left == pytest.approx(
        shannon(expected.ravel()) - shannon(total), abs=1e-9
    )
    for k, (name, prior) in enumerate(priors.items()):
        by_value = np.stack(
            [expected[:, [c[k] == v for c in combinations]].sum(axis=1) for v in prior], axis=1
        )
        np.testing.assert_allclose(posterior[name], by_value / total[:, None], atol=1e-9)
        information = shannon(prior.values()) + shannon(total) - shannon(by_value.ravel())
        assert grammar.entropies.information[name] == pytest.approx(information, abs=1e-9)


@st.composite
def random_grammars(draw):
    """Priors and slots over three words, so that ambiguous words and factors are common."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cards = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    priors = {
        f"f{k}": dict(zip("abc", rng.dirichlet(np.ones(card)), strict=False))
        for k, card in enumerate(cards)
    }
    pool = ["", "x", "y", "z", "x y", "y x", "z z", "x z y"]
    slots = []
    for s in range(draw(st.integers(2, 4))):
        phrases = draw(st.lists(st.sampled_from(pool), min_size=2, max_size=3, unique=True))
        names = tuple(draw(st.lists(st.sampled_from(list(priors)), max_size=2, unique=True)))
        # Few distinct rows with zeros: equal rows leave factors undetermined, zeros exclude values.
        kinds = [rng.dirichlet(np.ones(len(phrases))), np.eye(len(phrases))[0]]
        keys = product(*(priors[name] for name in names))
        table = {
            key: dict(zip(phrases, map(float, kinds[rng.integers(2)]), strict=True)) for key in keys
        }
        slots.append(Slot(f"s{s}", names, table))
    return priors, slots


@pytest.fixture(scope="module")
def corpus() -> Sample:
    return english().sample(20_000, seed=3)


def test_tiny_grammar_by_hand():
    grammar = Grammar(PRIORS, SLOTS)
    tokens, offsets = encode(grammar, ["we gladly cut the pie", "we eat"])
    by_hand = [
        0.7 * (0.6 * 0.5) * (0.5 * 0.1 + 0.3 * 0.5) * 0.9,
        0.7 * 0.5 * 0.9 * (0.6 * 0.5 * 0.1 + 0.4 * 0.8 * 0.2),
    ]
    np.testing.assert_allclose(np.exp(grammar.log_prob(tokens, offsets)), by_hand)
    posterior = grammar.factor_posterior(tokens, offsets)
    np.testing.assert_allclose(posterior["tone"][0], [1, 0], atol=1e-12)
    np.testing.assert_allclose(posterior["time"][0], [0.25, 0.75, 0], atol=1e-12)


def test_tiny_grammar_by_enumeration():
    check_against_enumeration(PRIORS, SLOTS)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(random_grammars())
def test_random_grammars_are_exact_or_refused(tables):
    priors, slots = tables
    if is_ambiguous(slots):
        with pytest.raises(ValueError, match=r"ambiguous grammar: .* clashes with "):
            Grammar(priors, slots)
    else:
        check_against_enumeration(priors, slots)


def test_sample_frequencies_match_probabilities():
    grammar, n = Grammar(PRIORS, SLOTS), 200_000
    sample = grammar.sample(n, seed=5)
    names = [tuple(PRIORS[f]) for f in PRIORS]
    drawn = Counter(
        (text, tuple(values[i] for values, i in zip(names, row, strict=True)))
        for text, row in zip(
            grammar.text(sample.tokens, sample.offsets), sample.factors.tolist(), strict=True
        )
    )
    exact = {(s, c): p for s, row in enumerate_joint(PRIORS, SLOTS).items() for c, p in row.items()}
    assert set(drawn) <= set(exact)
    chi2 = sum((drawn[key] - n * p) ** 2 / (n * p) for key, p in exact.items())
    assert abs(chi2 - (len(exact) - 1)) < 4 * np.sqrt(2 * (len(exact) - 1))


def test_refusal_names_both_derivations():
    clash = [
        Slot("a", (), {(): {"x": 0.5, "x y": 0.5}}),
        Slot("b", (), {(): {"y z": 0.5, "z": 0.5}}),
    ]
    with pytest.raises(ValueError, match=r"ambiguous grammar") as refusal:
        Grammar(PRIORS, clash)
    assert "'x' as a + 'y z' as b" in str(refusal.value)
    assert "'x y' as a + 'z' as b" in str(refusal.value)


@pytest.mark.parametrize(
    ("slot", "message"),
    [
        (Slot("a", (), {(): {"x": 0.5, "y": 0.4}}), "slot 'a'.*sum to 1"),
        (Slot("a", (), {(): {"x": float("nan")}}), "slot 'a'.*sum to 1"),
        (Slot("a", (), {(): {"x": 1.5, "y": -0.5}}), "non-negative"),
        (Slot("a", ("tone",), {("good",): {"x": 1.0}}), "no row for .*bad"),
        (Slot("a", ("colour",), {("red",): {"x": 1.0}}), "unknown factors .*colour"),
        (Slot("a", (), {(): {"x  y": 1.0}}), "single spaces"),
    ],
)
def test_bad_grammar_tables_are_refused(slot, message):
    with pytest.raises(ValueError, match=message):
        Grammar(PRIORS, [slot])


def test_bad_factor_priors_are_refused():
    with pytest.raises(ValueError, match="factor 'tone'"):
        Grammar({"tone": {"good": 0.6, "bad": 0.6}}, [Slot("a", (), {(): {"x": 1.0}})])
    with pytest.raises(ValueError, match="at least one factor"):
        Grammar({}, SLOTS)


def test_impossible_sentences_have_zero_probability():
    grammar = english()
    good = "the cook will choose the bread ."
    strange = [
        "",
        "cook the",
        good[:-2],
        good + " .",
        good.replace("will", "does"),
        good.replace("cook", "dragon"),
        good * 20,
    ]
    tokens, offsets = encode(grammar, [good, *strange, good])
    tokens[tokens == len(grammar.words)] = -1  # any id outside the vocabulary
    logs = grammar.log_prob(tokens, offsets)
    assert np.isfinite(logs[[0, -1]]).all()
    assert logs[0] == logs[-1]
    assert np.isneginf(logs[1:-1]).all()
    assert np.isneginf(grammar.log_prob(np.array([10**9, 0, 1]), np.array([0, 3]))).all()
    assert np.isnan(grammar.factor_posterior(tokens, offsets)["topic"][1:-1]).all()
    assert "<unk>" in grammar.text(tokens, offsets)[6]


def test_empty_and_sliced_samples_work(corpus):
    grammar, sample = english(), corpus
    assert grammar.log_prob(np.zeros(0, int), np.zeros(1, int)).shape == (0,)
    assert grammar.log_joint(np.zeros(0, int), np.zeros(1, int)).shape == (
        0,
        len(grammar.combinations),
    )
    full = grammar.log_prob(sample.tokens, sample.offsets[: SENTENCES_AT_ONCE + 101])  # two blocks
    np.testing.assert_array_equal(
        grammar.log_prob(
            sample.tokens, sample.offsets[SENTENCES_AT_ONCE : SENTENCES_AT_ONCE + 101]
        ),
        full[SENTENCES_AT_ONCE:],
    )


def test_sample_is_determined_by_seed():
    one, same, other = (english().sample(500, seed) for seed in (1, 1, 2))
    for a, b in zip(vars(one).values(), vars(same).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.tokens, other.tokens)
    assert (one.tokens.dtype, one.offsets.dtype, one.factors.dtype) == (np.int32, np.int64, np.int8)
    assert one.factors.shape == (500, len(english().factors))
    assert len(one) == 500


def test_english_entropy_agrees_with_a_sample(corpus):
    logs = english().log_prob(corpus.tokens, corpus.offsets)
    assert abs(-logs.mean() - english().entropy()) < 4 * logs.std() / np.sqrt(len(logs))
    parts = english().entropies
    assert 18 < parts.sentence < 24
    assert 5 < parts.factors < 7
    assert 0.2 < parts.factors_left < 1.5


def test_english_posterior_matches_slow_computation():
    grammar = english()
    sample = grammar.sample(6, seed=11)
    sentences = [*grammar.text(sample.tokens, sample.offsets), "staff cut the one ."]
    joint = np.exp(grammar.log_joint(*encode(grammar, sentences)))
    names = list(grammar.factors)
    priors = {
        name: dict(zip(grammar.factors[name], p, strict=True)) for name, p in _priors().items()
    }

    def spell(words: list[str], value: dict[str, str], s: int) -> float:
        """p(slots from s on give these words | factors), summed over every way to split them."""
        if s == len(grammar.slots):
            return float(not words)
        row = grammar.slots[s].table[tuple(value[name] for name in grammar.slots[s].given)]
        lengths = ((phrase.split(), p) for phrase, p in row.items())
        return sum(
            p * spell(words[len(w) :], value, s + 1)
            for w, p in lengths
            if p and words[: len(w)] == w
        )

    for sentence, row in zip(sentences, joint, strict=True):
        for c, combination in enumerate(product(*grammar.factors.values())):
            value = dict(zip(names, combination, strict=True))
            prior = np.prod([priors[name][v] for name, v in value.items()])
            assert row[c] == pytest.approx(
                prior * spell(sentence.split(), value, 0), rel=1e-9, abs=1e-300
            )


def _priors() -> dict[str, list[float]]:
    from uncollapse.data.english import FACTOR_PRIORS as english_priors

    return {name: list(prior.values()) for name, prior in english_priors.items()}


def test_english_posteriors_are_calibrated_and_not_all_certain(corpus):
    posterior = english().factor_posterior(corpus.tokens, corpus.offsets)
    for k, (name, p) in enumerate(posterior.items()):
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-9)
        # The posterior probability of the true value has the mean of that of a value drawn from the
        # posterior.
        gap = p[np.arange(len(p)), corpus.factors[:, k]] - (p**2).sum(axis=1)
        assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap)) + 1e-9, name
        assert (p.max(axis=1) < 0.95).mean() > 0.005, name
        assert (p.max(axis=1) > 0.95).mean() > 0.5, name


def test_english_statistics_match_documentation(corpus):
    grammar = english()
    lengths = np.diff(corpus.offsets)
    assert 250 <= len(grammar.words) <= 400
    assert all(word == word.lower() for word in grammar.words)
    assert 12 < lengths.mean() < 15
    assert lengths.min() >= 5
    assert np.quantile(lengths, 0.99) <= 25
    assert lengths.std() > 3
    assert len(np.unique(corpus.tokens)) == len(grammar.words)
    assert len(grammar.factors) >= 5
    for text, row in zip(
        grammar.text(corpus.tokens, corpus.offsets)[:2000], corpus.factors, strict=False
    ):
        mood = grammar.factors["mood"][row[list(grammar.factors).index("mood")]]
        assert text[-1] in {"statement": ".!", "question": "?", "exclamation": "!"}[mood]


def test_startup_is_fast():
    code = (
        "import sys, uncollapse.data.english as e; e.english(); assert not "
        "{'torch', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
