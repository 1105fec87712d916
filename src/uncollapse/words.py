"""What the user typed after train.py, checked word by word and completed before Hydra works on it.

Hydra refuses most of what is wrong too, but in texts that advise `+tau=0.3` for a head that has no tau, and in a sweep
over heads it tries a lone `tau=0.3` on the default head first.
"""

import re
import shlex
from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from uncollapse import config
from uncollapse.config import (
    COMMON,
    SECTIONS,
    SLOTS,
    check_head,
    check_root,
    conf_file,
    heads,
    knobs_of,
    no_such_key,
    options,
    parents_of,
    unknown_knob,
)
from uncollapse.errors import InputError, did_you_mean, is_unsafe, nearest_word, shorten

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
QUOTES = ('"', "'")


def understand_words(argv: list[str]) -> list[str]:
    """The words for Hydra, flags first. InputError for the first that is wrong.

    A study that sweeps (experiment=compare) gets `--multirun`, so that its grid can be narrowed with `seed=0,1`.
    """
    asked, flags, words = divided(argv)
    if asked.shell_completion or asked.hydra_help:
        return argv
    known = {head: knobs_of(head) for head in heads()}
    knobs = set().union(*known.values())
    check_form(words, {*GROUPS, *SLOTS, *COMMON, *knobs})
    for word in words:
        check_key(word, known)
    overrides = [parsed(word) for word in words]
    check_twice(overrides)
    studies = [
        name
        for o in overrides
        if o.key_or_group == "experiment"
        for name in choices(o)
        if is_study(name)
    ]
    shows = asked.cfg or asked.info or asked.run or asked.help
    completed = bool(studies) and not asked.multirun and not shows
    sweeps = asked.multirun or completed
    check_values(
        overrides, sweeps or bool(studies) or any(o.key_or_group == "hydra.mode" for o in overrides)
    )
    check_knob_words(overrides, known)
    check_files(overrides)
    if sweeps:  # a knob is a sweep of one value then, which Hydra applies after the head
        words = [
            word if not is_lone(o, knobs) else swept(word)
            for word, o in zip(words, overrides, strict=True)
        ]
    return [*flags, *(["--multirun"] if completed else []), *words]


def is_lone(override: Any, knobs: set[str]) -> bool:
    return override.key_or_group in knobs and not override.is_sweep_override()


def swept(word: str) -> str:
    key, _, value = word.partition("=")
    return f"{key}=choice({value})"


# ---------------------------------------------------------------- flags and the form of words


def divided(argv: list[str]) -> tuple[Namespace, list[str], list[str]]:
    """What Hydra's parser makes of the flags, the flags as typed, and the words. InputError for a flag that is none."""
    from hydra._internal.utils import get_args_parser

    for word in argv:
        if any(map(is_unsafe, word)):
            raise InputError(
                f"{shorten(word)}: control characters, such as a line break, are not allowed in a word"
            )
    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    asked, rest = parser.parse_known_intermixed_args(argv)
    if rest:
        raise InputError(no_such_flag(rest[0], [*parser._option_string_actions]))
    words, flags = list(asked.overrides), list(argv)
    for word in words:
        flags.remove(word)
    return asked, flags, words


def refuse(message: str) -> NoReturn:
    raise InputError(f"{message} (--hydra-help lists the flags)")


def no_such_flag(flag: str, known: Iterable[str]) -> str:
    bare = flag.lstrip("-")
    if "=" in bare and re.split(r"[.=]", bare)[0] in {*GROUPS, *SLOTS, *COMMON}.union(
        *map(knobs_of, heads())
    ):
        return f"{flag}: keys are typed without dashes; did you mean {bare}?"
    near = nearest_word(flag.split("=")[0], known)
    return (
        f"{flag}: no such flag; "
        + (f"did you mean {near}? " if near else "")
        + "--hydra-help lists the flags"
    )


def check_form(words: Sequence[str], keys: set[str]) -> None:
    """InputError for a word that is not KEY=VALUE, saying what it may be a part of."""
    for i, word in enumerate(words):
        before, after = words[i - 1] if i else "", words[i + 1 : i + 3]
        if word.startswith("~") or ("=" in word and not word.startswith("=")):
            continue
        raise InputError(
            f"{shorten(word)}: not of the form KEY=VALUE{intended(word, before, after, keys)}"
        )


def intended(word: str, before: str, after: Sequence[str], keys: set[str]) -> str:
    """What a word without `=` may be meant for."""
    name, colon, value = word.partition(":")
    if colon and name.split(".")[0] in keys:
        return f"; did you mean {name}={value}?"
    if word.split(".")[0] in keys and after:
        rest = "".join(after).lstrip("=") if after[0] in ("=", "") else after[0].lstrip("=")
        return f"; did you mean {word}={rest}? No spaces stand around ="
    if before.endswith("="):
        return f"; did you mean {before}{word}? No spaces stand around ="
    if near := nearest_word(word, heads()):
        return f"; did you mean head={near}?"
    if "=" in before:
        key, _, value = before.partition("=")
        return f"; if it belongs to the word before, quote them: {quoted(key, f'{value} {word}')}"
    return ""


def check_key(word: str, known: dict[str, set[str]]) -> None:
    """InputError for a key that no config has, for one in a form that is not supported, and for what is taken out."""
    key, _, value = word.lstrip("+~").partition("=")
    name, knobs = re.split(r"[./@]", key)[0], set().union(*known.values())
    if name == "hydra":
        return check_hydra_group(key, value)
    if key != key.strip():
        raise InputError(
            f"{shorten(word)}: did you mean {key.strip()}={value}? No spaces stand around ="
        )
    roots = {*GROUPS, *SLOTS, *COMMON}
    if name not in roots | knobs:
        raise InputError(f"{shorten(word)}: no such key; {hint(key, value, name, roots, known)}")
    if "@" in key or "/" in key:
        raise InputError(
            f"{shorten(word)}: no @ and no / stand in a key; did you mean {name}={value}?"
        )
    if word.startswith("~"):
        raise InputError(
            f"{shorten(word)}: nothing is taken out of a config; {key}=VALUE sets another value"
        )
    if name in SLOTS and key == name:
        near = (
            f"did you mean head={nearest_word(value, known)}? "
            if nearest_word(value, known)
            else ""
        )
        raise InputError(f"{shorten(word)}: a slot is set by its head; {near}head=NAME and --help")
    if name in (*COMMON, *knobs, "head", "experiment") and key != name:
        raise InputError(f"{shorten(word)}: {name} has no keys; did you mean {name}={value}?")
    if word.startswith("+") and key in GROUPS:
        raise InputError(
            f"{shorten(word)}: {key} is in the config already; did you mean {key}={value}?"
        )
    return check_section_key(key, value)


def hint(key: str, value: str, name: str, roots: set[str], known: dict[str, set[str]]) -> str:
    """The nearest key, with the heads that have it where it is a knob, or all that are not knobs."""
    near = nearest_word(name, {*roots, *(knob for own in known.values() for knob in own)})
    if near is None:
        return f"allowed are {', '.join(sorted(roots))} and the knobs of the head"
    having = [head for head, own in known.items() if near in own and near not in roots]
    owners = f", a knob of head={', '.join(having)}" if having else ""
    return f"did you mean {key.replace(name, near, 1)}={value}{owners}?"


def check_hydra_group(key: str, value: str) -> None:
    """InputError for hydra/lancher=joblib. Which options a group has, Hydra knows."""
    group = key.removeprefix("hydra/").split("@")[0]
    if key.startswith("hydra/") and group not in HYDRA_GROUPS:
        raise InputError(no_such_key(key, value, HYDRA_GROUPS))


def check_section_key(key: str, value: str) -> None:
    """InputError for `trainer.epocs=3`: a key that no option of its section has, with the nearest one."""
    section, dot, name = key.partition(".")
    if section in SECTIONS and dot:
        known = {key for option in options(section) for key in conf_file(section, option)} - {
            "defaults",
            "_target_",
        }
        if name.split(".")[0] not in {*known, "_target_"}:
            raise InputError(no_such_key(key, value, known))
        if "." in name:
            raise InputError(f"{key}={shorten(value)}: {section}.{name.split('.')[0]} has no keys")


# ---------------------------------------------------------------- Hydra's grammar


def parsed(word: str) -> Any:
    """The override that Hydra makes of a word. InputError, with the word quoted, where its grammar cannot read it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_overrides([word])[0]
    except (HydraException, ValueError, RecursionError):
        key, _, value = word.partition("=")
        if key in GROUPS:
            check_option(key, value)
        advice = f"quote it: {quoted(key, value)}" if len(value) < 1000 else "it is too long"
        raise InputError(
            f"{shorten(word)}: the value cannot be read as it stands; {advice}"
        ) from None


def quoted(key: str, value: str) -> str:
    """The word as it is typed in a shell so that exactly this text arrives."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for word in (f"{key}={value}", *(f"{key}={within(value, quote)}" for quote in QUOTES)):
        try:
            override = parser.parse_overrides([word])[0]
        except (HydraException, ValueError):
            continue
        if not override.is_sweep_override() and override.value() == value:
            return shlex.quote(word)
    return shlex.quote(f"{key}={within(value, QUOTES[0])}")


def within(value: str, quote: str) -> str:
    """Between quotes; a quote inside, and backslashes before one, are escaped."""
    inside = re.sub(rf"(\\*)(?={quote}|$)", r"\1\1", value).replace(quote, f"\\{quote}")
    return f"{quote}{inside}{quote}"


def choices(override: Any) -> list:
    """The values that an override stands for."""
    from hydra.core.override_parser.types import Glob

    value = override.value()
    if isinstance(value, Glob):
        return value.filter(options(override.key_or_group))
    return list(override.sweep_string_iterator()) if override.is_sweep_override() else [value]


# ---------------------------------------------------------------- values


def check_twice(overrides: list) -> None:
    """InputError for a group that is given two options, as Hydra refuses it; of two values the last counts."""
    seen: dict[str, Any] = {}
    for override in overrides:
        if override.key_or_group not in GROUPS:
            continue
        first = seen.setdefault(override.key_or_group, override)
        if first.input_line.partition("=")[2] != override.input_line.partition("=")[2]:
            raise InputError(
                f"{first.input_line} {override.input_line}: {override.key_or_group} is given twice; give it once"
            )


def check_values(overrides: list, sweeps: bool) -> None:
    """InputError for several values where nothing sweeps, an option that is not there, and a bad common key."""
    for override in overrides:
        key, typed = override.key_or_group, override.input_line
        if override.is_sweep_override() and not sweeps:
            value = typed.partition("=")[2]
            text = "" if key in GROUPS else f"; one text is typed {quoted(key, value)}"
            raise InputError(f"{shorten(typed)}: several values make a sweep, which needs -m{text}")
        values = choices(override) if key in (*GROUPS, *COMMON) and not is_range(override) else []
        if key in GROUPS and not values:
            raise InputError(
                f"{shorten(typed)}: that is no {key}; allowed are {', '.join(options(key))}"
            )
        for value in values:
            if key in GROUPS:
                check_option(key, value)
            elif "${" not in str(value):
                check_root(key, unquoted(value) if override.is_sweep_override() else value)


def is_range(override: Any) -> bool:
    return override.is_range_sweep() or override.is_interval_sweep()


def unquoted(value: Any) -> Any:
    """A value of a sweep, which Hydra gives as the text of a word."""
    return parsed(f"value={value}").value() if isinstance(value, str) else value


def check_option(group: str, option: object) -> None:
    """InputError for an option that a group does not have, with the nearest one."""
    if group == "head":
        check_head(option)
    elif not (group == "experiment" and option is None) and option not in options(group):
        allowed = ", ".join(options(group))
        raise InputError(
            f"{group}={shorten(option)}: no such {group}; {did_you_mean(str(option), options(group))}allowed are {allowed}"
        )


def check_knob_words(overrides: list, known: dict[str, set[str]]) -> None:
    """InputError for a knob that an asked head does not have; an experiment without `head=` brings its own heads."""
    asked = [head for o in overrides if o.key_or_group == "head" for head in choices(o)]
    if not asked and any(
        o.key_or_group == "experiment" and o.value() is not None for o in overrides
    ):
        return
    for override in overrides:
        key, value = override.key_or_group, override.input_line.split("=", 1)[-1]
        lacking = [head for head in asked or ["plain"] if key not in known[head]]
        if lacking and any(key in own for own in known.values()):
            advice = "; sweep such heads apart" if len(asked) > 1 else ""
            raise InputError(unknown_knob(key, value, lacking[0]) + advice)


def check_files(overrides: list) -> None:
    """InputError for a chosen file that no config is, before Hydra reads it without bounds; heads have been read."""
    chosen = {
        key: [str(option)]
        for item in conf_file("", "train").get("defaults", [])
        for key, option in pairs(item)
    }
    chosen |= {o.key_or_group: choices(o) for o in overrides if o.key_or_group in GROUPS}
    for group in (*SECTIONS, "experiment"):
        for option in chosen.get(group, []):
            if (config.CONF / group / f"{option}.yaml").exists():
                for parent in parents_of(option, group):
                    conf_file(group, parent)


def pairs(item: Any) -> Iterable[tuple[str, object]]:
    return item.items() if isinstance(item, dict) else ()


def is_study(name: object) -> bool:
    """Whether an experiment file sweeps by itself."""
    if name not in options("experiment"):
        return False
    hydra = conf_file("experiment", str(name)).get("hydra")
    return isinstance(hydra, dict) and hydra.get("mode") == "MULTIRUN"
