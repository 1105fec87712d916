"""The probe: linear classifiers on the posterior means of labelled examples."""

import numpy as np

from uncollapse.errors import InputError
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.settings import Settings
from uncollapse.json_types import JsonObject
from uncollapse.metrics.one_pass import EVAL_SEED
from uncollapse.metrics.probes import check_budgets, factor_information, probe, usual_budgets


def evaluate_probe(opened: OpenedRun, settings: Settings) -> JsonObject:
    """Fit classifiers to labelled training examples, and test them on every example of the split.

    InputError for data without labels, or with too few of them.
    """
    data, split = opened.data, settings.split
    if not data.labels:
        raise InputError("--metrics probe: this run's data have no labels")
    available = data.size("train")
    budgets = label_budgets(settings, available)
    labelled = np.random.default_rng(EVAL_SEED).choice(available, budgets[-1], replace=False)
    examples = np.arange(data.size(split))
    train_labels = {name: values[labelled] for name, values in data.labels["train"].items()}
    train_means, train_codes = opened.means_and_codes("train", labelled)
    means, codes = opened.means_and_codes(split, examples)
    best = data.best_accuracy(split) if data.best_accuracy else None
    left = data.label_entropy(split) if data.label_entropy else None
    return {
        **probe(train_means, train_labels, means, data.labels[split], budgets, best),
        **factor_information(train_codes, train_labels, codes, data.labels[split], left),
    }


def label_budgets(settings: Settings, available: int) -> list[int]:
    """The requested numbers of labels, or the default ones that are available, ascending."""
    budgets = usual_budgets(available) if settings.labels is None else sorted(settings.labels)
    if not budgets:
        raise InputError(
            "--metrics probe: the smallest budget is 100 labels, "
            f"and the training split has {available}; give --labels"
        )
    check_budgets(budgets, available)
    return budgets
