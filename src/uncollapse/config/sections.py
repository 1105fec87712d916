"""The sections of a config (data, model, trainer, log) as instances of their dataclass schemas.

Defaults are in the YAML files, not in the schemas.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from uncollapse.config import read_default
from uncollapse.config.targets import find_hydra_keys, locate_class, resolve_node
from uncollapse.errors import InputError, check_choice, check_number, nearest_word, shorten
from uncollapse.json_types import Json
from uncollapse.renamed import has_no_effect


@dataclass(kw_only=True)
class LogConfig:
    """Weights & Biases, which mirrors the rows on disk."""

    wandb: bool
    project: str
    mode: str
    entity: str | None
    timeout: float

    def check(self) -> None:
        check_choice("log.mode", self.mode, ("online", "offline", "auto"))
        check_number("log.timeout", self.timeout, 0, 600)


def load_section(node: DictConfig, section: str, schema: type | None = None) -> Any:
    """A section as an instance of `schema`, or of the class that its `_target_` names.

    InputError for a wrong type, an unknown key, or a missing key that no YAML file states.
    """
    found = resolve_node(node, section)
    values = {k: v for k, v in found.items() if not has_no_effect(f"{section}.{k}", v)}
    target = None
    if schema is None:
        target = values.pop("_target_", None)
        schema = locate_class(target, section)
    for place, key in find_hydra_keys(values, section):
        raise InputError(f"{place}.{key}: not allowed in a config")
    names = [field.name for field in fields(schema)]
    for key in values:
        if key not in names:
            raise InputError(describe_unknown_key(f"{section}.{key}", values[key], names))
    try:
        # merging checks the types of all values; missing keys are then filled in one by one
        merged: Any = OmegaConf.merge(OmegaConf.structured(schema), values)
        for name in names:
            # only a config saved before the key existed can lack it
            if OmegaConf.is_missing(merged, name):
                merged[name] = find_default(section, target, name)
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = f"{section}.{error.full_key or error.key}" if error.key is not None else section
        raise InputError(
            f"{key}={shorten(values.get(str(error.key)))}: {str(error).splitlines()[0]}"
        ) from error


def find_default(section: str, target: object, key: str) -> Json:
    """The value in the YAML files of a key that is newer than a saved config."""
    try:
        return read_default(section, target, key)
    except KeyError:
        raise InputError(f"{section}.{key}: missing; no file of conf/{section} states it") from None


def describe_unknown_key(key: str, value: object, names: Iterable[str]) -> str:
    """The message for an unknown key, with the nearest name and all allowed names."""
    name = re.split(r"[./]", key)[-1]
    place, names = key.removesuffix(name), sorted(names)
    near = nearest_word(name, names)
    hint = f"did you mean {place}{near}? " if near else ""
    allowed = (
        f"allowed are {', '.join(place + n for n in names)}"
        if names
        else "nothing can be set there"
    )
    return f"{key}={shorten(value)}: no such key; {hint}{allowed}"
