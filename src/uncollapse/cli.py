"""What the user typed, checked and completed before Hydra works on it.

Hydra refuses unknown heads and keys too, but its message for `tau=0.3` with a head that has no tau advises `+tau=0.3`, and in a
sweep over heads it tries a lone `tau=0.3` on the default head first.
"""

import difflib
import sys
from typing import Any

from omegaconf import OmegaConf

from uncollapse.config import CONF, SECTIONS, check_head, heads, knobs_of, unknown_knob
from uncollapse.errors import InputError

MULTIRUN = ("-m", "--multirun")
OTHER_MODES = ("--cfg", "-c", "--info", "-i", "--run", "-r")  # Hydra takes one mode at a time


def understand_words(argv: list[str]) -> list[str]:
    """The words for Hydra. InputError for an unknown head, a list of heads, a knob that an asked head lacks, an unknown key.

    A study that sweeps (experiment=compare) gets `--multirun`, so that its grid can be narrowed with `seed=0,1`. Whatever does
    not parse is left to Hydra.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    places = [i for i, word in enumerate(argv) if "=" in word and not word.startswith("-")]
    try:
        overrides = dict(zip(places, OverridesParser.create().parse_overrides([argv[i] for i in places]), strict=True))
    except HydraException:
        return argv
    asked = [check_head(head) for o in overrides.values() if o.key_or_group == "head" for head in choices(o)]
    experiments = [o.value() for o in overrides.values() if o.key_or_group == "experiment"]
    knobs = set().union(*(knobs_of(head) for head in heads()))
    check_knob_words(list(overrides.values()), asked, bool(experiments), knobs)
    check_keys(list(overrides.values()))

    words = list(argv)
    sweeps = any(word in MULTIRUN for word in argv)
    shows = any(word.split("=")[0] in OTHER_MODES for word in argv)
    if not sweeps and not shows and any(is_study(name) for name in experiments):
        words.append("--multirun")
        sweeps = True
    if sweeps:
        for i, override in overrides.items():
            if override.key_or_group in knobs and not override.is_sweep_override() and not override.is_delete():
                words[i] = (
                    argv[i].replace("=", "=choice(", 1) + ")"
                )  # a sweep of one, which Hydra applies after the head
    return words


def choices(override: Any) -> list:
    """The values that a `head=` override stands for."""
    from hydra.core.override_parser.types import Glob

    value = override.value()
    if isinstance(value, Glob):
        return value.filter(heads())
    return list(override.sweep_string_iterator()) if override.is_sweep_override() else [value]


def check_knob_words(overrides: list, asked: list[str], experiment: bool, knobs: set[str]) -> None:
    """InputError for one of all `knobs` that an asked head does not have; an experiment without `head=` brings its own heads."""
    if experiment and not asked:
        return
    for override in overrides:
        key, value = override.key_or_group, str(override.input_line).split("=", 1)[-1]
        if key not in knobs or override.is_delete():
            continue
        lacking = [head for head in asked or ["plain"] if key not in knobs_of(head)]
        if lacking:
            advice = "; sweep such heads apart" if len(asked) > 1 else ""
            raise InputError(unknown_knob(key, value, lacking[0]) + advice)


def check_keys(overrides: list) -> None:
    """InputError for `trainer.epocs=3`: a key that no option of its section has, with the nearest one."""
    for override in overrides:
        section, _, key = override.key_or_group.partition(".")
        if section not in SECTIONS or not key:
            continue
        known = {str(k) for path in (CONF / section).glob("*.yaml") for k in OmegaConf.load(path)} - {
            "defaults",
            "_target_",
        }  # type: ignore[union-attr]
        if key not in known:
            near = [f"{section}.{word}" for word in difflib.get_close_matches(key, known, 1)]
            hint = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"{override.input_line}: no such key; {hint}{section} has {', '.join(sorted(known))}")


def is_study(name: object) -> bool:
    """Whether an experiment file sweeps by itself."""
    path = CONF / "experiment" / f"{name}.yaml"
    return path.exists() and OmegaConf.select(OmegaConf.load(path), "hydra.mode") == "MULTIRUN"


def explain(error: InputError) -> int:
    """Print the one sentence; the exit code for bad input."""
    print(f"error: {error}", file=sys.stderr)
    return 2
