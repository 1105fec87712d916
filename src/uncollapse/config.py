"""From Hydra's composed config to checked, typed parts: knobs, closed sections, the one `instantiate`, and the difference of two configs.

A head is a recipe over the slots. Its knobs stand flat at the top level of the config and are read by interpolation (`tau: ${tau}`).
"""

import difflib
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from uncollapse.errors import InputError

CONF = Path(__file__).resolve().parents[2] / "conf"
SLOTS = ("posterior", "objective", "procedure", "decoder")
SECTIONS = ("data", "model", "trainer", "log")
COMMON = ("label", "study", "results", "seed", "device", "threads")
UNCOMPARED = ("log", "results", "study")  # where rows go says nothing about what a run is


@dataclass
class LogConfig:
    """W&B as a mirror of the rows on disk."""

    wandb: bool = False
    project: str = "uncollapse"
    mode: str = "online"
    entity: str | None = None

    def check(self) -> None:
        if self.mode not in ("online", "offline"):
            raise InputError(f"log.mode={self.mode}: allowed are online, offline")


# ---------------------------------------------------------------- heads and their knobs


def heads() -> list[str]:
    """Names that `head=` takes: the files of conf/head."""
    return sorted(path.stem for path in (CONF / "head").glob("*.yaml"))


def knobs_of(head: str) -> set[str]:
    """The knobs of a head: its file's top-level keys that are neither slots nor its label, and those of the heads it combines."""
    node = OmegaConf.load(CONF / "head" / f"{head}.yaml")
    assert isinstance(node, DictConfig)
    parents = [item for item in node.get("defaults", []) if isinstance(item, str) and item in heads()]
    own = {str(key) for key in node} - {*SLOTS, "label", "defaults"}
    return own.union(*(knobs_of(parent) for parent in parents)) if parents else own


def check_head(head: object) -> str:
    """The head's name, or InputError that lists the heads and the nearest one."""
    if isinstance(head, list | tuple) or (isinstance(head, str) and head.startswith("[")):
        raise InputError(
            f"head={head}: one head at a time; a combination is a head of its own, a file in conf/head that lists two"
        )
    if head not in heads():
        near = difflib.get_close_matches(str(head), heads(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"head={head}: no such head; {hint}allowed are {', '.join(heads())}")
    return str(head)


def check_knobs(cfg: DictConfig, head: str) -> None:
    """InputError for a top-level key that no slot reads: `+tau=0.5` with a head that has no tau."""
    slots = OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, [s for s in SLOTS if s in cfg]), resolve=False)
    read = set(re.findall(r"\$\{(\w+)\}", slots))
    for key in map(str, cfg):
        if key not in {*SLOTS, *SECTIONS, *COMMON, *read}:
            raise InputError(unknown_knob(key, cfg[key], head))


def unknown_knob(key: str, value: object, head: str) -> str:
    """The message for a knob that a head does not have, naming the heads that do."""
    having = [name for name in heads() if key in knobs_of(name)]
    own = ", ".join(sorted(knobs_of(head))) or "none"
    where = f"it is a knob of head={', '.join(having)}" if having else "no head has it"
    return f"{key}={value}: head={head} has no knob {key}; {where} (knobs of {head}: {own})"


# ---------------------------------------------------------------- typed sections, built slots


def typed(node: DictConfig, section: str, schema: type | None = None) -> Any:
    """A closed section as its dataclass, `schema` or the section's own `_target_`. InputError for a wrong type or key."""
    values = {str(k): v for k, v in OmegaConf.to_container(node, resolve=True).items()}  # type: ignore[union-attr]
    target = values.pop("_target_", None)
    schema = schema or located(str(target), section)
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except OmegaConfBaseException as error:
        key = f"{section}.{error.full_key or error.key}" if error.key is not None else section
        value = values.get(str(error.key))
        raise InputError(f"{key}={value}: {str(error).splitlines()[0]}") from error


def located(target: str, section: str) -> type:
    """The class a `_target_` names; only classes of this package are allowed."""
    check_target(target, section)
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{section}._target_={target}: no such class ({error})") from error


def check_target(target: object, where: str) -> None:
    if not str(target).startswith("uncollapse."):
        raise InputError(f"{where}._target_={target}: only targets under uncollapse. are built")


def build(node: DictConfig, where: str, *args: Any) -> Any:
    """Instantiate a slot (the package's only call of `instantiate`); a constructor's InputError comes out as it is."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    for path, target in targets(OmegaConf.to_container(node, resolve=True), where):
        check_target(target, path)
    try:
        return instantiate(node, *args)
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise InputError(f"{where}: {error.__cause__ or error}") from error


def targets(node: Any, where: str) -> list[tuple[str, object]]:
    """Every `_target_` in a nested plain config, with the place it stands at."""
    if isinstance(node, list):
        return [found for i, item in enumerate(node) for found in targets(item, f"{where}[{i}]")]
    if not isinstance(node, dict):
        return []
    own = [(where, node["_target_"])] if "_target_" in node else []
    return own + [found for key, item in node.items() for found in targets(item, f"{where}.{key}")]


# ---------------------------------------------------------------- comparing


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
