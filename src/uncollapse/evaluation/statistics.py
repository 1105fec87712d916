"""The metrics of one pass over a split in evaluation mode, as training computes them."""

from uncollapse.data.batches import split_examples
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.settings import Settings
from uncollapse.json_types import JsonObject
from uncollapse.metrics.information import FINAL_MIXTURE
from uncollapse.metrics.one_pass import EVAL_BATCH, collect, evaluate, evaluating, statistics


def evaluate_statistics(opened: OpenedRun, settings: Settings) -> JsonObject:
    """All metrics of one pass: rec, kl, mi, au, shuffle_gap and so on."""
    model, split = opened.model, settings.split
    floor = model.posterior.floor()
    if settings.examples is None:
        return evaluate(
            model, opened.data, split, "eval", None, floor, FINAL_MIXTURE, opened.encode
        )
    # the same subset as that of nll, so that the two can be compared
    groups = split_examples(opened.examples(split, settings.examples), EVAL_BATCH)
    with evaluating(model, train=False):
        batches = (opened.batch(split, group) for group in groups)
        return statistics(collect(opened.encode, model.nll, batches), floor, FINAL_MIXTURE)
