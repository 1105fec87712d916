"""Nats about known factors that linear classifiers read from codes."""

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import folder_of, run_here, summary
from schemas import GrammarConfig
from scipy.integrate import quad
from scipy.stats import entropy, norm
from sklearn.linear_model import LogisticRegression

from uncollapse.data.english import english
from uncollapse.evaluation.command import main as evaluate
from uncollapse.metrics.probes import classify, factor_information


def informed(codes, labels, test, truth, **known) -> dict:
    """The information about one factor, "f"."""
    return factor_information(codes, {"f": labels}, test, {"f": truth}, **known)


def binary_channel(distance: float) -> float:
    """I(z; f) in nats for a fair bit f and z ~ N(+-distance/2, 1), by quadrature."""

    def term(z: float) -> float:
        one, two = norm.pdf(z, -distance / 2), norm.pdf(z, distance / 2)
        return one * math.log(2 * one / (one + two))

    return quad(term, -distance / 2 - 9, distance / 2 + 9)[0]


# ---------------------------------------------------------------- known values


def test_information_of_a_gaussian_code_matches_quadrature() -> None:
    """The log odds of the two classes are linear in z, so nothing is lost but sampling noise."""
    rng = np.random.default_rng(0)
    for distance in (1.0, 3.0):
        labels, truth = rng.integers(0, 2, 5000), rng.integers(0, 2, 5000)
        codes, test = (rng.normal(distance * (f - 0.5))[:, None] for f in (labels, truth))
        got = informed(codes, labels, test, truth)
        expected = binary_channel(distance)
        assert abs(got["factor_information"] - expected) < 4 * got["factor_information_se"]
        assert 0.001 < got["factor_information_se"] < 0.02


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_separated_classes_give_almost_their_entropy(classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels, truth = rng.integers(0, classes, 2000), rng.integers(0, classes, 1000)
    got = informed(20.0 * np.eye(classes)[labels], labels, 20.0 * np.eye(classes)[truth], truth)
    factor = got["factor_information_each"]["f"]
    assert factor["entropy"] == pytest.approx(entropy(np.bincount(truth)))
    assert 0.95 * factor["entropy"] < got["factor_information"] < factor["entropy"]


def test_information_is_the_gain_over_the_classes_frequencies() -> None:
    """By hand, from scikit-learn's own probabilities."""
    rng = np.random.default_rng(1)
    labels, truth = rng.integers(0, 3, 400), rng.integers(0, 3, 300)
    codes, test = (np.eye(3)[f] + rng.normal(0, 1, (len(f), 3)) for f in (labels, truth))
    fitted = LogisticRegression(max_iter=500).fit((codes - codes.mean(0)) / codes.std(0), labels)
    chance = fitted.predict_proba((test - codes.mean(0)) / codes.std(0))
    gain = np.log(chance[np.arange(300), truth] / (np.bincount(truth) / 300)[truth])
    got = informed(codes, labels, test, truth)
    assert got["factor_information"] == pytest.approx(gain.mean())
    assert got["factor_information_se"] == pytest.approx(gain.std(ddof=1) / math.sqrt(300))


def test_factors_are_added_and_listed() -> None:
    rng = np.random.default_rng(2)
    labels, truth = rng.integers(0, 2, (2, 600)), rng.integers(0, 2, (2, 500))
    codes, test = (2.0 * f.T + rng.normal(0, 1, f.T.shape) for f in (labels, truth))
    names = ("a", "b")
    known, real = (dict(zip(names, values, strict=True)) for values in (labels, truth))
    got = factor_information(codes, known, test, real)
    factors = got["factor_information_each"]
    for name in names:
        alone = informed(codes, known[name], test, real[name])
        assert factors[name] == alone["factor_information_each"]["f"]
        assert factors[name]["information"] == pytest.approx(alone["factor_information"])
    total = sum(factor["information"] for factor in factors.values())
    assert got["factor_information"] == pytest.approx(total)


# ---------------------------------------------------------------- negative, and unseen classes


def test_useless_codes_give_about_zero_and_few_labels_a_negative_value() -> None:
    rng = np.random.default_rng(3)
    labels, truth = rng.integers(0, 2, 4000), rng.integers(0, 2, 4000)
    codes, test = rng.normal(0, 1, (4000, 10)), rng.normal(0, 1, (4000, 10))
    few, many = (
        informed(codes[:n], labels[:n], test, truth)["factor_information"] for n in (20, 4000)
    )
    assert few < -0.3 < -0.01 < many < 0.005


def test_constant_code_gives_what_the_frequencies_lose() -> None:
    """Its probabilities are the classes' frequencies among the labels: here 3/4 in place of 1/2."""
    labels, truth = np.array([0, 0, 0, 1] * 50), np.array([0, 1] * 50)
    got = informed(np.ones((200, 2)), labels, np.ones((100, 2)), truth)
    expected = 0.5 * math.log(0.75 / 0.5) + 0.5 * math.log(0.25 / 0.5)
    assert got["factor_information"] == pytest.approx(expected, abs=1e-3)


def test_class_without_a_label_counts_as_seen_once() -> None:
    """Four labels of class 0; of the other three classes, one label each is assumed."""
    truth = np.array([0, 1, 2, 3])
    tested = classify(np.ones((4, 1)), np.zeros(4, int), np.ones((4, 1)), truth, classes=4)
    np.testing.assert_allclose(np.exp(tested.log_prob), [4 / 7, 1 / 7, 1 / 7, 1 / 7])
    assert tested.correct.tolist() == [True, False, False, False]


def test_probabilities_of_all_classes_sum_to_one_where_some_are_unseen() -> None:
    rng = np.random.default_rng(4)
    labels = rng.choice([1, 4], 50)
    codes = labels[:, None] + rng.normal(0, 1, (50, 1))
    point = np.array([[2.0]])
    each = [classify(codes, labels, point, np.array([c]), 5).log_prob[0] for c in range(5)]
    assert np.exp(each).sum() == pytest.approx(1)
    assert np.exp(each)[[0, 2, 3]] == pytest.approx(1 / 53)


# ---------------------------------------------------------------- the best possible value


def test_best_value_is_the_entropy_that_x_removes() -> None:
    truth = np.array([0, 1, 2, 3])
    codes = np.zeros((4, 1))
    got = informed(codes, truth, codes, truth, left={"f": 0.3})
    assert got["factor_information_best"] == pytest.approx(math.log(4) - 0.3)
    unknown = informed(codes, truth, codes, truth)
    assert "factor_information_best" not in unknown
    assert unknown["factor_information_each"]["f"]["best"] is None


def test_best_value_of_the_grammar_agrees_with_its_exact_information() -> None:
    data = GrammarConfig(train=20, valid=20, test=4000).load()
    grammar = english()
    left, labels = data.label_entropy("test"), data.labels["test"]
    assert list(left) == list(labels) == list(grammar.factors)
    for name, exact in grammar.entropies.information.items():
        frequencies = np.bincount(labels[name]) / 4000
        assert entropy(frequencies) - left[name] == pytest.approx(exact, abs=0.03), name


def test_no_probe_of_word_counts_exceeds_the_best_value() -> None:
    data = GrammarConfig(train=600, valid=20, test=400).load()

    def counts(split: str) -> np.ndarray:
        corpus = data.corpora[split]
        table = np.zeros((len(corpus), len(data.vocabulary)))
        np.add.at(table, (np.repeat(np.arange(len(corpus)), corpus.lengths), corpus.tokens), 1)
        return table

    got = factor_information(
        counts("train"),
        data.labels["train"],
        counts("test"),
        data.labels["test"],
        data.label_entropy("test"),
    )
    best = got["factor_information_best"]
    assert 0.5 * best < got["factor_information"] < best + 3 * got["factor_information_se"]


# ---------------------------------------------------------------- runs


def test_collapsed_code_has_no_information_though_its_mean_tells_factors(tmp_path: Path) -> None:
    """Before training, the mean is a tiny function of the sentence and the variance is near 1."""
    words = ("data.train=600", "data.test=600", "trainer.max_steps=1", "trainer.lr=1e-9")
    run_here(tmp_path, "plain", *words)
    assert evaluate([str(tmp_path / "scratch"), "--metrics", "probe", "--labels", "600"]) == 0
    found = summary(folder_of(tmp_path, "plain"))
    assert found["probe"] > found["probe_chance"] + 0.03
    assert found["factor_information"] < 3 * found["factor_information_se"]
    assert found["factor_information_best"] > 3
