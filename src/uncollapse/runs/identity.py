"""When two runs are the same: when their resolved configs are equal, however they were typed and wherever data lie.

`identity` is a digest by which one run is known from another; `changes` lists what differs.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from uncollapse.data import LOCATIONS
from uncollapse.paths import shorten_paths, shorten_place
from uncollapse.renamed import former_name

# where rows and tokens go, and who asked for them, belongs to one machine
MACHINE_KEYS = ("log", "results", "again", "data.cache", "data.own_cache")
# nor do these say what a run is: its study's name, and which words made the config
IGNORED_KEYS = (*MACHINE_KEYS, "study", "overrides")
LOCATION_KEYS = tuple(key for key in LOCATIONS if key not in MACHINE_KEYS)
NUMBER_TEXT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def compute_identity(config: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> str:
    """A digest of a resolved config, without what says nothing about the run.

    `data` are the facts of its data, by which a run is the same wherever they lie.
    """
    text = json.dumps(normalize(comparable_config(config, data or {})), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def comparable_config(config: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """A config with what is known of its data in place of where they lie: the fingerprint of
    their files or, for older runs, the last part of each path and all other facts."""
    names = data_file_names(config)
    if not names:
        return drop_locations(config)
    facts = {key: value for key, value in data.items() if key != "content"}
    known = data.get("content") or ([names, shorten_paths(facts)] if facts else names)
    return {**drop_locations(config), "files": known}


def data_file_names(config: Mapping[str, Any]) -> dict[str, str]:
    """The last part of each path to a run's data."""
    return {key: PurePath(shorten_place(value)).name for key, value in data_locations(config).items()}


def drop_locations(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the keys that say where its data lie; all other paths are shortened."""
    places = data_locations(config)
    kept: dict[str, Any] = shorten_paths(dict(config))
    if places:
        kept["data"] = {k: v for k, v in kept["data"].items() if f"data.{k}" not in places}
    return kept


def data_locations(config: Mapping[str, Any]) -> dict[str, str]:
    """Keys of a config that say where data lie, and what they say. (data.train may be a size, too.)"""
    data = config.get("data")
    found = (
        {f"data.{key}": value for key, value in data.items()} if isinstance(data, Mapping) else {}
    )
    return {key: found[key] for key in LOCATION_KEYS if isinstance(found.get(key), str)}


def normalize(value: Any, where: str = "") -> Any:
    """Nested values in one spelling each: 2 and 2.0 and '2' are equal, and so are paths x and ./x/."""
    if isinstance(value, Mapping):
        inside = {
            str(key): (f"{where}.{key}" if where else str(key), item) for key, item in value.items()
        }
        return {
            key: normalize(item, place)
            for key, (place, item) in inside.items()
            if place not in IGNORED_KEYS
        }
    if isinstance(value, list | tuple):
        return [normalize(item, where) for item in value]
    if isinstance(value, str) and NUMBER_TEXT.fullmatch(value):
        value = float(value)
    if isinstance(value, str) and where.endswith("_target_"):
        return former_name(value)
    if isinstance(value, str) and "/" in value and "://" not in value:
        return os.path.normpath(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def list_differences(old: Any, new: Any, where: str = "") -> list[str]:
    """What differs between two plain configs, as `key: old -> new` lines."""
    if where in IGNORED_KEYS:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        nested = [
            list_differences(old.get(k), new.get(k), f"{where}.{k}" if where else str(k)) for k in keys
        ]
        return [line for lines in nested for line in lines]
    return [] if normalize(old, where) == normalize(new, where) else [f"{where}: {old} -> {new}"]


def list_changes(saved: Any, config: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """What differs between a saved config and a new one, as `key: old -> new` lines.

    An option that is younger than the saved config, and has its default in the new one, is no difference.
    """
    return list_differences(fill_missing_keys(saved, base), dict(config))


def list_changes_except_locations(saved: Any, config: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """As `changes`, wherever the data of each lie."""
    return list_differences(drop_locations(fill_missing_keys(saved, base)), drop_locations(config))


def fill_missing_keys(saved: Any, base: Any) -> Any:
    """Nested plain values with the keys that only `base` has."""
    if not (isinstance(saved, Mapping) and isinstance(base, Mapping)):
        return saved
    if normalize(saved.get("_target_"), "_target_") != normalize(
        base.get("_target_"), "_target_"
    ):  # another class has other options
        return dict(saved)
    filled = {key: fill_missing_keys(value, base.get(key)) for key, value in saved.items()}
    return {**{key: value for key, value in base.items() if key not in saved}, **filled}
