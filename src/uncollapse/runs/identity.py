"""When two runs are the same: when their resolved configs are equal, however they were typed.

`identity` is a digest by which a report knows one run from another; `changes` lists what differs; and
`twin` finds the folder of a study that holds a run under another name.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uncollapse.errors import InputError
from uncollapse.yaml_files import read_config

# where rows and tokens go, and which words made the config, say nothing about what a run is
UNCOMPARED = ("log", "results", "study", "overrides", "data.cache")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def identity(config: Mapping[str, Any]) -> str:
    """A digest of a resolved config, without what says nothing about the run."""
    text = json.dumps(normal(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def normal(value: Any, where: str = "") -> Any:
    """Nested values in one spelling each: 2 and 2.0 and '2' are equal, and so are paths x and ./x/."""
    if isinstance(value, Mapping):
        inside = {str(key): (f"{where}.{key}" if where else str(key), item) for key, item in value.items()}
        return {key: normal(item, place) for key, (place, item) in inside.items() if place not in UNCOMPARED}
    if isinstance(value, list | tuple):
        return [normal(item, where) for item in value]
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, str) and "/" in value and "://" not in value:
        return os.path.normpath(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """What differs between two plain configs, as `key: old -> new` lines."""
    if where in UNCOMPARED:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        nested = [differences(old.get(k), new.get(k), f"{where}.{k}" if where else str(k)) for k in keys]
        return [line for lines in nested for line in lines]
    return [] if normal(old) == normal(new) else [f"{where}: {old} -> {new}"]


def changes(saved: Any, config: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """What differs between a saved config and a new one, as `key: old -> new` lines.

    An option that is younger than the saved config, and has its default in the new one, is no difference.
    """
    return differences(completed(saved, base), dict(config))


def completed(saved: Any, base: Any) -> Any:
    """Nested plain values with the keys that only `base` has."""
    if not (isinstance(saved, Mapping) and isinstance(base, Mapping)):
        return saved
    if saved.get("_target_") != base.get("_target_"):  # another class has other options
        return dict(saved)
    filled = {key: completed(value, base.get(key)) for key, value in saved.items()}
    return {**{key: value for key, value in base.items() if key not in saved}, **filled}


def twin(folder: Path, config: Mapping[str, Any], base: Mapping[str, Any]) -> Path | None:
    """The folder of the same study, head and seed that holds this very run under another name."""
    for path in sorted(folder.parent.parent.glob(f"*/{folder.name}/config.yaml")):
        try:
            saved = read_config(path.parent)
        except (InputError, OSError):
            continue
        if not changes(saved, config, base):
            return path.parent
    return None
