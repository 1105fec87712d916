"""Whether a run already has every requested result, without importing torch."""

from uncollapse.errors import InputError
from uncollapse.evaluation.settings import METRIC_CHOICES, Settings
from uncollapse.runs.layout import DATA, EVALUATIONS, UNLABELLED, Run
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import has_consistent_results, read_object


def is_evaluated(run: Run, settings: Settings, explicit: bool) -> bool:
    """Whether the run has every requested result, both as files and in its summary.

    Data without labels need no probe unless the user named it (`explicit`).
    """
    try:
        settings = settings.resolve_rule(run)
    except InputError:
        return False  # the evaluation says why
    settings = settings.limit_examples(recorded_size(run, settings.split))
    unlabelled = not explicit and run.has(EVALUATIONS, UNLABELLED)
    required = {
        settings.result_name(metric)
        for metric in settings.metrics
        if not (METRIC_CHOICES[metric].needs_labels and unlabelled)
    }
    return all(run.has(EVALUATIONS, f"{name}.json") for name in required) and is_sound(run)


def is_sound(run: Run) -> bool:
    """Whether the config can be read, and the results agree with the summary."""
    try:
        read_config(run)
    except InputError:
        return False
    return has_consistent_results(run)


def recorded_size(run: Run, split: str) -> float:
    """The number of examples of a split that the run recorded; infinite if it did not."""
    # an unreadable record of the data gives no upper limit
    try:
        size = read_object(run, DATA).get(split)
    except InputError:
        return float("inf")
    # type() instead of isinstance(), because a boolean is an int
    return size if type(size) is int else float("inf")
