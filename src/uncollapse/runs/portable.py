"""Runs without what belongs to one machine, so that they can be compared and passed on.

A run that two machines made is one run: it must have found the same on both.
"""

import json
import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from uncollapse.metrics.catalogue import evaluated_keys
from uncollapse.paths import FLAT, quoted, short, short_command, short_place
from uncollapse.runs.identity import MACHINE, differences, locations, normal, placeless
from uncollapse.runs.layout import run_name
from uncollapse.runs.reading import Saved
from uncollapse.runs.results import JOINED, joined

# keys of rows, summaries and evaluations that describe the machine, or how a run was asked for
NOT_FOUND = (
    "commit", "tree_changed", "versions", "threads", "device", "peak_memory_mb", "wall_seconds",
    "schema", "identity", "study", "overrides",
)  # fmt: skip
CLOCK = re.compile(r"seconds(_.*)?|.*_seconds")
PRIVATE_WORDS = ("results=", "again=", "log=", "log.", "data.cache=", "data.own_cache=")
NO_PLACES = frozenset(("data.cache", "data.own_cache"))


def portable_runs(runs: Iterable[Saved], beside: Iterable[Saved] = ()) -> list[Saved]:
    """Each run as any machine would say it. Where its data lie is in its name only where runs
    of the study, these and those `beside` them, differ in their data."""
    runs = list(runs)
    placed = [saved for saved in runs if named_places(saved)]
    known = [saved for saved in beside if locations(saved.config)]
    several = len({data_key(saved) for saved in [*placed, *known]}) > 1
    return [portable_run(saved, several) for saved in runs]


def portable_run(saved: Saved, keep_places: bool = False) -> Saved:
    overrides = portable_overrides(saved, keep_places)
    config = portable_config(saved.config, overrides)
    summary = short(saved.summary)
    if "overrides" in summary and overrides is not None:
        summary = {**summary, "overrides": overrides}
    return replace(
        saved,
        name=portable_name(saved, overrides),
        config=config,
        command=portable_command(saved.command),
        data=short(saved.data),
        summary=summary,
    )


def named_places(saved: Saved) -> set[str]:
    """Keys among a run's overrides that say where its data lie."""
    stated = saved.config.get("overrides")
    return (set(locations(saved.config)) | NO_PLACES) & set(stated or ())


def portable_overrides(saved: Saved, keep_places: bool) -> dict[str, Any] | None:
    """None where the config does not state them."""
    stated = saved.config.get("overrides")
    if not isinstance(stated, dict):
        return None
    dropped = NO_PLACES if keep_places else named_places(saved)
    return {key: short_value(value) for key, value in stated.items() if key not in dropped}


def short_value(value: Any) -> Any:
    return short_place(value) if isinstance(value, str) else value


def portable_config(config: Mapping[str, Any], overrides: dict[str, Any] | None) -> dict[str, Any]:
    """A config without what belongs to the machine, its paths shortened."""
    kept: dict[str, Any] = short(
        {key: value for key, value in config.items() if key not in MACHINE}
    )
    if overrides is not None:
        kept["overrides"] = overrides
    if isinstance(data := config.get("data"), dict):
        places = locations(config)
        kept["data"] = {
            key: short_place(value) if f"data.{key}" in places else short(value)
            for key, value in data.items()
            if f"data.{key}" not in MACHINE
        }
    return kept


def portable_name(saved: Saved, overrides: dict[str, Any] | None) -> str:
    """The folder's name; another one where a path stands in it."""
    if overrides is None:
        return FLAT.sub("=…", saved.name)
    if overrides == saved.config["overrides"]:
        return saved.name
    return run_name(str(saved.config["head"]), overrides, saved.config["seed"])


def portable_command(command: str) -> str:
    """A command without words that concern one machine, paths in the others shortened."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote without its end
        return short_command(command)
    kept = [word for word in words if not word.startswith(PRIVATE_WORDS)]
    return short_command(command if kept == words else " ".join(map(quoted, kept)))


# ---------------------------------------------------------------- the same run twice


def unite(one: Saved, other: Saved) -> tuple[Saved, str]:
    """A run as `one` has it, with what only `other` has of evaluations and samples; and, where
    they contradict each other, `one` and the first difference."""
    if difference := first_difference(one, other):
        return one, difference
    results = {**results_of(other), **results_of(one)}
    changed = results != results_of(one)
    return replace(
        one,
        summary=joined(one.summary, results) if changed else one.summary,
        views=views_of(other, one),
        weights=one.weights or other.weights,
    ), ""


def views_of(*copies: Saved) -> Callable[[], Mapping[str, bytes]]:
    """The samples of all copies of a run; the last copy wins."""
    return lambda: {name: data for saved in copies for name, data in saved.views().items()}


def first_difference(one: Saved, other: Saved) -> str:
    """Where two copies of a run contradict each other; '' where they do not."""
    if one.weights and other.weights and one.weights != other.weights:
        return f"weights: {one.weights[:12]} and {other.weights[:12]}"
    if len(one.rows) != len(other.rows):
        return f"rows: {len(one.rows)} and {len(other.rows)}"
    for mine, yours in zip(one.rows, other.rows, strict=True):
        if mine != yours and (line := difference(mine, yours)):
            return f"row of step {mine['step']}, {mine['split']}, {mine['mode']}: {line}"
    if line := difference(trained(one), trained(other)):
        return f"summary: {line}"
    results, others = results_of(one), results_of(other)
    for name in sorted(results.keys() & others.keys()):
        if line := difference(results[name], others[name]):
            return f"evaluation {name}: {line}"
    return ""


def trained(saved: Saved) -> dict[str, Any]:
    """What training found, without what evaluations added."""
    evaluated = evaluated_keys()
    return {k: v for k, v in saved.summary.items() if k != JOINED and k not in evaluated}


def results_of(saved: Saved) -> dict[str, Any]:
    found = saved.summary.get(JOINED)
    return dict(found) if isinstance(found, dict) else {}


def difference(one: Any, other: Any) -> str:
    """The first difference between two nested values, `key: one and other`, or ''."""
    lines = differences(short(found(one)), short(found(other)))
    return lines[0].replace(" -> ", " and ")[:200] if lines else ""


def found(value: Any) -> Any:
    """What a run found, without what its machine and its clock say."""
    if isinstance(value, dict):
        return {
            k: found(item)
            for k, item in value.items()
            if k not in NOT_FOUND and not CLOCK.fullmatch(k)
        }
    return value


# ---------------------------------------------------------------- the same data


def data_key(saved: Saved) -> str:
    """Which data a run read, as well as it says so."""
    return str(saved.data.get("content") or normal(locations(saved.config)))


def data_section(saved: Saved) -> str:
    """The data that a config asks for, wherever they lie."""
    data = normal(placeless(saved.config).get("data") or {}, "data")
    return json.dumps(data, sort_keys=True, default=str)


def other_data(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The first fact in which two runs' data differ; '' where they are the same as far as both say.

    `content` alone decides where both have it.
    """
    if one.get("content") and other.get("content"):
        same = one["content"] == other["content"]
        facts = (
            "" if same else fact_difference({**one, "content": None}, {**other, "content": None})
        )
        return "" if same else facts or f"content: {one['content']} and {other['content']}"
    return fact_difference({**one, "content": None}, {**other, "content": None})


def fact_difference(one: Any, other: Any, where: str = "") -> str:
    """The first difference between what both say."""
    if one is None or other is None:
        return ""
    if isinstance(one, dict) and isinstance(other, dict):
        inside = (
            fact_difference(one[k], other[k], f"{where}.{k}" if where else k)
            for k in one
            if k in other
        )
        return next((line for line in inside if line), "")
    if isinstance(one, float) and isinstance(other, int | float):
        return "" if math.isclose(one, other, rel_tol=1e-6) else f"{where}: {one} and {other}"
    return "" if short(one) == short(other) else f"{where}: {one} and {other}"[:200]
