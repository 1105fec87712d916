"""From Hydra's composed config to checked, typed parts: knobs, closed sections, the one `instantiate`, and the difference of two configs.

A head is a recipe over the slots. Its knobs stand flat at the top level of the config and are read by interpolation (`tau: ${tau}`).
"""

import difflib
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from uncollapse.errors import InputError, number

CONF = Path(__file__).resolve().parents[2] / "conf"
SLOTS = ("posterior", "objective", "procedure", "decoder")
SECTIONS = ("data", "model", "trainer", "log")
COMMON = ("label", "study", "results", "seed", "device", "threads")
HYDRA_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")


@dataclass
class LogConfig:
    """W&B as a mirror of the rows on disk."""

    wandb: bool = False
    project: str = "uncollapse"
    mode: str = "online"
    entity: str | None = None
    timeout: float = 20.0

    def check(self) -> None:
        if self.mode not in ("online", "offline", "auto"):
            raise InputError(f"log.mode={self.mode}: allowed are online, offline, auto")
        number("log.timeout", self.timeout, 0, 600)


# ---------------------------------------------------------------- heads and their knobs


def heads() -> list[str]:
    """Names that `head=` takes: the files of conf/head."""
    return sorted(path.stem for path in (CONF / "head").glob("*.yaml"))


def knobs_of(head: str) -> set[str]:
    """The knobs of a head: its file's top-level keys that are neither slots nor its label, and those of the heads it combines."""
    own = set(head_file(head)) - {*SLOTS, "label", "defaults"}
    return own.union(*map(knobs_of, parents_of(head)))


def head_file(head: str) -> dict[str, Any]:
    """What a head's file says, interpolations as they stand."""
    content = OmegaConf.to_container(OmegaConf.load(CONF / "head" / f"{head}.yaml"))
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def parents_of(head: str) -> list[str]:
    """The heads that a head combines: those in its defaults list."""
    known = set(heads()) - {head}
    return [item for item in head_file(head).get("defaults", []) if isinstance(item, str) and item in known]


def check_head(head: object) -> str:
    """The head's name. InputError for several, for one that is not there (with the nearest), and for a combination that is none."""
    if isinstance(head, list | tuple) or (isinstance(head, str) and head.startswith("[")):
        raise InputError(
            f"head={head}: one head at a time; a combination is a head of its own, a file in conf/head that lists two"
        )
    if head not in heads():
        near = difflib.get_close_matches(str(head), heads(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"head={head}: no such head; {hint}allowed are {', '.join(heads())}")
    check_combination(str(head))
    return str(head)


def check_combination(head: str) -> None:
    """InputError when two of the heads that a file combines, or one of them and the file, choose the same thing differently.

    Hydra would merge them in silence: the class of the last, with the knobs of both.
    """
    parents = parents_of(head)
    for parent in parents:
        check_combination(parent)
    said = [(parent, choices_of(parent)) for parent in parents]
    # the file itself has the last word on a value, but not on a class, whose knobs would stay behind
    said.append(("the file itself", {k: v for k, v in own_choices(head).items() if str(v).startswith("uncollapse.")}))
    for (one, first), (other, second) in combinations(said, 2):
        for place in first:
            if place in second and first[place] != second[place]:
                raise InputError(
                    f"head={head}: {one} and {other} both set {place} ({first[place]} and {second[place]}); "
                    "a combination takes each thing from one head only"
                )


def choices_of(head: str) -> dict[str, object]:
    """What a head sets in the slots, by place: `posterior` -> its class, `objective.weight` -> a class or a value. Parents' included."""
    inherited = [choices_of(parent) for parent in parents_of(head)]
    return {place: value for said in [*inherited, own_choices(head)] for place, value in said.items()}


def own_choices(head: str) -> dict[str, object]:
    return {
        place: value for slot, node in head_file(head).items() if slot in SLOTS for place, value in flat(node, slot)
    }


def flat(node: Any, place: str) -> Iterator[tuple[str, object]]:
    """(place, value) of every leaf of a nested plain config; a node with a `_target_` is told by it, before what lies under it."""
    if not isinstance(node, dict):
        yield place, node
        return
    if "_target_" in node:
        yield place, node["_target_"]
    for key, item in node.items():
        if key not in HYDRA_KEYS:
            yield from flat(item, f"{place}.{key}")


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

    for path, own in targets(OmegaConf.to_container(node, resolve=True), where):
        check_arguments(path, own, len(args) if path == where else 0)
    try:
        return instantiate(node, *args)
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise InputError(f"{where}: {error.__cause__ or error}") from error


def targets(node: Any, where: str) -> list[tuple[str, dict]]:
    """Every node with a `_target_` in a nested plain config, with the place it stands at."""
    if isinstance(node, list):
        return [found for i, item in enumerate(node) for found in targets(item, f"{where}[{i}]")]
    if not isinstance(node, dict):
        return []
    own = [(where, node)] if "_target_" in node else []
    return own + [found for key, item in node.items() for found in targets(item, f"{where}.{key}")]


def check_arguments(where: str, node: dict, given: int) -> None:
    """InputError when a class does not take what its node holds, or lacks what it needs; `given` arguments come by position."""
    target = node["_target_"]
    parameters = list(inspect.signature(located(str(target), where)).parameters.values())
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        return
    knobs = {p.name: p for p in parameters[given:]}
    held = {str(key) for key in node} - {*HYDRA_KEYS}
    needed = {name for name, p in knobs.items() if p.default is p.empty and not node.get("_partial_")}
    wrong = [f"it has no {name}" for name in sorted(held - set(knobs))]
    wrong += [f"it needs {name}" for name in sorted(needed - held)]
    if wrong:
        users = [head for head in heads() if own_choices(head).get(where) == target]
        advice = (
            f"head={' or head='.join(users)} sets it up"
            if users
            else "a class and its knobs make a head, a file in conf/head"
        )
        raise InputError(f"{where}._target_={target}: {', '.join(wrong)}; {advice}")
