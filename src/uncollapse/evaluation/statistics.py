"""The metrics of one pass over a split in evaluation mode, as training computes them."""

from typing import Any

from uncollapse.data.batches import near_equal
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.settings import Settings
from uncollapse.metrics.one_pass import EVAL_BATCH, collect, evaluate, evaluating, statistics
from uncollapse.training.trainer import FINAL_MIXTURE, promised_floor


def evaluate_statistics(opened: OpenedRun, settings: Settings) -> dict[str, Any]:
    """rec, kl, mi, au, shuffle_gap and the others that one pass gives."""
    model, split = opened.model, settings.split
    floor = promised_floor(model)
    if settings.examples is None:
        return evaluate(
            model, opened.data, split, "eval", None, floor, FINAL_MIXTURE, opened.encode
        )
    groups = near_equal(opened.examples(split, settings.examples), EVAL_BATCH)
    with evaluating(model, train=False):
        batches = (opened.batch(split, group) for group in groups)
        return statistics(collect(opened.encode, model.nll, batches), floor, FINAL_MIXTURE)
