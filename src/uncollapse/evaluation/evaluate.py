"""Evaluate one finished run: find missing results, compute and write them, update the summary.

Results are files in the run folder, `evaluations/<split>-<metric>...json`. Nothing that training
wrote is changed.
"""

from collections.abc import Callable, Sequence
from functools import partial

from uncollapse.errors import InputError
from uncollapse.evaluation.opened import LoadedData, OpenedRun, open_run
from uncollapse.evaluation.result_line import format_result
from uncollapse.evaluation.settings import METRIC_CHOICES, Settings
from uncollapse.evaluation.statistics import evaluate_statistics
from uncollapse.json_types import JsonMapping, JsonObject
from uncollapse.metrics import catalogue
from uncollapse.metrics.metric import PASS_STATISTICS, RESPONSES, SAMPLES
from uncollapse.runs.layout import (
    EVALUATIONS,
    SAMPLES_FOLDER,
    SAMPLES_KNOWN,
    UNLABELLED,
    Run,
)
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import repair_results, write_result


def evaluate_run(
    run: Run, settings: Settings, explicit: bool, loaded: LoadedData, say: Callable[[str], None]
) -> list[str]:
    """Compute the requested results that the run lacks; the reasons why some were not possible.

    InputError if none of them is possible. Data without labels get no probe unless the user named
    it (`explicit`). `loaded` keeps data from run to run.
    """
    with run.lock():
        # a lock, because two evaluations of one run would overwrite each other's results
        read_config(run)  # reports a damaged config even if no result is missing
        chosen = settings.resolve_rule(run)
        if chosen != settings:
            say(f"{settings.rule} chose the weights of {chosen.rule}: these are evaluated")
            settings = chosen
        results, damaged = repair_results(run)
        for sentence in damaged:
            say(f"warning: {sentence}; kept under another name")
        refusals: list[str] = []
        if settings.missing_from(results):
            opened = open_run(run, loaded, say, settings.rule)
            settings = settings.limit_examples(opened.data.size(settings.split))
            metrics = metrics_to_compute(opened, settings, results, explicit)
            refusals = compute_results(opened, settings, metrics)
            # a second time, so that the summary contains the new results
            repair_results(run)
        if len(refusals) == len(settings.metrics):
            raise InputError("; ".join(refusals))
        return refusals


def compute_results(opened: OpenedRun, settings: Settings, metrics: Sequence[str]) -> list[str]:
    """Compute, write and print the result of each metric; why some of them were not possible."""
    refusals = []
    for metric in metrics:
        compute = OTHER_RESULTS.get(metric, partial(catalogue.compute, metric))
        name = settings.result_name(metric)
        try:
            result = compute(opened, settings)
        except InputError as error:
            # the other metrics may be possible
            refusals.append(str(error))
            continue
        write_result(opened.run, name, result)
        opened.say(f"{name}: {describe_result(metric, result, settings)}")
    return refusals


def describe_result(metric: str, result: JsonMapping, settings: Settings) -> str:
    """The numbers of a result; where samples have none, the folder that they are in."""
    if result:
        return format_result(result)
    if metric == SAMPLES:
        return f"written to {SAMPLES_FOLDER if settings.unknown else SAMPLES_KNOWN}/"
    return "not applicable"


def metrics_to_compute(
    opened: OpenedRun, settings: Settings, results: set[str], explicit: bool
) -> list[str]:
    """The missing metrics, without a probe of data without labels, which is recorded instead."""
    missing = settings.missing_from(results)
    if opened.data.labels or explicit:
        return missing
    possible = [metric for metric in missing if not METRIC_CHOICES[metric].needs_labels]
    if possible != missing:
        # an empty file, so that the next call need not load the data to find this out
        opened.run.write(EVALUATIONS, UNLABELLED, data=b"")
    return possible


def compute_samples(opened: OpenedRun, settings: Settings) -> JsonObject:
    """Metrics of generated responses or, from a model without contexts, of sentences."""
    stage = RESPONSES if opened.model.can_respond else SAMPLES
    return catalogue.compute(stage, opened, settings)


# the results that are not those of the stage with the metric's name
OTHER_RESULTS: dict[str, Callable[[OpenedRun, Settings], JsonObject]] = {
    PASS_STATISTICS: evaluate_statistics,
    SAMPLES: compute_samples,
}
