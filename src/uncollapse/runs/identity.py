"""When two runs are the same: if their resolved configs are equal.

It does not matter how the overrides were typed, or where the data are stored.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import PurePath

from uncollapse.data import LOCATIONS
from uncollapse.json_types import Json, JsonMapping, JsonObject
from uncollapse.paths import shorten_paths, shorten_place
from uncollapse.renamed import former_name, has_no_effect

# where rows and token caches are written, and whether to train again: facts of one machine
MACHINE_KEYS = ("log", "results", "again", "plugins", "data.cache", "data.own_cache")
# the study and the words on the command line do not change the run either
IGNORED_KEYS = (*MACHINE_KEYS, "study", "overrides")
LOCATION_KEYS = tuple(key for key in LOCATIONS if key not in MACHINE_KEYS)
NUMBER_TEXT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def compute_identity(config: JsonMapping, data: JsonMapping | None = None) -> str:
    """A digest of a resolved config, without the keys that do not change the run.

    `data` are the facts of its data, so that a run is the same wherever its data are stored.
    """
    content = normalize(comparable_config(config, data or {}))
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def comparable_config(config: JsonMapping, data: JsonMapping) -> JsonObject:
    """A config with a description of its data in place of their locations.

    The description is the fingerprint of the files. Older runs have none; for these it is the file
    name of each path and all other facts.
    """
    names = data_file_names(config)
    if not names:
        # without data from files, the config alone identifies the run
        return strip_locations(config)
    facts = {key: value for key, value in data.items() if key != "content"}
    # the fingerprint, or else the names and facts that older runs recorded
    files = data.get("content") or ([names, shorten_paths(facts)] if facts else names)
    return {**strip_locations(config), "files": files}


def data_file_names(config: JsonMapping) -> dict[str, str]:
    """The last name of each path to a run's data, by key."""
    places = data_locations(config).items()
    return {key: PurePath(shorten_place(value)).name for key, value in places}


def strip_locations(config: JsonMapping) -> JsonObject:
    """A config without the locations of its data; all other paths are shortened."""
    places = data_locations(config)
    kept: JsonObject = shorten_paths(dict(config))
    if places:
        kept["data"] = {k: v for k, v in kept["data"].items() if f"data.{k}" not in places}
    return kept


def data_locations(config: JsonMapping) -> dict[str, str]:
    """The keys of a config that hold a location of data, with their values.

    Only text counts: `data.train` may also be a number of examples.
    """
    data = config.get("data")
    section = data if isinstance(data, Mapping) else {}
    values = {f"data.{key}": value for key, value in section.items()}
    return {key: values[key] for key in LOCATION_KEYS if isinstance(values.get(key), str)}


def normalize(value: Json, where: str = "") -> Json:
    """Nested values with one spelling each: 2, 2.0 and '2' are equal, as are x and ./x/."""
    if isinstance(value, Mapping):
        places = {str(key): join_key(where, key) for key in value}
        return {
            str(key): normalize(item, places[str(key)])
            # keys that do not change a run are dropped at any depth
            for key, item in value.items()
            if places[str(key)] not in IGNORED_KEYS and not has_no_effect(places[str(key)], item)
        }
    if isinstance(value, list | tuple):
        return [normalize(item, where) for item in value]
    # numbers on the command line arrive as text in some places, and as numbers in others
    if isinstance(value, str) and NUMBER_TEXT.fullmatch(value):
        value = float(value)
    if isinstance(value, str) and where.endswith("_target_"):
        return former_name(value)  # digests of runs from before a class moved stay the same
    # URLs contain // and must not be normalised
    if isinstance(value, str) and "/" in value and "://" not in value:
        return os.path.normpath(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def join_key(where: str, key: object) -> str:
    """The dotted path of a key below `where`."""
    return f"{where}.{key}" if where else str(key)


def list_differences(old: Json, new: Json, where: str = "") -> list[str]:
    """The differences between two plain configs, as lines `key: old -> new`."""
    if where in IGNORED_KEYS or has_no_effect(where, old):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        # the order of the old config, then new keys
        keys = [*old, *(key for key in new if key not in old)]
        nested = [
            list_differences(old.get(key), new.get(key), join_key(where, key)) for key in keys
        ]
        return [line for lines in nested for line in lines]
    return [] if normalize(old, where) == normalize(new, where) else [f"{where}: {old} -> {new}"]


def list_changes(saved: Json, config: JsonMapping, base: JsonMapping) -> list[str]:
    """The differences between a saved config and a new one, as lines `key: old -> new`.

    An option that did not exist when the config was saved, and has its default value from `base`
    in the new one, is no difference.
    """
    return list_differences(fill_missing_keys(saved, base), dict(config))


def list_changes_except_locations(saved: Json, config: JsonMapping, base: JsonMapping) -> list[str]:
    """As `list_changes`, wherever the data of both are stored."""
    filled = fill_missing_keys(saved, base)
    return list_differences(strip_locations(filled), strip_locations(config))


def fill_missing_keys(saved: Json, base: Json) -> Json:
    """Nested plain values, with the keys that only `base` has."""
    if not (isinstance(saved, Mapping) and isinstance(base, Mapping)):
        return saved
    target, other = (normalize(node.get("_target_"), "_target_") for node in (saved, base))
    if target != other:  # another class has other options
        return dict(saved)
    filled = {key: fill_missing_keys(value, base.get(key)) for key, value in saved.items()}
    return {**{key: value for key, value in base.items() if key not in saved}, **filled}
