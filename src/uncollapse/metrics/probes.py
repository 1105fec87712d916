"""Linear probes: which known factors can be read from the posterior mean, given few labels."""

import warnings
from collections.abc import Mapping, Sequence

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
    """Accuracy of logistic regression on codes [N, D], for each factor and label budget.

    `probe` is the mean over factors at the last budget, and `probe_chance` the accuracy of always
    guessing the most common class. `best`: the accuracy of the ideal classifier of x, where known.
    """
    check_budgets(budgets, len(train))
    # nested subsets, the same for every head
    order = np.random.default_rng(PROBE_SEED).permutation(len(train))
    curves, correct = {}, []
    for name, labels in train_labels.items():
        hits = [
            is_correct(train[chosen], labels[chosen], test, test_labels[name])
            for chosen in (order[:n] for n in budgets)
        ]
        correct.append(hits[-1])
        accuracy = [float(h.mean()) for h in hits]
        curves[name] = {
            "accuracy": accuracy,
            # the standard error of a share a of n independent examples
            "se": [float(np.sqrt(a * (1 - a) / len(test))) for a in accuracy],
            "chance": float((test_labels[name] == np.bincount(labels).argmax()).mean()),
            "oracle": None if best is None else best[name],
        }
    mean = np.mean(correct, axis=0)  # [N]: factors of one example are not independent
    return {
        **with_error("probe", mean),
        "probe_chance": float(np.mean([curve["chance"] for curve in curves.values()])),
        "probe_labels": int(budgets[-1]),
        "probe_curves": {"labels": list(budgets), "factors": curves},
    }


def is_correct(
    codes: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray
) -> np.ndarray:
    """Whether each test example [N] is classified correctly after fitting to codes [n, D]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # logistic regression needs two classes; a small budget may contain one
    if len(np.unique(labels)) == 1:
        return truth == labels[0]
    # standardised, so that the scale of a head's codes (gamma) does not change the regularisation
    centre, scale = codes.mean(0), codes.std(0)
    # the standard deviation of equal numbers may not be exactly 0
    scale = np.where(np.ptp(codes, 0) > 0, scale, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(max_iter=500).fit((codes - centre) / scale, labels)
    return fitted.predict((test - centre) / scale) == truth
