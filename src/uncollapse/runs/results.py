"""Results of evaluations: one file each in `evaluations/`, and all of them in the summary.

Where the two differ, the files are right; the next evaluation updates the summary from them. So a
kill between the two writes loses nothing, and a result whose file is removed is computed again. The
summary's copy is used for a damaged file, and for all files if the folder is missing.
"""

import json
import os
from collections.abc import Mapping

from uncollapse.disk import set_aside
from uncollapse.errors import InputError, shorten
from uncollapse.json_types import Json, JsonMapping, JsonObject
from uncollapse.metrics.catalogue import evaluated_keys, size_names
from uncollapse.metrics.metric import PASS_STATISTICS
from uncollapse.runs.json_values import (
    add_digest,
    has_valid_digest,
    parse_json,
    replace_nonfinite,
    strip_digest,
)
from uncollapse.runs.layout import EVALUATIONS, SCHEMA, SUMMARY, Run

RESULTS_KEY = "evaluations"  # the key in the summary
RULE_MARK = "@"  # before the rule in the names of results of other weights than the best
NO_UNKNOWN = "-no-unknown"  # suffix of results from samples drawn without <unk>


def read_object(run: Run, *names: str) -> JsonObject:
    """The JSON object in a file of a run. InputError if it is damaged or of a newer version."""
    path = run.path(*names)
    value, _ = parse_json(run.read(*names))
    if not isinstance(value, dict):
        raise InputError(f"{path}: damaged (not a JSON object); move it away")
    if not has_valid_digest(value):
        raise InputError(f"{path}: damaged (its digest does not match its content); move it away")
    # files of the first version state no schema
    schema = value.get("schema", 1)
    if type(schema) is not int or schema > SCHEMA:
        raise InputError(
            f"{path}: written by a newer version (schema {shorten(schema)}; this one reads "
            f"{SCHEMA}); update uncollapse"
        )
    return strip_digest(value)


def read_summary(run: Run) -> JsonObject:
    """The results of training and of earlier evaluations."""
    return read_object(run, SUMMARY)


def read_results(run: Run, summary: JsonMapping) -> tuple[dict[str, JsonObject], dict[str, str]]:
    """Every result by name, from its file or the summary; and a sentence per damaged file."""
    copies = find_copies(summary)
    if not run.holds(EVALUATIONS):
        return copies, {}
    try:
        names = list_result_names(run)
    except InputError as error:
        return copies, {EVALUATIONS: str(error)}
    results, damaged = {}, {}
    for name in names:
        try:
            results[name] = read_object(run, EVALUATIONS, f"{name}.json")
        except InputError as error:
            damaged[name] = str(error)
            # the copy in the summary replaces a damaged file
            if name in copies:
                results[name] = copies[name]
    return results, damaged


def find_copies(summary: JsonMapping) -> dict[str, JsonObject]:
    """The copies of results in a summary, by name."""
    stated = summary.get(RESULTS_KEY)
    if not isinstance(stated, dict):
        return {}
    return {name: result for name, result in stated.items() if isinstance(result, dict)}


def list_result_names(run: Run) -> list[str]:
    """The names of results that have a file. InputError if the folder cannot be read."""
    folder = run.path(EVALUATIONS)
    try:
        files = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read ({error.strerror or error}); move it away"
        ) from error
    return sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))


def join_results(summary: JsonMapping, results: Mapping[str, JsonObject]) -> JsonObject:
    """A summary with all results under `evaluations`, and those of the test split at top level.

    A number that training wrote is kept. If several results have an nll, the one from most
    examples, then most importance samples, is at the top; of several probes, the one with most
    labels.
    """
    if not results:  # any copies in the summary are out of date
        return {k: v for k, v in summary.items() if k != RESULTS_KEY}
    # removed here, so that no number of an earlier evaluation stays; metrics that a script of the
    # user added are in the results, though not in the catalogue of this process
    evaluated = evaluated_keys() | {
        key for name, result in results.items() if not repeats_training(name) for key in result
    }
    trained = {k: v for k, v in summary.items() if k not in evaluated and k != RESULTS_KEY}
    # samples drawn without <unk> do not describe the model
    test = [
        result
        for name, result in results.items()
        if name.startswith("test-") and not name.endswith(NO_UNKNOWN) and RULE_MARK not in name
    ]
    sizes = size_names()
    # ascending, so that later results, which overwrite earlier ones, are the larger ones
    test.sort(key=lambda result: [number_or_zero(result.get(key)) for key in sizes])
    top = {key: value for result in test for key, value in result.items()}
    # numbers of training last, so that they win
    return {**top, **trained, RESULTS_KEY: dict(results)}


def repeats_training(name: str) -> bool:
    """Whether a result, `<split>-<metric>...`, has numbers that training writes, too."""
    return name.partition("-")[2].startswith(PASS_STATISTICS)


def number_or_zero(value: Json) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def write_result(run: Run, name: str, result: JsonObject) -> None:
    """Write one result to its file; `repair_results` joins it to the summary."""
    run.write(EVALUATIONS, f"{name}.json", data=dump_json(add_digest(replace_nonfinite(result))))


def write_summary(run: Run, summary: JsonObject) -> None:
    """Write the results of training, joined with earlier evaluations.

    An earlier summary that cannot be read is kept under another name.
    """
    try:
        earlier = read_summary(run) if run.holds(SUMMARY) else {}
    except InputError:
        earlier = {}
        run.set_aside(SUMMARY)
    results, _ = read_results(run, earlier)
    run.write(SUMMARY, data=dump_json(join_results(summary, results)))


def repair_results(run: Run) -> tuple[set[str], list[str]]:
    """Make the files and the summary agree; damaged files are kept under other names.

    The names of all results, and a sentence for each damaged file. InputError if the summary
    cannot be read.
    """
    summary, names = read_summary(run), {*list_result_names(run)}
    results, damaged = read_results(run, summary)
    # damaged files first: results restored from the summary need their names
    for name in damaged:
        set_aside(run.path(EVALUATIONS) / f"{name}.json")
    # results that only the summary has get a file again
    missing = results.keys() - names
    for name in missing | (damaged.keys() & results.keys()):
        write_result(run, name, results[name])
    joined = join_results(summary, results)
    # an unchanged summary keeps its time stamp
    if joined != summary:
        run.write(SUMMARY, data=dump_json(joined))
    return {*results}, [*damaged.values()]


def has_consistent_results(run: Run) -> bool:
    """Whether the files and the summary agree already, so that there is nothing to repair."""
    try:
        summary = read_summary(run)
        results, damaged = read_results(run, summary)
    except InputError:
        return False
    has_files = run.holds(EVALUATIONS) or not results  # otherwise only the summary has them
    return has_files and not damaged and join_results(summary, results) == summary


def dump_json(value: JsonMapping) -> bytes:
    """Indented JSON that ends with a line break."""
    return (json.dumps(value, indent=1) + "\n").encode()
