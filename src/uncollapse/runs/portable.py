"""Runs without the facts of one machine, so that they can be compared and passed on.

The same run trained on two machines is one run: its results must be identical.
"""

import json
import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from uncollapse.json_types import Json, JsonMapping, JsonObject
from uncollapse.metrics.catalogue import evaluated_keys
from uncollapse.paths import (
    FLATTENED_PATH,
    quote_word,
    shorten_command,
    shorten_paths,
    shorten_place,
)
from uncollapse.runs.identity import (
    MACHINE_KEYS,
    data_locations,
    join_key,
    list_differences,
    normalize,
    strip_locations,
)
from uncollapse.runs.layout import run_name
from uncollapse.runs.reading import Saved
from uncollapse.runs.results import RESULTS_KEY, join_results
from uncollapse.runs.rows import drop_unread

# keys of rows, summaries and evaluations about the machine, or about how a run was requested
MACHINE_FACTS = (
    "commit", "tree_changed", "own_code", "versions", "threads", "device", "gpu", "gpu_id",
    "processes", "kernels", "peak_memory_mb", "wall_seconds", "schema", "identity", "study",
    "overrides", "continued_from",
)  # fmt: skip
CLOCK_KEY = re.compile(r"seconds(_.*)?|.*_seconds")
PRIVATE_WORDS = ("results=", "again=", "log=", "log.", "data.cache=", "data.own_cache=")
CACHE_KEYS = frozenset(("data.cache", "data.own_cache"))
MAX_DIFFERENCE = 200  # characters of a difference that a message shows


# ---------------------------------------------------------------- portable copies


def make_runs_portable(runs: Iterable[Saved], others: Iterable[Saved] = ()) -> list[Saved]:
    """Each run as any machine would describe it.

    The locations of data stay in the names only if runs of the study (these, and the `others` in
    its pack) differ in their data.
    """
    runs = list(runs)
    located = [saved for saved in runs if overridden_locations(saved)]
    packed = [saved for saved in others if data_locations(saved.config)]
    # with one data set its location may differ between machines and must not be in names; with
    # several, only the location keeps the runs apart
    several = len({data_key(saved) for saved in [*located, *packed]}) > 1
    return [make_portable(saved, keep_locations=several) for saved in runs]


def make_portable(saved: Saved, keep_locations: bool = False) -> Saved:
    """A run without the facts of its machine."""
    overrides = portable_overrides(saved, keep_locations)
    summary = shorten_paths(saved.summary)
    if "overrides" in summary and overrides is not None:
        summary = {**summary, "overrides": overrides}
    return replace(
        saved,
        name=portable_name(saved, overrides),
        config=portable_config(saved.config, overrides),
        command=portable_command(saved.command),
        data=shorten_paths(saved.data),
        summary=summary,
    )


def overridden_locations(saved: Saved) -> set[str]:
    """The keys among a run's overrides that say where its data are stored."""
    stated = saved.config.get("overrides")
    return (set(data_locations(saved.config)) | CACHE_KEYS) & set(stated or ())


def portable_overrides(saved: Saved, keep_locations: bool) -> JsonObject | None:
    """The overrides with paths shortened; None if the config does not state them."""
    stated = saved.config.get("overrides")
    if not isinstance(stated, dict):
        return None
    # caches never matter for results, so they are dropped in any case
    dropped = CACHE_KEYS if keep_locations else overridden_locations(saved)
    return {key: shorten_value(value) for key, value in stated.items() if key not in dropped}


def shorten_value(value: Json) -> Json:
    return shorten_place(value) if isinstance(value, str) else value


def portable_config(config: JsonMapping, overrides: JsonObject | None) -> JsonObject:
    """A config without the keys of one machine, its paths shortened."""
    kept: JsonObject = shorten_paths(
        {key: value for key, value in config.items() if key not in MACHINE_KEYS}
    )
    if overrides is not None:
        kept["overrides"] = overrides
    if isinstance(data := config.get("data"), dict):
        places = data_locations(config)
        kept["data"] = {
            key: shorten_place(value) if f"data.{key}" in places else shorten_paths(value)
            for key, value in data.items()
            if f"data.{key}" not in MACHINE_KEYS
        }
    return kept


def portable_name(saved: Saved, overrides: JsonObject | None) -> str:
    """The run's name, rewritten if it contains a path."""
    if overrides is None:
        # the config of an old run states no overrides, but its folder is named after them
        return FLATTENED_PATH.sub("=…", saved.name)
    if overrides == saved.config["overrides"]:
        return saved.name
    return run_name(str(saved.config["head"]), overrides, saved.config["seed"])


def portable_command(command: str) -> str:
    """A command without the words that concern one machine, paths in the others shortened."""
    try:
        words = shlex.split(command)
    except ValueError:  # an opening quote without its end
        return shorten_command(command)
    kept = [word for word in words if not word.startswith(PRIVATE_WORDS)]
    # an unchanged command keeps its own quotes
    return shorten_command(command if kept == words else " ".join(map(quote_word, kept)))


# ---------------------------------------------------------------- two copies of one run


def unite_copies(one: Saved, other: Saved) -> tuple[Saved, str]:
    """`one`, with the evaluations and samples that only `other` has.

    If they contradict each other: `one` unchanged, and the first difference.
    """
    if difference := find_first_difference(one, other):
        return one, difference
    # of results that both have, those of `one` are kept
    results = {**joined_results(other), **joined_results(one)}
    has_more = results != joined_results(one)
    united = replace(
        one,
        summary=join_results(one.summary, results) if has_more else one.summary,
        views=combine_views(other, one),
        weights=one.weights or other.weights,
    )
    return united, ""


def combine_views(*copies: Saved) -> Callable[[], Mapping[str, bytes]]:
    """A reader of the samples of all copies of a run; the last copy wins."""
    return lambda: {name: data for saved in copies for name, data in saved.views().items()}


def find_first_difference(one: Saved, other: Saved) -> str:
    """The first contradiction between two copies of a run; '' if there is none."""
    if one.weights and other.weights and one.weights != other.weights:
        return f"weights: {one.weights[:12]} and {other.weights[:12]}"
    if len(one.rows) != len(other.rows):
        return f"rows: {len(one.rows)} and {len(other.rows)}"
    # as packs hold them, because one of the two may come from a pack
    for mine, yours in zip(drop_unread(one.rows), drop_unread(other.rows), strict=True):
        # comparing dictionaries is fast, describing a difference is slow
        if mine != yours and (line := describe_difference(mine, yours)):
            return f"row of step {mine['step']}, {mine['split']}, {mine['mode']}: {line}"
    if line := describe_difference(training_summary(one), training_summary(other)):
        return f"summary: {line}"
    results, others = joined_results(one), joined_results(other)
    for name in sorted(results.keys() & others.keys()):
        if line := describe_difference(results[name], others[name]):
            return f"evaluation {name}: {line}"
    return ""


def training_summary(saved: Saved) -> JsonObject:
    """The results of training in a summary, without those that evaluations added."""
    # evaluations may be newer in one copy, and are compared by name
    evaluated = evaluated_keys()
    return {k: v for k, v in saved.summary.items() if k != RESULTS_KEY and k not in evaluated}


def joined_results(saved: Saved) -> JsonObject:
    """The results of evaluations in a summary, by name."""
    results = saved.summary.get(RESULTS_KEY)
    return dict(results) if isinstance(results, dict) else {}


def describe_difference(one: Json, other: Json) -> str:
    """The first difference between two nested values, as `key: one and other`; '' if none."""
    kept = [shorten_paths(drop_machine_facts(value)) for value in (one, other)]
    lines = list_differences(*kept)
    return lines[0].replace(" -> ", " and ")[:MAX_DIFFERENCE] if lines else ""


def drop_machine_facts(value: Json) -> Json:
    """Nested values without facts about the machine and without times."""
    if isinstance(value, dict):
        return {
            key: drop_machine_facts(item)
            for key, item in value.items()
            if key not in MACHINE_FACTS and not CLOCK_KEY.fullmatch(key)
        }
    return value


# ---------------------------------------------------------------- data of two runs


def data_key(saved: Saved) -> str:
    """A text that differs for different data: their fingerprint, or else their locations."""
    return str(saved.data.get("content") or normalize(data_locations(saved.config)))


def data_section(saved: Saved) -> str:
    """The data section of a config as text, without the locations of the data."""
    data = normalize(strip_locations(saved.config).get("data") or {}, "data")
    return json.dumps(data, sort_keys=True, default=str)


def find_data_difference(one: JsonMapping, other: JsonMapping) -> str:
    """The first fact in which two runs' data differ; '' if none that both state differs.

    Where both have the fingerprint `content`, it alone decides.
    """
    mine, yours = one.get("content"), other.get("content")
    if mine and mine == yours:
        return ""
    # facts first, as they say more than two digests
    fact = find_fact_difference({**one, "content": None}, {**other, "content": None})
    return fact or (f"content: {mine} and {yours}" if mine and yours else "")


def find_fact_difference(one: Json, other: Json, where: str = "") -> str:
    """The first difference between nested facts that both state, as `key: one and other`."""
    if one is None or other is None:
        return ""
    if isinstance(one, dict) and isinstance(other, dict):
        nested = (
            find_fact_difference(one[key], other[key], join_key(where, key))
            for key in one
            if key in other
        )
        return next((line for line in nested if line), "")
    if isinstance(one, float) and isinstance(other, int | float):
        # a mean over examples may differ in its last digits between machines
        return "" if math.isclose(one, other, rel_tol=1e-6) else f"{where}: {one} and {other}"
    if shorten_paths(one) == shorten_paths(other):
        return ""
    return f"{where}: {one} and {other}"[:MAX_DIFFERENCE]
