"""Evaluate one finished run: find what is missing, compute it, write it, and update the summary.

Results lie in the run folder as `evaluations/<split>-<metric>...json`. What training wrote is
never changed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from uncollapse.evaluation.opened import OpenedRun, open_run
from uncollapse.evaluation.result_line import format_result
from uncollapse.evaluation.settings import Settings
from uncollapse.evaluation.statistics import evaluate_statistics
from uncollapse.metrics import catalogue
from uncollapse.metrics.metric import RESPONSES, SAMPLES
from uncollapse.runs.layout import EVALUATIONS, UNLABELLED, Run
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import repair, write_result


def evaluate_run(
    run: Run, settings: Settings, explicit: bool, loaded: dict[str, Any], say: Callable[[str], None]
) -> None:
    """Compute the requested results that the run lacks. InputError where that is not possible.

    A probe that was not asked for explicitly is left out of data without labels. `loaded` keeps
    data from run to run.
    """
    with run.lock():
        read_config(run)  # a damaged one is reported even where nothing is missing
        results, damaged = repair(run)
        for sentence in damaged:
            say(f"warning: {sentence}; kept under another name")
        if settings.missing_from(results):
            opened = open_run(run, loaded, say)
            if (settings.examples or 0) >= opened.data.size(settings.split):
                settings = replace(settings, examples=None)
            for metric in metrics_to_compute(opened, settings, results, explicit):
                result = compute_metric(metric, opened, settings)
                name = settings.result_name(metric)
                write_result(run, name, result)
                say(f"{name}: {format_result(result)}")
            repair(run)


def metrics_to_compute(
    opened: OpenedRun, settings: Settings, results: set[str], explicit: bool
) -> list[str]:
    """The missing metrics; a probe that the data have no labels for is noted as such instead."""
    missing = settings.missing_from(results)
    if "probe" in missing and not opened.data.labels and not explicit:
        missing.remove("probe")
        opened.run.write(EVALUATIONS, UNLABELLED, data=b"")
    return missing


def compute_metric(metric: str, opened: OpenedRun, settings: Settings) -> dict[str, Any]:
    """The numbers of one of METRIC_CHOICES, by the functions that the catalogue names."""
    if metric == "statistics":
        return evaluate_statistics(opened, settings)
    if metric == SAMPLES and opened.model.can_respond:
        return catalogue.compute(RESPONSES, opened, settings)
    return catalogue.compute(metric, opened, settings)
