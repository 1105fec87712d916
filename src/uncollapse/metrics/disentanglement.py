"""Whether single dimensions of mu stand for single known factors: MIG and DCI.

MIG, the mutual information gap (Chen et al., "Isolating Sources of Disentanglement in VAEs",
NeurIPS 2018, section 4), over K factors v_k and dimensions z_j:

    1/K sum_k  (I(z_(1); v_k) - I(z_(2); v_k)) / H(v_k)

with the two dimensions that share most with the factor. z_j is cut into 20 bins of equal width, as
in Locatello et al., "Challenging Common Assumptions in the Unsupervised Learning of Disentangled
Representations", ICML 2019.

DCI (Eastwood & Williams, "A Framework for the Quantitative Evaluation of Disentangled
Representations", ICLR 2018, section 2): a random forest per factor predicts v_k from all
dimensions; R_jk >= 0 is the importance of dimension j, its share of the decrease in impurity.

    disentanglement  sum_j rho_j (1 - H_K(P_j)),  P_jk = R_jk / sum_k R_jk,  rho_j ~ sum_k R_jk
    completeness     1/K sum_k (1 - H_D(Q_k)),    Q_jk = R_jk / sum_j R_jk
    informativeness  accuracy on held-out examples, averaged over the factors

H_n is the entropy with logarithms to the base n. The forest has 10 trees, as in the paper, each
grown until a leaf holds few examples: deeper trees fit noise, whose importances spread over all
dimensions.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

BINS = 20  # per dimension, for MIG
TREES = 10
SMALLEST_LEAF = 0.004  # share of the examples that a leaf holds at least
FOREST_SEED = 7381

Labels = Mapping[str, np.ndarray]  # factor -> class numbers [N]


def score_disentanglement(
    train: np.ndarray, train_labels: Labels, test: np.ndarray, test_labels: Labels, workers: int = 1
) -> dict:
    """MIG of test codes [N, D], and DCI of forests that are fitted to training codes [n, D].

    Every factor needs at least two classes in the test labels.
    """
    names = list(test_labels)
    hits, importances = [], []
    for name in names:
        forest = fit_forest(train, train_labels[name], workers)
        hits.append(float((forest.predict(test) == test_labels[name]).mean()))
        importances.append(forest.feature_importances_)
    importance = np.stack(importances, 1)  # [D, K]
    return {
        "mig": mutual_information_gap(test, [test_labels[name] for name in names]),
        "dci_disentanglement": weigh_disentanglement(importance),
        "dci_completeness": float(1 - normalised_entropy(importance.T).mean()),
        "dci_informativeness": float(np.mean(hits)),
    }


def mutual_information_gap(codes: np.ndarray, factors: list[np.ndarray]) -> float:
    """MIG of codes [N, D] and factors [N]; a single dimension has a gap to 0."""
    from sklearn.metrics import mutual_info_score

    binned = [bin_values(column) for column in codes.T]
    gaps = []
    for factor in factors:
        shared = sorted([0.0, *(mutual_info_score(factor, bins) for bins in binned)])
        # of a factor with itself: its entropy, nats
        gaps.append((shared[-1] - shared[-2]) / mutual_info_score(factor, factor))
    return float(np.mean(gaps))


def bin_values(values: np.ndarray) -> np.ndarray:
    """The bin of each value [N], of BINS bins of equal width between the extremes."""
    # without the outer edges, so that both extremes are in a bin
    return np.digitize(values, np.histogram_bin_edges(values, BINS)[1:-1])


def fit_forest(codes: np.ndarray, labels: np.ndarray, workers: int) -> "RandomForestClassifier":
    """A forest that predicts labels [n] from codes [n, D]; the same for any number of workers."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(
        TREES,
        # every split may use every dimension: a random choice would hand the importance of the
        # best dimension to others
        max_features=None,
        min_samples_leaf=SMALLEST_LEAF,
        random_state=FOREST_SEED,
        n_jobs=workers,
    )
    return forest.fit(codes, labels)


def weigh_disentanglement(importance: np.ndarray) -> float:
    """Disentanglement from importances [D, K]; 0 if no dimension has any."""
    total = importance.sum()
    weights = importance.sum(1) / (total if total > 0 else 1.0)
    return float(weights @ (1 - normalised_entropy(importance)))


def normalised_entropy(weights: np.ndarray) -> np.ndarray:
    """The entropy of each row [M, n] >= 0, scaled to sum to one, with logarithms to the base n.

    1 for a row of zeros, and 0 if n is 1.
    """
    total = weights.sum(1, keepdims=True)
    shares = weights / np.where(total > 0, total, 1.0)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1)
    return np.where(total[:, 0] > 0, entropy / np.log(max(2, weights.shape[1])), 1.0)
