"""When two runs are the same: when their resolved configs are equal, however they were typed.

`identity` is a digest by which a report knows one run from another; `changes` lists what differs; and
`twin` finds the folder of a study that holds a run under another name.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uncollapse.errors import InputError
from uncollapse.yaml_files import read_config

# where rows go, and which words made the config, say nothing about what a run is
UNCOMPARED = ("log", "results", "study", "overrides")


def identity(config: Mapping[str, Any]) -> str:
    """A digest of a resolved config, without what says nothing about the run; 2 and 2.0 are equal."""
    compared = {key: value for key, value in config.items() if key not in UNCOMPARED}
    text = json.dumps(same_numbers(compared), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def same_numbers(value: Any) -> Any:
    """Nested values in which equal numbers are written alike."""
    if isinstance(value, Mapping):
        return {str(key): same_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [same_numbers(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """What differs between two plain configs, as `key: old -> new` lines."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        skip = UNCOMPARED if not where else ()
        nested = [
            differences(old.get(k), new.get(k), f"{where}.{k}" if where else str(k)) for k in keys if k not in skip
        ]
        return [line for lines in nested for line in lines]
    return [] if old == new else [f"{where}: {old} -> {new}"]


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
