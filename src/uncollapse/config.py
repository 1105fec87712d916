"""From Hydra's composed config to checked, typed parts: knobs, closed sections, the one `instantiate`, and the
difference of two configs.

A head is a recipe over the slots. Its knobs stand flat at the top level of the config and are read by interpolation (`tau: ${tau}`).
"""

import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from uncollapse.errors import (
    MOST_SEED,
    InputError,
    did_you_mean,
    nearest_word,
    check_number,
    check_choice,
    shorten,
    is_unsafe,
    check_integer,
)
from uncollapse.renamed import present_name, with_present_names
from uncollapse.yaml_files import find_interpolation, read_yaml

CONF = Path(__file__).resolve().parents[2] / "conf"
SLOTS = ("posterior", "objective", "procedure", "decoder")
SECTIONS = ("data", "model", "trainer", "log")
COMMON = ("label", "study", "results", "seed", "device", "threads", "again")
HYDRA_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
# where classes are built: the package that defines them, and what every one of them offers there
PLACES = {
    "posterior": ("uncollapse.posteriors", "forward"),
    "objective": ("uncollapse.objectives", "__call__"),
    "objective.weight": ("uncollapse.training.schedules", "__call__"),
    "procedure": ("uncollapse.procedures", "step"),
    "decoder": ("uncollapse.decoders", "output"),
    "decoder.output": ("uncollapse.decoders", "features"),
    "data": ("uncollapse.data", "load"),
    "model": ("uncollapse.models", "build"),
}
PARTIAL = "decoder.output"  # the model finishes it, once it knows its sizes
MOST_THREADS, MOST_LABEL = 256, 200


@dataclass
class LogConfig:
    """W&B as a mirror of the rows on disk."""

    wandb: bool = False
    project: str = "uncollapse"
    mode: str = "online"
    entity: str | None = None
    timeout: float = 20.0

    def check(self) -> None:
        check_choice("log.mode", self.mode, ("online", "offline", "auto"))
        check_number("log.timeout", self.timeout, 0, 600)


# ---------------------------------------------------------------- heads and their knobs


def options(group: str) -> list[str]:
    """Names that `group=` takes: the files of conf/<group>."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def heads() -> list[str]:
    """Names that `head=` takes."""
    return options("head")


def knobs_of(head: str) -> set[str]:
    """The knobs of a head: its file's top-level keys that are neither slots nor its label, and those of the heads it combines."""
    own = set(head_file(head)) - {*SLOTS, "label", "defaults"}
    return own.union(*map(knobs_of, parents_of(head)))


def head_file(head: str) -> dict[str, Any]:
    """What a head's file says, interpolations as they stand."""
    return conf_file("head", head)


def conf_file(group: str, option: str) -> dict[str, Any]:
    """What an option's file says. InputError when it is damaged or no mapping."""
    path = CONF / group / f"{option}.yaml"
    content = read_yaml(path) or {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged (not a mapping of keys)")
    return {str(key): value for key, value in content.items()}


def parents_of(name: str, group: str = "head") -> list[str]:
    """The options that an option combines: those in its defaults list."""
    known = set(options(group)) - {name}
    listed = conf_file(group, name).get("defaults")
    return (
        [item for item in listed if isinstance(item, str) and item in known]
        if isinstance(listed, list)
        else []
    )


def check_head(head: object) -> str:
    """The head's name. InputError for several, for one that is not there (with the nearest), and for a combination that is none."""
    if isinstance(head, list | tuple) or (isinstance(head, str) and head.startswith("[")):
        raise InputError(
            f"head={head}: one head at a time; a combination is a head of its own, a file in conf/head that lists two"
        )
    if head not in heads():
        raise InputError(
            f"head={head}: no such head; {did_you_mean(str(head), heads())}allowed are {', '.join(heads())}"
        )
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
    said.append(
        (
            "the file itself",
            {k: v for k, v in own_choices(head).items() if str(v).startswith("uncollapse.")},
        )
    )
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
    return {
        place: value for said in [*inherited, own_choices(head)] for place, value in said.items()
    }


def own_choices(head: str) -> dict[str, object]:
    return {
        place: value
        for slot, node in head_file(head).items()
        if slot in SLOTS
        for place, value in flat(node, slot)
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
    slots = OmegaConf.to_yaml(
        OmegaConf.masked_copy(cfg, [s for s in SLOTS if s in cfg]), resolve=False
    )
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


# ---------------------------------------------------------------- common keys


def check_root(key: str, value: object) -> None:
    """InputError for a common key outside its range; an unknown device is found where devices are."""
    if key == "seed":
        check_integer("seed", value, 0, MOST_SEED)
    elif key == "threads":
        check_integer("threads", value, 1, MOST_THREADS)
    elif key == "again":
        if not isinstance(value, bool):
            raise InputError(f"again={shorten(value)}: allowed are true, false")
    elif isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{key}={shorten(value)}: allowed is a text")
    elif key == "study" and not re.fullmatch(r"[^\W_][\w.+-]{0,99}", str(value)):
        raise InputError(
            f"study={shorten(value)}: allowed are letters, digits and . _ + -, a letter or digit first, 100 in all"
        )
    elif key == "results":
        check_results(str(value))
    elif key == "label" and not 0 < len(str(value).strip()) <= MOST_LABEL:
        raise InputError(
            f"label={shorten(value)}: allowed is a text of at most {MOST_LABEL} characters"
        )


def check_results(results: str) -> None:
    if not results.strip():
        raise InputError(f"results={results}: allowed is the path of a folder")
    if results.startswith("~"):
        raise InputError(
            f"results={results}: the shell has not replaced ~; write results=$HOME{results[1:]}"
        )
    check_folder(Path(results), results)


def check_folder(folder: Path, results: str) -> None:
    """InputError for a path that no folder can have: a name too long, or a file where a folder must be."""
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError as error:
        raise InputError(
            f"results={shorten(results)}: no folder can be there ({error.strerror})"
        ) from error
    if not there.is_dir():
        raise InputError(f"results={shorten(results)}: cannot write there ({there} is a file)")


def check_text(found: Any, where: str) -> None:
    """InputError for text with control characters: it would break out of the line or the name it is written to."""
    if isinstance(found, dict):
        for key, value in found.items():
            check_text(key, f"a key of {where}" if where else "a key")
            check_text(value, f"{where}.{key}" if where else key)
    elif isinstance(found, list | tuple):
        for i, value in enumerate(found):
            check_text(value, f"{where}[{i}]")
    elif isinstance(found, str) and any(map(is_unsafe, found)):
        raise InputError(
            f"{where}={shorten(found)}: control characters, such as a line break, are not allowed in it"
        )


# ---------------------------------------------------------------- typed sections, built slots


def typed(node: DictConfig, section: str, schema: type | None = None) -> Any:
    """A closed section as its dataclass, `schema` or what its `_target_` names. InputError for a wrong type or key."""
    values: dict[str, Any] = resolved(node, section)
    if schema is None:
        schema = located(values.pop("_target_", None), section)
    for place, key in hydra_keys(values, section):
        raise InputError(f"{place}.{key}: not allowed in a config")
    known = [field.name for field in fields(schema)]
    for key in values:
        if key not in known:
            raise InputError(no_such_key(f"{section}.{key}", values[key], known))
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except OmegaConfBaseException as error:
        key = f"{section}.{error.full_key or error.key}" if error.key is not None else section
        raise InputError(
            f"{key}={shorten(values.get(str(error.key)))}: {str(error).splitlines()[0]}"
        ) from error


def no_such_key(key: str, value: object, names: Iterable[str]) -> str:
    """The message for a key that is not there, with the nearest and all the names that stand in its place."""
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


def resolved(node: DictConfig, where: str) -> dict[str, Any]:
    """A node as plain values. InputError for what OmegaConf cannot resolve, and for text that it would resolve again."""
    try:
        plain: Any = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(
            f"{error.full_key or where or 'the config'}: {str(error).splitlines()[0]}"
        ) from error
    if place := find_interpolation(plain, where):
        raise InputError(f"{place}: ${{ stands in its value, which no config can hold")
    return {str(key): value for key, value in plain.items()}


def located(target: object, where: str) -> type:
    """The class that a `_target_` names: only one that the package of that place itself defines, and for that place."""
    said = f"{where}._target_={shorten(target)}"
    if where not in PLACES:
        raise InputError(f"{said}: no class is built there; allowed are {', '.join(PLACES)}")
    package, verb = PLACES[where]
    module, _, name = present_name(str(target)).rpartition(".")
    if not re.fullmatch(r"[\w.]+", module) or not f"{module}.".startswith(f"{package}."):
        raise InputError(f"{said}: only classes of {package} are built there")
    try:
        found = vars(importlib.import_module(module)).get(name)
    except ImportError as error:
        raise InputError(f"{said}: no such class ({error})") from error
    if not inspect.isclass(found) or found.__module__ != module:
        raise InputError(
            f"{said}: no such class; {module} defines {', '.join(classes_of(module, verb)) or 'none'}"
        )
    if not offers(found, verb):
        raise InputError(f"{said}: not a class for this place")
    return found


def classes_of(module: str, verb: str) -> list[str]:
    """The classes that a module defines itself and that offer a verb."""
    held = vars(importlib.import_module(module)).items()
    return [
        n
        for n, found in held
        if inspect.isclass(found) and found.__module__ == module and offers(found, verb)
    ]


def offers(found: type, verb: str) -> bool:
    """Whether instances have a method (a class of which is not enough: every class can be called)."""
    return any(callable(vars(base).get(verb)) for base in found.__mro__)


def build(node: DictConfig, where: str, *args: Any) -> Any:
    """Instantiate a slot (the package's only call of `instantiate`); a constructor's InputError comes out as it is."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    plain = with_present_names(resolved(node, where))
    check_parts(plain, where, len(args))
    try:
        return instantiate(plain, *args)
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise InputError(f"{where}: {error.__cause__ or error}") from error


def check_parts(node: dict[str, Any], where: str, given: int) -> None:
    """InputError unless only classes for their places are named in a slot, each with what it takes."""
    for place, key in hydra_keys(node, where):
        if key != "_target_" and (place, key) != (PARTIAL, "_partial_"):
            raise InputError(f"{place}.{key}: not allowed in a config")
    for place, own in targets(node, where):
        check_arguments(place, own, given if place == where else 0)
    for place, part in (
        (where, node),
        (PARTIAL, node.get("output", {}) if where == "decoder" else node),
    ):
        if not isinstance(part, dict) or "_target_" not in part:
            raise InputError(
                f"{place}={shorten(part)}: it names no class; allowed is a _target_ of {PLACES[place][0]}"
            )


def hydra_keys(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """(place, key) of every key, at any depth, that tells `instantiate` what to do."""
    inside = (
        enumerate(node)
        if isinstance(node, list)
        else node.items()
        if isinstance(node, dict)
        else ()
    )
    for key, item in inside:
        if isinstance(node, dict) and re.fullmatch(r"_\w*_", str(key)):
            yield where, str(key)
        yield from hydra_keys(
            item, f"{where}[{key}]" if isinstance(node, list) else f"{where}.{key}"
        )


def targets(node: Any, where: str) -> list[tuple[str, dict]]:
    """Every node with a `_target_` in a nested plain config, with the place it stands at."""
    if isinstance(node, list):
        return [found for i, item in enumerate(node) for found in targets(item, f"{where}[{i}]")]
    if not isinstance(node, dict):
        return []
    own = [(where, node)] if "_target_" in node else []
    return own + [found for key, item in node.items() for found in targets(item, f"{where}.{key}")]


def check_arguments(where: str, node: dict, given: int) -> None:
    """InputError when a class does not take what its node holds, or lacks what it needs; `given` come by position."""
    target = node["_target_"]
    parameters = list(inspect.signature(located(target, where)).parameters.values())
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        raise InputError(
            f"{where}._target_={target}: a class for this place names all that it takes"
        )
    knobs = {p.name: p for p in parameters[given:]}
    held = {str(key) for key in node} - {*HYDRA_KEYS}
    needed = {
        name for name, p in knobs.items() if p.default is p.empty and not node.get("_partial_")
    }
    wrong = [f"it has no {name}" for name in sorted(held - set(knobs))]
    wrong += [f"it needs {name}" for name in sorted(needed - held)]
    if wrong:
        raise InputError(
            f"{where}._target_={target}: {', '.join(wrong)}; {advice(where, target, held - set(knobs), knobs)}"
        )


def advice(where: str, target: str, wrong: set[str], knobs: Iterable[str]) -> str:
    """What helps where a class and its keys do not fit: the key that was meant, or the head that sets the class up."""
    near = [word for name in sorted(wrong) if (word := nearest_word(name, knobs))]
    if near:
        return f"did you mean {where}.{near[0]}?"
    users = [head for head in heads() if own_choices(head).get(where) == target]
    if users:
        return f"head={' or head='.join(users)} sets it up"
    return "a class and its knobs make a head, a file in conf/head"
