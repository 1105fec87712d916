"""Checks of values: one option per group, allowed values only, and knobs that the head has."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from uncollapse.command_words.grammar import (
    is_range,
    list_values,
    parse_swept_value,
    quote_override,
)
from uncollapse.command_words.keys import GROUPS, check_option
from uncollapse.config import COMMON, SECTIONS, find_option, options, parents_of, read_option
from uncollapse.config.common_keys import check_root
from uncollapse.config.knobs import describe_unknown_knob
from uncollapse.errors import InputError, shorten

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


def check_given_once(overrides: "list[Override]") -> None:
    """InputError for a group with two different options; of other keys the last value counts."""
    earlier: dict[str, str] = {}
    for override in overrides:
        group, typed = override.key_or_group, str(override.input_line)
        if group not in GROUPS:
            continue
        first = earlier.setdefault(group, typed)
        if first.partition("=")[2] != typed.partition("=")[2]:
            raise InputError(f"{first} {typed}: {group} is given twice; give it once")


def check_values(overrides: "list[Override]", allow_sweep: bool) -> None:
    """InputError for several values without a sweep, an unknown option, or a bad common key."""
    for override in overrides:
        key, typed = override.key_or_group, str(override.input_line)
        if override.is_sweep_override() and not allow_sweep:
            given = typed.partition("=")[2]
            quoted = quote_override(key, given)
            as_list = "" if key in COMMON else f"; write a list as {shorten(f'{key}=[{given}]')}"
            as_text = "" if key in GROUPS else f"{as_list}; a single text is typed {quoted}"
            raise InputError(
                f"{shorten(typed)}: several values make a sweep, which needs -m{as_text}"
            )
        if key not in (*GROUPS, *COMMON):
            continue
        values = [] if is_range(override) else list_values(override)
        if key in GROUPS and not values:
            allowed = ", ".join(options(key))
            raise InputError(f"{shorten(typed)}: no {key} matches; allowed are {allowed}")
        for value in values:
            if key in GROUPS:
                check_option(key, value)
            elif "${" not in str(value):  # an interpolation is checked once it is resolved
                is_sweep = override.is_sweep_override()
                check_root(key, parse_swept_value(value) if is_sweep else value)


def check_knob_owners(overrides: "list[Override]", knobs_by_head: dict[str, set[str]]) -> None:
    """InputError for a knob that one of the requested heads does not have."""
    requested = [
        str(head) for o in overrides if o.key_or_group == "head" for head in list_values(o)
    ]
    # without head= the default is plain, unless an experiment chooses
    if not requested and any(
        o.key_or_group == "experiment" and o.value() is not None for o in overrides
    ):
        return  # the experiment names its heads
    knobs = set().union(*knobs_by_head.values())
    for override in overrides:
        key, value = override.key_or_group, str(override.input_line).split("=", 1)[-1]
        lacking = [head for head in requested or ["plain"] if key not in knobs_by_head[head]]
        # rate=4 searches the knob of a head that has no knob of this name
        if lacking and key in knobs and key != "rate":
            advice = "; run such heads in a sweep of their own" if len(requested) > 1 else ""
            raise InputError(describe_unknown_knob(key, value, lacking[0]) + advice)


def check_chosen_files(overrides: "list[Override]") -> None:
    """InputError for a damaged or oversized file of a chosen option.

    Hydra would read it without limits. The files of heads have been read before.
    """
    chosen = {
        key: [str(option)]
        for item in read_option("", "train").get("defaults", [])
        for key, option in list_pairs(item)
    }
    for override in overrides:
        if override.key_or_group in GROUPS:
            chosen[override.key_or_group] = [str(option) for option in list_values(override)]
    for group in (*SECTIONS, "experiment"):
        for option in chosen.get(group, []):
            if find_option(group, option).exists():
                for parent in parents_of(option, group):
                    read_option(group, parent)


def list_pairs(item: object) -> Iterable[tuple[str, object]]:
    """The pairs of a defaults entry such as `data: grammar`; none of a bare `_self_`."""
    return item.items() if isinstance(item, dict) else ()


def is_sweep_experiment(name: object) -> bool:
    """Whether an experiment's file requests a sweep."""
    if name not in options("experiment"):
        return False
    hydra = read_option("experiment", str(name)).get("hydra")
    return isinstance(hydra, dict) and hydra.get("mode") == "MULTIRUN"


def is_single_knob(override: "Override", knobs: set[str]) -> bool:
    return override.key_or_group in knobs and not override.is_sweep_override()


def make_sweep(word: str) -> str:
    """`tau=0.3` as a sweep of one value."""
    key, _, value = word.partition("=")
    return f"{key}=choice({value})"
