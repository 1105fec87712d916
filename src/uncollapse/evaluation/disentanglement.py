"""MIG and DCI of the posterior means of labelled examples."""

import numpy as np

from uncollapse.errors import InputError
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.settings import Settings
from uncollapse.json_types import JsonObject
from uncollapse.metrics.disentanglement import score_disentanglement
from uncollapse.metrics.one_pass import EVAL_SEED

FITTED = 5000  # training examples that the forests are fitted to, at most


def evaluate_disentanglement(opened: OpenedRun, settings: Settings) -> JsonObject:
    """Fit forests to labelled training examples, and score every example of the split.

    Labels with a single class are left out. InputError for data with fewer than two others.
    """
    data, split = opened.data, settings.split
    labels = data.labels[split] if data.labels else {}
    names = [name for name, values in labels.items() if len(np.unique(values)) > 1]
    if len(names) < 2:
        raise InputError(
            f"--metrics disentanglement: it compares at least two labels, and the {split} split "
            f"has {len(names)} with more than one class"
        )
    available = data.size("train")
    fitted = np.random.default_rng(EVAL_SEED).choice(
        available, min(FITTED, available), replace=False
    )
    return score_disentanglement(
        opened.encoded_means("train", fitted),
        {name: data.labels["train"][name][fitted] for name in names},
        opened.encoded_means(split, np.arange(data.size(split))),
        {name: labels[name] for name in names},
        settings.workers,
    )
