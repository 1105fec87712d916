"""What the user typed, checked before Hydra works on it, so that a wrong word gets one sentence in that word.

Hydra refuses unknown heads and keys too, but its message for `tau=0.3` with a head that has no tau advises `+tau=0.3`.
"""

import itertools
import sys

from uncollapse.errors import InputError


def check_words(argv: list[str]) -> None:
    """InputError for an unknown head, a list of heads, or a knob that one of the asked heads does not have.

    Anything else, and whatever does not parse, is left to Hydra.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    words = [word for word in argv if "=" in word and not word.startswith("-")]
    try:
        overrides = OverridesParser.create().parse_overrides(words)
    except HydraException:
        return
    from uncollapse.config import check_head, heads, knobs_of, unknown_knob

    choices = [choice(o) for o in overrides if o.key_or_group == "head" and not o.is_delete()]
    experiment = any(o.key_or_group == "experiment" for o in overrides)
    asked = [check_head(head) for head in itertools.chain(*choices)]
    knobs = set().union(*(knobs_of(head) for head in heads()))
    for override in overrides:
        key = override.key_or_group
        if key not in knobs or override.is_delete() or (experiment and not asked):
            continue
        for head in asked or ["plain"]:
            if key not in knobs_of(head):
                advice = "; sweep such heads apart" if len(asked) > 1 else ""
                raise InputError(unknown_knob(key, raw(override), head) + advice)


def choice(override) -> list:
    """The values that a `head=` override stands for."""
    from hydra.core.override_parser.types import Glob

    value = override.value()
    if isinstance(value, Glob):
        from uncollapse.config import heads

        return value.filter(heads())
    if override.is_sweep_override():
        return [str(v) for v in override.sweep_string_iterator()]
    return [value]


def raw(override) -> str:
    """The value as it was typed."""
    return str(override.input_line).split("=", 1)[-1]


def explain(error: InputError) -> int:
    """Print the one sentence; the exit code for bad input."""
    print(f"error: {error}", file=sys.stderr)
    return 2
