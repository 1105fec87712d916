"""What evaluations of a finished run found: one file each in `evaluations/`, all of them in its summary too.

The files are what counts, and the next evaluation brings the summary to them, so that a kill between the two writes loses
nothing and a file that is removed is computed again. The summary's copy stands in for a damaged file, and for all of them
where there is no such folder.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from uncollapse.disk import set_aside
from uncollapse.errors import InputError, shorten
from uncollapse.metrics.catalogue import evaluated_keys
from uncollapse.runs.json_values import is_intact, parse_json, plain, sealed, unsealed
from uncollapse.runs.layout import EVALUATIONS, SCHEMA, SUMMARY, Run

JOINED = "evaluations"  # the key in the summary
NO_UNKNOWN = "-no-unknown"  # ends the name of a result from samples without <unk>


def read_object(run: Run, *names: str) -> dict[str, Any]:
    """The JSON object in a file of a run. InputError where there is none, or one of a newer version."""
    path = run.path(*names)
    found, _ = parse_json(run.read(*names))
    if not isinstance(found, dict):
        raise InputError(f"{path}: damaged (no JSON object); move it away")
    if not is_intact(found):
        raise InputError(f"{path}: damaged (its digest is not that of what it holds); move it away")
    schema = found.get("schema", 1)
    if type(schema) is not int or schema > SCHEMA:
        raise InputError(
            f"{path}: written by a newer version (schema {shorten(schema)}; this one reads {SCHEMA}); update uncollapse"
        )
    return unsealed(found)


def read_summary(run: Run) -> dict[str, Any]:
    """What training and earlier evaluations found."""
    return read_object(run, SUMMARY)


def read_results(
    run: Run, summary: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Every result by name, from its file or from the summary; and a sentence for each damaged file."""
    stated = summary.get(JOINED)
    copies = (
        {k: v for k, v in stated.items() if isinstance(v, dict)} if isinstance(stated, dict) else {}
    )
    if not run.holds(EVALUATIONS):
        return copies, {}
    try:
        there = names(run)
    except InputError as error:
        return copies, {EVALUATIONS: str(error)}
    results, damaged = {}, {}
    for name in there:
        try:
            results[name] = read_object(run, EVALUATIONS, f"{name}.json")
        except InputError as error:
            damaged[name] = str(error)
            if name in copies:
                results[name] = copies[name]
    return results, damaged


def names(run: Run) -> list[str]:
    """Results that have a file. InputError where the folder cannot be read."""
    folder = run.path(EVALUATIONS)
    try:
        return sorted(
            name.removesuffix(".json") for name in os.listdir(folder) if name.endswith(".json")
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read ({error.strerror or error}); move it away"
        ) from error


def joined(summary: Mapping[str, Any], results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A summary with all results under `evaluations`, and those of test at the top too, where training wrote nothing.

    Of several nll the one from most examples, then most codes, stands at the top; of several probes the one with most labels.
    """
    if not results:  # whatever it states then, no evaluation can say better
        return {k: v for k, v in summary.items() if k != JOINED}
    evaluated = evaluated_keys()
    trained = {k: v for k, v in summary.items() if k not in evaluated and k != JOINED}
    # what was drawn without <unk> is no description of the model
    test = [
        result
        for name, result in results.items()
        if name.startswith("test-") and not name.endswith(NO_UNKNOWN)
    ]
    test.sort(
        key=lambda r: [count(r.get(key)) for key in ("nll_examples", "nll_samples", "probe_labels")]
    )
    found = {key: value for result in test for key, value in result.items()}
    return {**found, **trained, JOINED: dict(results)}


def count(value: Any) -> float:
    return value if type(value) in (int, float) else 0


def write_result(run: Run, name: str, result: dict[str, Any]) -> None:
    """Put one result into its file; `repair` joins it."""
    run.write(EVALUATIONS, f"{name}.json", data=text(sealed(plain(result))))


def write_summary(run: Run, summary: dict[str, Any]) -> None:
    """Put down what training found. An earlier summary's results join it; one that cannot be read is kept."""
    try:
        earlier = read_summary(run) if run.holds(SUMMARY) else {}
    except InputError:
        earlier = {}
        run.set_aside(SUMMARY)
    run.write(SUMMARY, data=text(joined(summary, read_results(run, earlier)[0])))


def repair(run: Run) -> tuple[set[str], list[str]]:
    """Make the files and the summary say the same. The names of all results, and a sentence for each damaged file, which is
    kept under another name. InputError where the summary cannot be read."""
    summary, there = read_summary(run), names(run)
    results, damaged = read_results(run, summary)
    for name in damaged:
        set_aside(run.path(EVALUATIONS) / f"{name}.json")
    for name in results.keys() - {*there} | damaged.keys() & results.keys():
        write_result(run, name, results[name])
    found = joined(summary, results)
    if found != summary:
        run.write(SUMMARY, data=text(found))
    return {*results}, [*damaged.values()]


def is_repaired(run: Run) -> bool:
    """Whether the files and the summary say the same already."""
    try:
        summary = read_summary(run)
        results, damaged = read_results(run, summary)
        files = run.holds(EVALUATIONS) or not results  # else only the summary has them
        return files and not damaged and joined(summary, results) == summary
    except InputError:
        return False


def text(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
