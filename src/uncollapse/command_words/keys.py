"""Keys that can be set on the command line, and the options of each config group."""

import re

from uncollapse.config import SECTIONS, SLOTS, TYPED, options, read_option
from uncollapse.config.knobs import check_head
from uncollapse.config.sections import describe_unknown_key
from uncollapse.errors import InputError, did_you_mean, nearest_word, shorten

GROUPS = ("head", *SECTIONS, "experiment")
HYDRA_GROUPS = (
    "launcher",
    "sweeper",
    "help",
    "hydra_help",
    "job_logging",
    "hydra_logging",
    "env",
    "output",
)


def check_key(word: str, knobs_by_head: dict[str, set[str]]) -> None:
    """InputError for an unknown key, for a form that is not supported, and for `~key`."""
    # `+key`, `++key` and `~key` are the same key with another prefix
    key, _, value = word.lstrip("+~").partition("=")
    name = re.split(r"[./@]", key)[0]
    if name == "hydra":
        return check_hydra_group(key, value)  # Hydra checks its own keys
    if key != key.strip():
        raise InputError(
            f"{shorten(word)}: did you mean {key.strip()}={value}? No spaces are allowed around ="
        )
    roots, knobs = {*GROUPS, *SLOTS, *TYPED}, set().union(*knobs_by_head.values())
    if name not in roots | knobs:
        hint = suggest_key(key, value, roots, knobs_by_head)
        raise InputError(f"{shorten(word)}: no such key; {hint}")
    check_key_form(word, key, value)
    if name in SLOTS and key == name:
        near = nearest_word(value, knobs_by_head)
        hint = f"did you mean head={near}? " if near else ""
        raise InputError(
            f"{shorten(word)}: a slot is set by its head; {hint}--help lists the heads"
        )
    if name in (*TYPED, *knobs, "head", "experiment") and key != name:
        raise InputError(f"{shorten(word)}: {name} has no keys; did you mean {name}={value}?")
    return check_section_key(key, value)


def check_key_form(word: str, key: str, value: str) -> None:
    """InputError for a known key with `@` or `/`, and for `~` and `+` where they do not apply."""
    if "@" in key or "/" in key:
        name = re.split(r"[./@]", key)[0]
        raise InputError(
            f"{shorten(word)}: @ and / are not allowed in a key; did you mean {name}={value}?"
        )
    if word.startswith("~"):
        raise InputError(
            f"{shorten(word)}: keys cannot be removed from a config; {key}=VALUE sets another value"
        )
    if word.startswith("+") and key in GROUPS:
        raise InputError(
            f"{shorten(word)}: {key} is already in the config; did you mean {key}={value}?"
        )


def suggest_key(key: str, value: str, roots: set[str], knobs_by_head: dict[str, set[str]]) -> str:
    """The nearest key, and for a knob the heads that have it; without a near one, all root keys."""
    name = re.split(r"[./@]", key)[0]
    near = nearest_word(name, roots.union(*knobs_by_head.values()))
    if near is None:
        return f"allowed are {', '.join(sorted(roots))} and the knobs of the head"
    owners = [head for head, knobs in knobs_by_head.items() if near in knobs and near not in roots]
    owned = f", a knob of head={', '.join(owners)}" if owners else ""
    return f"did you mean {key.replace(name, near, 1)}={value}{owned}?"


def check_hydra_group(key: str, value: str) -> None:
    """InputError for an unknown group, as in hydra/lancher=joblib; Hydra checks its options."""
    group = key.removeprefix("hydra/").split("@")[0]
    # keys such as hydra.launcher.n_jobs are left to Hydra; only groups are checked
    if key.startswith("hydra/") and group not in HYDRA_GROUPS:
        raise InputError(describe_unknown_key(key, value, HYDRA_GROUPS))


def check_section_key(key: str, value: str) -> None:
    """InputError for a key that no option of its section has, as in trainer.epocs=3."""
    section, dot, name = key.partition(".")
    if section not in SECTIONS or not dot:
        return
    keys = {key for option in options(section) for key in read_option(section, option)}
    keys -= {"defaults", "_target_"}
    first = name.split(".")[0]
    if first not in {*keys, "_target_"}:
        raise InputError(describe_unknown_key(key, value, keys))
    if "." in name:
        raise InputError(f"{key}={shorten(value)}: {section}.{first} has no keys")


def check_option(group: str, option: object) -> None:
    """InputError for an option that a group does not have, with the nearest one."""
    if group == "head":
        check_head(option)
        return
    allowed = options(group)
    is_none = group == "experiment" and option is None
    if not is_none and option not in allowed:
        hint = did_you_mean(str(option), allowed)
        raise InputError(
            f"{group}={shorten(option)}: no such {group}; {hint}allowed are {', '.join(allowed)}"
        )
