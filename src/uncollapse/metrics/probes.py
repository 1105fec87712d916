"""Linear probes: which known factors can be read from a code, given few labels.

`probe` reads the posterior mean. factor_information reads codes z drawn from the posterior, as the
mean of a collapsed posterior can be tiny and yet tell the factors: it is the usable information for
linear classifiers (Xu et al., "A Theory of Usable Information under Computational Constraints",
ICLR 2020, definition 2)

    sum_k  H(f_k) - E[-log p(f_k | z)]

with the probabilities p of the fitted classifiers on held-out examples, and the entropy H of the
classes' frequencies among these. In expectation it is a lower bound on sum_k I(z; f_k).
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from uncollapse.errors import InputError, check_integer
from uncollapse.metrics.base import with_error
from uncollapse.metrics.rows_evaluation import LABEL_BUDGETS

PROBE_SEED = 7381  # of the choice of labelled examples


def check_budgets(labels: Sequence[int], available: int) -> None:
    """InputError for a budget that is not an integer from 2 to the number of labelled examples."""
    for budget in labels:
        check_integer("labels", budget, 2)
        if budget > available:
            raise InputError(
                f"labels={budget}: there are only {available} labelled training examples"
            )


def usual_budgets(available: int) -> list[int]:
    """The default budgets that do not exceed the number of labelled examples."""
    return [budget for budget in LABEL_BUDGETS if budget <= available]


def probe(
    train: np.ndarray,
    train_labels: Mapping[str, np.ndarray],
    test: np.ndarray,
    test_labels: Mapping[str, np.ndarray],
    budgets: Sequence[int],
    best: Mapping[str, float] | None = None,
) -> dict:
    """Logistic regression on codes [N, D], for each factor and label budget.

    `probe` is the mean accuracy over factors at the last budget, and `probe_chance` that of always
    guessing the most common class. `best` is the accuracy of the ideal classifier of x, if known.
    """
    check_budgets(budgets, len(train))
    # nested subsets, the same for every head
    order = np.random.default_rng(PROBE_SEED).permutation(len(train))
    curves: dict[str, dict] = {}
    correct = []  # at the last budget, [N] for each factor
    for name, labels in train_labels.items():
        truth = test_labels[name]
        classes = len(np.union1d(labels, truth))
        tested = [
            classify(train[chosen], labels[chosen], test, truth, classes)
            for chosen in (order[:n] for n in budgets)
        ]
        accuracy = [float(t.correct.mean()) for t in tested]
        curves[name] = {
            "accuracy": accuracy,
            # the standard error of a share a of n independent examples
            "se": [float(np.sqrt(a * (1 - a) / len(truth))) for a in accuracy],
            "chance": float((truth == np.bincount(labels).argmax()).mean()),
            "oracle": None if best is None else best[name],
        }
        correct.append(tested[-1].correct)
    return {
        # averaged over factors first, as those of one example are not independent
        **with_error("probe", np.mean(correct, axis=0)),
        "probe_chance": float(np.mean([curve["chance"] for curve in curves.values()])),
        "probe_labels": int(budgets[-1]),
        "probe_curves": {"labels": list(budgets), "factors": curves},
    }


def factor_information(
    train: np.ndarray,
    train_labels: Mapping[str, np.ndarray],
    test: np.ndarray,
    test_labels: Mapping[str, np.ndarray],
    left: Mapping[str, float] | None = None,
) -> dict:
    """The nats about each factor that a linear classifier reads from codes [N, D], and their sum.

    `left` is the entropy of each factor given x, in nats, if known; then the best value is too.
    """
    gains: list[np.ndarray] = []
    factors: dict[str, dict] = {}
    for name, labels in train_labels.items():
        truth = test_labels[name]
        classes = len(np.union1d(labels, truth))
        gain = classify(train, labels, test, truth, classes).log_prob - log_frequency(truth)
        gains.append(gain)
        entropy = -float(log_frequency(truth).mean())
        best = None if left is None else entropy - left[name]
        factors[name] = {"information": float(gain.mean()), "entropy": entropy, "best": best}
    found = {
        **with_error("factor_information", np.sum(gains, axis=0)),
        "factor_information_each": factors,
    }
    if left is not None:
        found["factor_information_best"] = sum(factor["best"] for factor in factors.values())
    return found


class Classified(NamedTuple):
    """What a classifier says about N test examples."""

    correct: np.ndarray  # [N], whether its most likely class is the true one
    log_prob: np.ndarray  # [N] nats, its log probability of the true class


def classify(
    codes: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, classes: int
) -> Classified:
    """Fit to codes [n, D] with labels, and test on others; `classes`: how many classes exist."""
    from scipy.special import log_softmax

    present = np.unique(labels)
    scores = score_classes(codes, labels, test)  # [N, C]
    # a class without a label counts as seen once, so that no probability is 0
    unseen = classes - len(present)
    log_seen = log_softmax(scores, axis=1) + np.log(len(labels) / (len(labels) + unseen))
    place = np.searchsorted(present, truth).clip(max=len(present) - 1)
    known = present[place] == truth
    log_prob = np.where(
        known, log_seen[np.arange(len(truth)), place], -np.log(len(labels) + unseen)
    )
    return Classified(present[scores.argmax(1)] == truth, log_prob)


def score_classes(codes: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The logits [N, C] of a logistic regression, for the classes among the labels in order."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # logistic regression needs two classes; a small budget may contain one
    if len(np.unique(labels)) == 1:
        return np.zeros((len(test), 1))
    # standardised, so that the scale of a head's codes (gamma) does not change the regularisation
    centre, scale = codes.mean(0), codes.std(0)
    # the standard deviation of equal numbers may not be exactly 0
    scale = np.where(np.ptp(codes, 0) > 0, scale, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(max_iter=500).fit((codes - centre) / scale, labels)
    scores = fitted.decision_function((test - centre) / scale)
    # of two classes, the first has logit 0
    return scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], 1)


def log_frequency(labels: np.ndarray) -> np.ndarray:
    """The log of the share of each example's class among class numbers [N], [N] nats."""
    return np.log(np.bincount(labels)[labels] / len(labels))
