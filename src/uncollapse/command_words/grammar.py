"""Words as Hydra's grammar reads them, and how to quote a value that it would read differently."""

import re
import shlex
from typing import TYPE_CHECKING

from uncollapse.command_words.keys import GROUPS, check_option
from uncollapse.config import options
from uncollapse.errors import InputError, shorten

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

QUOTES = ('"', "'")
MAX_QUOTED = 1000  # characters of a value that a message repeats in quotes


def parse_word(word: str) -> "Override":
    """The override that Hydra makes of a word.

    InputError where its grammar cannot read the value, with the word in quotes.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_overrides([word])[0]
    except (HydraException, ValueError, RecursionError):
        key, _, value = word.partition("=")
        if key in GROUPS:
            check_option(key, value)
        too_long = len(value) >= MAX_QUOTED
        advice = "it is too long" if too_long else f"quote it: {quote_override(key, value)}"
        raise InputError(
            f"{shorten(word)}: the value cannot be read as it stands; {advice}"
        ) from None


def quote_override(key: str, value: str) -> str:
    """KEY=VALUE quoted for the shell and for Hydra, which then reads exactly this value."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    # the plainest form that Hydra reads back as the same text
    parser = OverridesParser.create()
    for word in (f"{key}={value}", *(f"{key}={enclose(value, quote)}" for quote in QUOTES)):
        try:
            override = parser.parse_overrides([word])[0]
        except (HydraException, ValueError):
            continue
        if not override.is_sweep_override() and override.value() == value:
            return shlex.quote(word)
    return shlex.quote(f"{key}={enclose(value, QUOTES[0])}")


def enclose(value: str, quote: str) -> str:
    """The value in quotes; quotes inside it, and backslashes before a quote, are escaped."""
    # only backslashes directly before a quote or before the end need doubling
    inside = re.sub(rf"(\\*)(?={quote}|$)", r"\1\1", value).replace(quote, f"\\{quote}")
    return f"{quote}{inside}{quote}"


def list_values(override: "Override") -> list[object]:
    """The values that an override stands for: one, or those of its sweep."""
    from hydra.core.override_parser.types import Glob

    # a glob such as head=bn_* is expanded here, as Hydra would do it later
    value = override.value()
    if isinstance(value, Glob):
        return list(value.filter(options(override.key_or_group)))
    return list(override.sweep_string_iterator()) if override.is_sweep_override() else [value]


def is_range(override: "Override") -> bool:
    return override.is_range_sweep() or override.is_interval_sweep()


def parse_swept_value(value: object) -> object:
    """A value of a sweep, which Hydra passes on as the text of a word."""
    return parse_word(f"value={value}").value() if isinstance(value, str) else value
