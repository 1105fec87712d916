"""Checks a head: it exists, its combined heads do not clash, and it reads all knobs given."""

import re
from collections.abc import Iterator
from itertools import combinations

from omegaconf import DictConfig, OmegaConf

from uncollapse.config import (
    COMMON,
    HYDRA_KEYS,
    SECTIONS,
    SHORTHANDS,
    SLOTS,
    heads,
    knobs_of,
    parents_of,
    read_head,
)
from uncollapse.errors import InputError, did_you_mean
from uncollapse.json_types import JsonObject


def check_head(head: object) -> str:
    """The head's name. InputError for several, an unknown one, or one that contradicts itself."""
    if isinstance(head, list | tuple) or (isinstance(head, str) and head.startswith("[")):
        raise InputError(
            f"head={head}: one head at a time; a combination is a head of its own, "
            "a file in conf/head that lists two"
        )
    if head not in heads():
        raise InputError(
            f"head={head}: no such head; {did_you_mean(str(head), heads())}"
            f"allowed are {', '.join(heads())}"
        )
    check_combination(str(head))
    return str(head)


def check_combination(head: str) -> None:
    """InputError when two combined heads, or one and the file itself, set the same key.

    Hydra would silently merge them into the class of the last head with the knobs of both.
    """
    parents = parents_of(head)
    for parent in parents:
        check_combination(parent)
    sources = [(parent, collect_choices(parent)) for parent in parents]
    # The file itself may override a value but not a class, which would keep the old class's knobs.
    sources.append(("the file itself", read_classes(head)))
    for (one, first), (other, second) in combinations(sources, 2):
        # equal values do not clash: two heads may both choose the plain decoder
        for place in first:
            if place in second and first[place] != second[place]:
                raise InputError(
                    f"head={head}: {one} and {other} both set {place} "
                    f"({first[place]} and {second[place]}); "
                    "a combination takes each setting from one head only"
                )


def collect_choices(head: str) -> dict[str, object]:
    """Dotted key (`objective.weight`) -> class or value (1.0), as set by a head and its parents."""
    inherited = [collect_choices(parent) for parent in parents_of(head)]
    return {
        place: value
        # later choices win, so a file's own choices override those of its parents
        for choices in [*inherited, read_choices(head)]
        for place, value in choices.items()
    }


def read_choices(head: str) -> dict[str, object]:
    """As `collect_choices`, of the head's own file alone."""
    return {
        place: value
        for slot, node in read_head(head).items()
        if slot in SLOTS
        for place, value in walk_leaves(node, slot)
    }


def read_classes(head: str) -> dict[str, object]:
    """Dotted key -> class, as set by the head's own file."""
    return {
        place: node["_target_"]
        for slot, content in read_head(head).items()
        if slot in SLOTS
        for place, node in find_targets(content, slot)
    }


def find_targets(node: object, where: str) -> list[tuple[str, JsonObject]]:
    """Every node with a `_target_` in a nested plain config, with its dotted key."""
    if isinstance(node, list):
        return [
            found for i, item in enumerate(node) for found in find_targets(item, f"{where}[{i}]")
        ]
    if not isinstance(node, dict):
        return []
    own = [(where, node)] if "_target_" in node else []
    inside = [found for key, item in node.items() for found in find_targets(item, f"{where}.{key}")]
    return own + inside


def walk_leaves(node: object, place: str) -> Iterator[tuple[str, object]]:
    """(dotted key, value) of every leaf; a `_target_` is listed under the key of its node."""
    if not isinstance(node, dict):
        yield place, node
        return
    if "_target_" in node:
        yield place, node["_target_"]
    for key, item in node.items():
        if key not in HYDRA_KEYS:
            yield from walk_leaves(item, f"{place}.{key}")


def check_knobs(cfg: DictConfig, head: str) -> None:
    """InputError for a top-level key that no slot reads: `+tau=0.5` with a head that has no tau.

    Also for a head file that is not merged into the config as it should be.
    """
    check_head_file(cfg, head)
    # slots read knobs by interpolation, so search for ${knob} in their unresolved text
    slots = OmegaConf.to_yaml(
        OmegaConf.masked_copy(cfg, [s for s in SLOTS if s in cfg]), resolve=False
    )
    read = set(re.findall(r"\$\{(\w+)\}", slots))
    for key in map(str, cfg):
        if key not in {*SLOTS, *SECTIONS, *COMMON, "from", *read}:
            if key in knobs_of(head):
                raise InputError(describe_unused_knob(key, head, read - {*map(str, cfg)}))
            raise InputError(describe_unknown_knob(key, cfg[key], head))


def check_head_file(cfg: DictConfig, head: str) -> None:
    """InputError for a head file without its first line or its label, or with an unknown slot."""
    place = f"conf/head/{head}.yaml"
    if isinstance(cfg.get("head"), DictConfig):
        raise InputError(f"{place}: its first line must be `# @package _global_`")
    if "label" not in cfg:
        raise InputError(f"{place}: it has no label, the name of the head in figures and tables")
    for key, value in read_head(head).items():
        if isinstance(value, dict) and key not in (*SLOTS, *SHORTHANDS):
            raise InputError(
                f"{place}: {key} is not a slot; {did_you_mean(key, SLOTS)}"
                f"allowed are {', '.join(SLOTS)}"
            )


def describe_unused_knob(key: str, head: str, undefined: set[str]) -> str:
    """The message for a knob that the slots of its own head do not read.

    `undefined`: the keys that slots do read but that do not exist, such as a misspelt knob.
    """
    names = ", ".join(f"${{{name}}}" for name in sorted(undefined))
    hint = f"; {names} is not defined" if names else ""
    return f"conf/head/{head}.yaml: knob {key} is not used: no slot reads ${{{key}}}{hint}"


def describe_unknown_knob(key: str, value: object, head: str) -> str:
    """The message for a knob that a head does not have, naming the heads that do."""
    having = [name for name in heads() if key in knobs_of(name)]
    own = ", ".join(sorted(knobs_of(head))) or "none"
    where = f"it is a knob of head={', '.join(having)}" if having else "no head has it"
    return f"{key}={value}: head={head} has no knob {key}; {where} (knobs of {head}: {own})"
