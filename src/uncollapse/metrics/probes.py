"""What a linear classifier reads from the posterior mean: which known factors the code carries, and from how few labels."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from uncollapse.errors import InputError, check_integer
from uncollapse.metrics.base import with_error

LABELS = (100, 500, 1000, 2000, 10_000)
SEED = 7381  # of the choice of labelled examples


def check_budgets(labels: Sequence[int], available: int) -> None:
    """InputError for a budget that is no whole number above 1, or that needs more labelled examples than there are."""
    for budget in labels:
        check_integer("labels", budget, 2)
        if budget > available:
            raise InputError(
                f"labels={budget}: only {available} labelled training examples are there"
            )


def fitting(available: int) -> list[int]:
    """The usual budgets that the data can fill."""
    return [budget for budget in LABELS if budget <= available]


def probe(
    train: np.ndarray,
    train_labels: Mapping[str, np.ndarray],
    test: np.ndarray,
    test_labels: Mapping[str, np.ndarray],
    budgets: Sequence[int],
    best: Mapping[str, float] | None = None,
) -> dict:
    """Accuracy of logistic regression on codes [N, D] for each factor and label budget; `probe` is the mean over factors at the last, and
    `probe_chance` what always guessing the commonest classes reaches on the same examples.

    Codes are standardised by the labelled ones, so that a head's scale (gamma) does not act as regularisation. Subsets are nested, the
    same for every head. `chance`: always the commonest class; `best`: what the ideal classifier of x itself reaches, where known.
    The encoder is frozen in evaluation mode and the mean carries no noise: a code whose mean hardly moves can still score.
    """
    check_budgets(budgets, len(train))
    order = np.random.default_rng(SEED).permutation(len(train))
    curves, right = {}, []
    for name, labels in train_labels.items():
        hits = [
            hit(train[chosen], labels[chosen], test, test_labels[name])
            for chosen in (order[:n] for n in budgets)
        ]
        right.append(hits[-1])
        accuracy = [float(h.mean()) for h in hits]
        curves[name] = {
            "accuracy": accuracy,
            "se": [float(np.sqrt(a * (1 - a) / len(test))) for a in accuracy],
            "chance": float((test_labels[name] == np.bincount(labels).argmax()).mean()),
            "oracle": None if best is None else best[name],
        }
    mean = np.mean(right, axis=0)  # [N]: factors of one example are not independent
    return {
        **with_error("probe", mean),
        "probe_chance": float(np.mean([curve["chance"] for curve in curves.values()])),
        "probe_labels": int(budgets[-1]),
        "probe_curves": {"labels": list(budgets), "factors": curves},
    }


def hit(codes: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Whether each test example [N] is classified rightly after fitting to codes [n, D], labels [n]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) == 1:
        return truth == labels[0]
    centre, scale = codes.mean(0), codes.std(0)
    scale = np.where(
        np.ptp(codes, 0) > 0, scale, 1.0
    )  # of equal numbers the deviation is not exactly 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(max_iter=500).fit((codes - centre) / scale, labels)
    return fitted.predict((test - centre) / scale) == truth
