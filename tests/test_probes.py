"""Linear probes on codes with known labels, and the labels of the grammar's sentences."""

import math
import warnings

import numpy as np
import pytest
import sklearn.linear_model
from hypothesis import given, settings
from hypothesis import strategies as st
from schemas import GrammarConfig
from scipy.stats import norm, sem

from uncollapse.data.corpus import SPECIALS
from uncollapse.data.english import english
from uncollapse.errors import InputError
from uncollapse.metrics.probes import PROBE_SEED as SEED
from uncollapse.metrics.probes import check_budgets, probe
from uncollapse.metrics.probes import usual_budgets as fitting
from uncollapse.metrics.rows_evaluation import LABEL_BUDGETS as LABELS


def classes(rng, n, classes_=3, d=4, apart=8.0):
    """Codes [n, d] around one centre per class with unit spread, and labels [n]."""
    labels = rng.integers(0, classes_, n)
    return rng.normal(0, 1, (n, d)) + apart * np.eye(d)[labels], labels


def accuracies(codes, labels, test, truth, budgets) -> list[float]:
    return probe(codes, {"f": labels}, test, {"f": truth}, budgets)["probe_curves"]["factors"]["f"][
        "accuracy"
    ]


# ---------------------------------------------------------------- accuracy


@pytest.mark.parametrize("count", [2, 3, 4])
def test_separable_codes_are_classified_perfectly(count):
    rng = np.random.default_rng(0)
    codes, labels = classes(rng, 300, count, apart=12.0)
    test, truth = classes(rng, 200, count, apart=12.0)
    got = probe(codes, {"f": labels}, test, {"f": truth}, [50, 300])
    assert got["probe"] == 1.0 and got["probe_se"] == 0.0 and got["probe_labels"] == 300
    assert got["probe_curves"]["labels"] == [50, 300]
    curve = got["probe_curves"]["factors"]["f"]
    assert curve["accuracy"] == [1.0, 1.0] and curve["se"] == [0.0, 0.0] and curve["oracle"] is None


def test_accuracy_on_overlapping_classes_matches_best_boundary():
    """N(-1, 1) and N(1, 1): no classifier is right more often than Phi(1)."""
    rng = np.random.default_rng(1)
    labels, truth = rng.integers(0, 2, 4000), rng.integers(0, 2, 4000)
    codes, test = (rng.normal(0, 1, 4000) + 2 * y - 1 for y in (labels, truth))
    got = probe(codes[:, None], {"f": labels}, test[:, None], {"f": truth}, [4000])
    assert abs(got["probe"] - norm.cdf(1)) < 4 * got["probe_se"]
    assert got["probe_se"] == pytest.approx(math.sqrt(norm.cdf(1) * norm.cdf(-1) / 4000), rel=0.05)
    assert got["probe_curves"]["factors"]["f"]["se"][0] == pytest.approx(got["probe_se"], rel=1e-3)


def test_uninformative_codes_score_chance():
    rng = np.random.default_rng(2)
    labels, truth = (rng.choice(3, 3000, p=[0.2, 0.7, 0.1]) for _ in range(2))
    got = probe(
        rng.normal(0, 1, (3000, 4)),
        {"f": labels},
        rng.normal(0, 1, (3000, 4)),
        {"f": truth},
        [3000],
    )
    chance = got["probe_curves"]["factors"]["f"]["chance"]
    assert chance == (truth == 1).mean()
    assert abs(got["probe"] - chance) < 4 * got["probe_se"]


def test_chance_is_most_common_training_class():
    labels, truth = np.array([2, 2, 2, 0, 0, 1]), np.array([0, 0, 0, 2, 1])
    codes = np.random.default_rng(0).normal(0, 1, (6, 2))
    got = probe(codes, {"f": labels}, codes[:5], {"f": truth}, [6])
    assert got["probe_curves"]["factors"]["f"]["chance"] == 0.2


def test_probe_averages_factors_at_last_budget():
    rng = np.random.default_rng(3)
    codes, known = classes(rng, 400, apart=3.0)
    test, truth = classes(rng, 300, apart=3.0)
    labels = {"known": known, "same": known, "noise": rng.integers(0, 2, 400)}
    truths = {"known": truth, "same": truth, "noise": rng.integers(0, 2, 300)}
    best = {"known": 0.9, "same": 0.8, "noise": 0.5}
    got = probe(codes, labels, test, truths, [40, 400], best)
    factors = got["probe_curves"]["factors"]
    assert (
        list(factors) == list(labels)
        and factors["known"]["accuracy"] == factors["same"]["accuracy"]
    )
    assert {name: curve["oracle"] for name, curve in factors.items()} == best
    assert got["probe"] == pytest.approx(
        np.mean([curve["accuracy"][-1] for curve in factors.values()])
    )
    # two factors are identical: their hits are not independent
    fitted = sklearn.linear_model.LogisticRegression(max_iter=500)
    scaled = (codes - codes.mean(0)) / codes.std(0), (test - codes.mean(0)) / codes.std(0)
    hits = [
        fitted.fit(scaled[0], labels[name]).predict(scaled[1]) == truths[name] for name in labels
    ]
    assert got["probe_se"] == pytest.approx(sem(np.mean(hits, 0)), rel=0.02)
    for curve in factors.values():
        for accuracy, error in zip(curve["accuracy"], curve["se"], strict=True):
            assert error == pytest.approx(math.sqrt(accuracy * (1 - accuracy) / 300))


def test_accuracy_increases_with_labels():
    rng = np.random.default_rng(4)
    codes, labels = classes(rng, 2000, d=30, apart=2.0)
    test, truth = classes(rng, 2000, d=30, apart=2.0)
    few, some, many = accuracies(codes, labels, test, truth, [20, 200, 2000])
    assert few + 0.03 < some < many


# ---------------------------------------------------------------- scale


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1e-6, 1e-3, 1.0, 1e4]),
    st.sampled_from([0.0, -3.0, 100.0]),
)
def test_scale_and_shift_of_dimensions_do_not_matter(seed, scale, shift):
    rng = np.random.default_rng(seed)
    codes, labels = classes(rng, 150, apart=2.0)
    test, truth = classes(rng, 200, apart=2.0)
    factor = scale * rng.choice([-1.0, 0.5, 2.0], 4)
    moved = accuracies(
        codes * factor + scale * shift, labels, test * factor + scale * shift, truth, [20, 150]
    )
    np.testing.assert_allclose(
        moved, accuracies(codes, labels, test, truth, [20, 150]), atol=0.5 / 200 + 1e-9
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_scale_with_large_shift_is_classified(dtype):
    rng = np.random.default_rng(6)
    codes, labels = classes(rng, 300, apart=2.0)
    test, truth = classes(rng, 1000, apart=2.0)
    plain = accuracies(codes, labels, test, truth, [300])
    tiny = accuracies(
        (1e-3 * codes + 0.5).astype(dtype), labels, (1e-3 * test + 0.5).astype(dtype), truth, [300]
    )
    assert tiny == pytest.approx(plain, abs=0.002)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -7.7e5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_dimension_changes_nothing(value, dtype):
    """The mean and deviation of equal numbers are not exact.

    The rounding error must not count as a scale.
    """
    rng = np.random.default_rng(7)
    codes, labels = classes(rng, 300, apart=2.0)
    test, truth = classes(rng, 300, apart=2.0)

    def widened(x, value):
        return np.concatenate([x, np.full((len(x), 1), value)], 1).astype(dtype)

    plain = accuracies(codes, labels, test, truth, [100, 300])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = accuracies(
            widened(codes, value), labels, widened(test, value), truth, [100, 300]
        )
        # equal up to a few units in the last place, because another product may round differently
        nearly = value * (1 + 4 * np.finfo(dtype).eps)
        elsewhere = accuracies(
            widened(codes, value), labels, widened(test, nearly), truth, [100, 300]
        )
    assert constant == pytest.approx(plain, abs=0.004) and elsewhere == pytest.approx(
        plain, abs=0.004
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, -7.7e5])
def test_nearly_constant_dimension_is_harmless(
    value,
):
    rng = np.random.default_rng(7)
    codes, labels = classes(rng, 300, apart=4.0)
    test, truth = classes(rng, 400, apart=4.0)
    plain = accuracies(codes, labels, test, truth, [300])
    still = np.concatenate([codes, np.full((300, 1), value)], 1)
    moving = np.concatenate([test, value + rng.normal(0, 1e-3, (400, 1))], 1)
    assert accuracies(still, labels, moving, truth, [300]) == pytest.approx(plain, abs=0.004)


def test_equal_codes_score_as_most_common_class():
    rng = np.random.default_rng(8)
    labels, truth = (rng.choice(2, 400, p=[0.3, 0.7]) for _ in range(2))
    got = probe(
        np.full((400, 3), 0.1), {"f": labels}, np.full((400, 3), 0.1), {"f": truth}, [100, 400]
    )
    curve = got["probe_curves"]["factors"]["f"]
    assert curve["accuracy"] == [curve["chance"]] * 2


def test_tiny_mean_differences_can_be_classified():
    rng = np.random.default_rng(9)
    codes, labels = classes(rng, 300, apart=12.0)
    assert accuracies(1e-9 * codes, labels, 1e-9 * codes, labels, [300]) == [1.0]


# ---------------------------------------------------------------- subsets and budgets


def record_fits(monkeypatch, codes, labels, budgets) -> list[tuple[np.ndarray, np.ndarray]]:
    """The (codes, labels) of each fit, factor by factor and budget by budget."""
    found = []

    class Spy:
        def __init__(self, **_):
            pass

        def fit(self, x, y):
            found.append((x, y))
            return self

        def decision_function(self, x):
            return np.zeros((len(x), len(np.unique(found[-1][1]))))

    monkeypatch.setattr(sklearn.linear_model, "LogisticRegression", Spy)
    probe(codes, labels, codes, labels, budgets)
    return found


def test_label_subsets_are_nested_and_shared(monkeypatch):
    n, budgets = 60, [5, 20, 60]
    number = np.arange(n)  # the label is the example number
    picks = []
    for codes in (number[:, None] / 7.0, -3.0 * number[:, None]):
        found = record_fits(monkeypatch, codes, {"a": number, "b": number[::-1].copy()}, budgets)
        picks += [[y.tolist() for _, y in found[:3]], [(n - 1 - y).tolist() for _, y in found[3:]]]
        for x, y in found[:3]:  # each code keeps its label and is standardised by the fitted subset
            np.testing.assert_allclose(
                x[:, 0], (codes[y, 0] - codes[y, 0].mean()) / codes[y, 0].std()
            )
    assert all(pick == picks[0] for pick in picks)
    few, some, everything = picks[0]
    assert [len(few), len(some), len(everything)] == budgets
    assert some[:5] == few and everything[:20] == some and sorted(everything) == number.tolist()
    # a random subset, not the first examples
    assert sorted(few) != list(range(5)) and sorted(some) != list(range(20))


def test_subset_of_one_class_predicts_that_class():
    codes, truth = np.random.default_rng(0).normal(0, 1, (500, 2)), np.array([0, 0, 0, 1, 2])
    assert accuracies(codes, np.full(500, 2), codes[:5], truth, [2, 500]) == [0.2, 0.2]
    labels = np.zeros(500, dtype=int)
    labels[np.random.default_rng(SEED).permutation(500)[20:]] = 2  # absent from the first twenty
    assert accuracies(codes, labels, codes[:5], truth, [2, 20]) == [0.6, 0.6]


def test_class_only_in_test_split_is_missed():
    rng = np.random.default_rng(1)
    codes, labels = classes(rng, 100, 2, apart=12.0)
    assert accuracies(codes, labels, codes, np.full(100, 7), [100]) == [0.0]


def test_labels_can_have_any_integer_width():
    rng = np.random.default_rng(1)
    codes, labels = classes(rng, 300, apart=2.0)
    test, truth = classes(rng, 300, apart=2.0)
    wide, narrow = (
        probe(codes, {"f": labels.astype(dtype)}, test, {"f": truth.astype(dtype)}, [300])
        for dtype in (np.int64, np.int8)
    )
    assert wide == narrow


def test_probe_is_repeatable_without_touching_random_state():
    rng = np.random.default_rng(1)
    codes, labels = classes(rng, 300, apart=2.0)
    state = np.random.get_state()[1].copy()
    one, two = (probe(codes, {"f": labels}, codes, {"f": labels}, [100, 300]) for _ in range(2))
    assert one == two and (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ([2, 301], r"^labels=301: there are only 300 labelled training examples$"),
        ([10_000], r"^labels=10000: there are only 300 labelled"),
        ([1], r"^labels=1: allowed is an integer of at least 2$"),
        ([0], r"^labels=0: "),
        ([-5], r"^labels=-5: "),
        ([2.5], r"^labels=2\.5: "),
        ([True], r"^labels=True: "),
        (["100"], r"^labels=100: "),
    ],
)
def test_oversized_budgets_are_refused_before_fitting(monkeypatch, budgets, message):
    monkeypatch.setattr(
        sklearn.linear_model, "LogisticRegression", lambda **_: pytest.fail("something was fitted")
    )
    with pytest.raises(InputError, match=message):
        check_budgets(budgets, 300)
    codes, labels = np.zeros((300, 2)), {"f": np.arange(300) % 2}
    with pytest.raises(InputError, match=message):
        probe(codes, labels, codes, labels, budgets)


def test_default_budgets_are_limited_by_data():
    assert LABELS == (100, 500, 1000, 2000, 10_000)
    assert fitting(99) == [] and fitting(100) == [100] and fitting(1999) == [100, 500, 1000]
    assert fitting(20_000) == list(LABELS)
    check_budgets(fitting(1999), 1999)


# ---------------------------------------------------------------- the grammar's labels


@pytest.fixture(scope="module")
def data():
    return GrammarConfig(train=600, valid=20, test=200).load()


def test_labels_match_sentences(data):
    grammar = english()
    assert set(data.labels) == {"train", "valid", "test"}
    for split, factors in data.labels.items():
        corpus = data.corpora[split]
        assert list(factors) == list(grammar.factors)
        posterior = grammar.factor_posterior(corpus.tokens - len(SPECIALS), corpus.offsets)
        for name, values in factors.items():
            assert values.shape == (len(corpus),) and np.issubdtype(values.dtype, np.integer)
            assert set(np.unique(values)) <= set(range(len(grammar.factors[name])))
            assert (posterior[name][np.arange(len(corpus)), values] > 0).all(), (split, name)
            sure = posterior[name].max(1) > 1 - 1e-9
            assert (posterior[name].argmax(1) == values)[sure].all() and sure.mean() > 0.5, (
                split,
                name,
            )


def test_labels_agree_with_words(data):
    moods = list(english().factors["mood"])
    ends = {"statement": {".", "!"}, "question": {"?"}, "exclamation": {"!"}}
    corpus = data.corpora["test"]
    for last, mood in zip(corpus.offsets[1:] - 1, data.labels["test"]["mood"], strict=True):
        assert data.vocabulary[corpus.tokens[last]] in ends[moods[mood]]


def test_ideal_classifier_is_calibrated(data):
    """The promised accuracy is the mean of the largest posterior probability.

    On 600 sentences the observed accuracy agrees with it within four standard errors.
    """
    grammar, corpus = english(), data.corpora["train"]
    posterior = grammar.factor_posterior(corpus.tokens - len(SPECIALS), corpus.offsets)
    promised = data.best_accuracy("train")
    for name, values in data.labels["train"].items():
        certainty = posterior[name].max(1)
        assert promised[name] == pytest.approx(certainty.mean())
        error = math.sqrt((certainty * (1 - certainty)).sum()) / len(corpus)
        assert (
            abs((posterior[name].argmax(1) == values).mean() - promised[name]) <= 4 * error + 1e-9
        ), name


def test_probe_of_word_counts_stays_below_oracle(data):
    """Codes: how often each word stands in the sentence."""

    def counts(split):
        corpus = data.corpora[split]
        table = np.zeros((len(corpus), len(data.vocabulary)))
        np.add.at(table, (np.repeat(np.arange(len(corpus)), corpus.lengths), corpus.tokens), 1)
        return table

    best = data.best_accuracy("test")
    got = probe(
        counts("train"), data.labels["train"], counts("test"), data.labels["test"], [100, 600], best
    )
    for name, curve in got["probe_curves"]["factors"].items():
        assert curve["oracle"] == best[name]
        assert (
            curve["chance"] + 0.1
            < curve["accuracy"][1]
            < curve["oracle"] + 4 * curve["se"][1] + 0.01
        ), name
    assert got["probe_labels"] == 600
