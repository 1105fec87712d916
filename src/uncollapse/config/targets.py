"""Checks and builds the classes that a config names by `_target_`.

Only classes of this package and of plugins that the user named are built, each only for its own key
and with arguments that it has.
"""

import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from uncollapse.config import HYDRA_KEYS, heads
from uncollapse.config.knobs import find_targets, read_choices
from uncollapse.errors import InputError, nearest_word, shorten
from uncollapse.json_types import JsonObject
from uncollapse.plugins import plugin_names
from uncollapse.raised import describe_raised
from uncollapse.renamed import present_name, with_present_names
from uncollapse.yaml_files import find_interpolation

# dotted key -> the package that defines its classes, and their base class
CLASS_PLACES = {
    "posterior": ("uncollapse.posteriors", "uncollapse.interfaces.posterior.PosteriorHead"),
    "objective": ("uncollapse.objectives", "uncollapse.interfaces.objective.Objective"),
    "objective.weight": ("uncollapse.training.schedules", "uncollapse.training.schedules.Curve"),
    "procedure": ("uncollapse.procedures", "uncollapse.interfaces.procedure.Procedure"),
    "decoder": ("uncollapse.decoders", "uncollapse.decoders.Options"),
    "decoder.output": ("uncollapse.decoders", "uncollapse.interfaces.decoder.OutputLayer"),
    "data": ("uncollapse.data", "uncollapse.interfaces.data.DataConfig"),
    "model": ("uncollapse.models", "uncollapse.interfaces.model.ModelConfig"),
}
PARTIAL_PLACE = "decoder.output"  # built later by the model, which knows the sizes


def resolve_node(node: DictConfig, where: str) -> JsonObject:
    """A node as plain values. InputError where it cannot be resolved, or still holds `${`."""
    try:
        plain: Any = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(
            f"{error.full_key or where or 'the config'}: {str(error).splitlines()[0]}"
        ) from error
    if place := find_interpolation(plain, where):
        raise InputError(f"{place}: ${{ in its value, which a config cannot hold")
    return {str(key): value for key, value in plain.items()}


# ---------------------------------------------------------------- classes


def locate_class(target: object, where: str) -> type:
    """The class that a `_target_` names. InputError unless it is allowed for this key."""
    given = f"{where}._target_={shorten(target)}"
    if where not in CLASS_PLACES:
        raise InputError(f"{given}: no class is built there; allowed are {', '.join(CLASS_PLACES)}")
    package, base = CLASS_PLACES[where]
    # an old config may name a class that has moved since
    module, _, name = present_name(str(target)).rpartition(".")
    require_allowed_module(module, package, given)
    try:
        found = vars(importlib.import_module(module)).get(name)
    # whatever the code of a plugin raises
    except Exception as error:
        # the module itself is missing, or a package above it
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module}.".startswith(f"{missing}."):
            raise InputError(f"{given}: no such class ({error})") from error
        reason = describe_raised(error)
        raise InputError(f"{given}: its module cannot be imported ({reason})") from error
    # a class that the module only imports is refused, or its name would have two spellings
    if not inspect.isclass(found) or found.__module__ != module:
        raise InputError(
            f"{given}: no such class; "
            f"{module} defines {', '.join(list_classes(module, base)) or 'none'}"
        )
    require_base(found, base, given)
    return found


def require_allowed_module(module: str, package: str, given: str) -> None:
    """InputError unless classes of this slot may be imported from a module."""
    allowed = (package, *plugin_names())
    if re.fullmatch(r"[\w.]+", module) and any(f"{module}.".startswith(f"{p}.") for p in allowed):
        return
    own = not module.startswith("uncollapse.")
    hint = "; name a package of your own with plugins=PACKAGE, or --plugins" if own else ""
    raise InputError(f"{given}: only classes of {' and '.join(allowed)} are built there{hint}")


def require_base(found: type, base: str, given: str) -> None:
    """InputError for a class that does not derive from `base`, or lacks one of its methods."""
    if derives_from(found, base):
        return
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        names = (name for cls in found.__mro__ for name in vars(cls))
        near = nearest_word(missing[0], (name for name in names if name not in missing))
        hint = f"; did you mean {missing[0]} by {near}?" if near else ""
        raise InputError(f"{given}: it has no {', '.join(missing)}{hint}")
    raise InputError(f"{given}: not a class for this place, as it does not derive from {base}")


def list_classes(module: str, base: str) -> list[str]:
    """The classes that a module itself defines and that derive from `base`."""
    return [
        name
        for name, found in vars(importlib.import_module(module)).items()
        if inspect.isclass(found) and found.__module__ == module and derives_from(found, base)
    ]


def derives_from(found: type, base: str) -> bool:
    """Whether a class derives from the one with the dotted name `base`, and can be built."""
    module, _, name = base.rpartition(".")
    wanted = vars(importlib.import_module(module))[name]
    return issubclass(found, wanted) and not inspect.isabstract(found)


# ---------------------------------------------------------------- building


def build(node: DictConfig, where: str, *args: object) -> Any:
    """Instantiate a slot: the only call of Hydra's `instantiate` in this package.

    InputError for whatever cannot be built; the InputErrors of constructors pass unchanged.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    plain = with_present_names(resolve_node(node, where))
    check_slot(plain, where, len(args))
    try:
        # InputErrors of a constructor arrive wrapped; they are raised again below
        return instantiate(plain, *args)
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None  # without Hydra's wrapping
        raise InputError(f"{where}: {error.__cause__ or error}") from error


def check_slot(node: JsonObject, where: str, given: int) -> None:
    """InputError unless each class in a slot is allowed for its key, and has the arguments given.

    `given`: the number of arguments that the slot's own class gets by position.
    """
    for place, key in find_hydra_keys(node, where):
        if key != "_target_" and (place, key) != (PARTIAL_PLACE, "_partial_"):
            raise InputError(f"{place}.{key}: not allowed in a config")
    for place, own in find_targets(node, where):
        check_arguments(place, own, given if place == where else 0)
    require_class(node, where)
    if where == "decoder":
        require_class(node.get("output", {}), PARTIAL_PLACE)


def require_class(node: object, where: str) -> None:
    """InputError for a node without a `_target_`."""
    if not isinstance(node, dict) or "_target_" not in node:
        raise InputError(
            f"{where}={shorten(node)}: it names no class; "
            f"allowed is a _target_ of {CLASS_PLACES[where][0]}"
        )


def find_hydra_keys(node: object, where: str) -> Iterator[tuple[str, str]]:
    """(dotted key, name) of every name, at any depth, that `instantiate` interprets."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            yield from find_hydra_keys(item, f"{where}[{i}]")
    elif isinstance(node, dict):
        for key, item in node.items():
            if re.fullmatch(r"_\w*_", str(key)):
                yield where, str(key)
            yield from find_hydra_keys(item, f"{where}.{key}")


def check_arguments(where: str, node: JsonObject, given: int) -> None:
    """InputError when a class lacks an argument it needs, or gets one it does not have.

    `given`: the number of arguments that come by position.
    """
    target = node["_target_"]
    parameters = list(inspect.signature(locate_class(target, where)).parameters.values())
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        raise InputError(
            f"{where}._target_={target}: a class for this place must name all of its arguments"
        )
    # the first `given` parameters are filled by position, so a config must not name them
    knobs = {p.name: p for p in parameters[given:]}
    stated = {str(key) for key in node} - {*HYDRA_KEYS}
    # a partial gets the rest of its arguments from the model
    needed = {
        name for name, p in knobs.items() if p.default is p.empty and not node.get("_partial_")
    }
    faults = [f"it has no {name}" for name in sorted(stated - set(knobs))]
    faults += [f"it needs {name}" for name in sorted(needed - stated)]
    if faults:
        advice = advise_on_keys(where, target, stated - set(knobs), knobs)
        raise InputError(f"{where}._target_={target}: {', '.join(faults)}; {advice}")


def advise_on_keys(where: str, target: str, unknown: set[str], knobs: Iterable[str]) -> str:
    """Advice where keys do not fit a class: the nearest key, or a head that uses the class."""
    near = [word for name in sorted(unknown) if (word := nearest_word(name, knobs))]
    if near:
        return f"did you mean {where}.{near[0]}?"
    users = [head for head in heads() if read_choices(head).get(where) == target]
    if users:
        return f"head={' or head='.join(users)} sets it up"
    return "a class and its knobs make a head, a file in conf/head"
