"""InputError, raised when a request cannot be carried out, and checks of single values."""

import unicodedata
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path

# for numbers without a tighter bound; larger ones overflow somewhere in training
MAX_NUMBER = 10**9
MAX_SEED = 2**32 - 1
MAX_EXAMPLES = 10**7  # in a generated data set
MAX_SIZE = 10**6  # units of a layer, or items that are in memory at once
MAX_DEPTH = 1000  # layers, or inner steps per training step
JOINERS = "\u200c\u200d"  # needed in the spelling of several scripts and inside emoji


class InputError(ValueError):
    """One sentence that names the option, its value and the allowed values.

    Raised before any work starts. Control characters are escaped, so the message stays on one line.
    """

    def __init__(self, sentence: object):
        super().__init__(escape_unsafe(str(sentence)))


class BusyError(InputError):
    """Raised where another process is working on the same run, study or report."""


def check_number(
    name: str, value: object, low: float, high: float = float("inf"), *, closed: bool = False
) -> float:
    """`value` as a float in (low, high), or in [low, high] when `closed`; else InputError.

    Without `high`, values up to MAX_NUMBER are allowed.
    """
    allowed = f"{low:g} <= {name} <= {high:g}" if closed else f"{low:g} < {name} < {high:g}"
    # without a bound: "0 < tau", not "0 < tau < inf"
    allowed = allowed.replace(f" <= {name} <= inf", f" <= {name}").replace(
        f" < {name} < inf", f" < {name}"
    )
    if isinstance(value, bool) or not isinstance(value, int | float):  # True is an int in Python
        raise InputError(f"{name}={shorten(value)}: not a number; allowed is {allowed}")
    try:
        value = float(value)
    except OverflowError:  # an integer of more than 308 digits
        value = float("inf") if value > 0 else float("-inf")
    # without an explicit bound, infinity is named as such, and other large values by their limit
    if MAX_NUMBER < value < float("inf") and high == float("inf"):
        raise InputError(f"{name}={value:g}: out of range; allowed is {allowed} <= {MAX_NUMBER:g}")
    # comparisons with NaN are false, so it is refused as well
    inside = low <= value <= high if closed else low < value < high
    if not inside or value in (float("inf"), float("-inf")):
        raise InputError(f"{name}={value:g}: out of range; allowed is {allowed}")
    return value


def check_integer(name: str, value: object, low: int, high: int = MAX_NUMBER) -> int:
    """`value` as an int in [low, high], or InputError."""
    # Integral, so that numpy's integers are accepted as well
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise InputError(f"{name}={shorten(value)}: allowed is an integer of at least {low}")
    if int(value) > high:
        raise InputError(f"{name}={shorten(value)}: allowed is an integer from {low} to {high:,}")
    return int(value)


def check_choice(name: str, value: object, allowed: Iterable[str]) -> str:
    """`value` if it is one of the allowed words; else InputError, with the nearest one."""
    allowed = list(allowed)
    if value not in allowed:
        hint = did_you_mean(str(value), allowed)
        raise InputError(f"{name}={shorten(value)}: {hint}allowed are {', '.join(allowed)}")
    return str(value)


def expand_home(path: object) -> Path:
    """The path with `~` or `~user` replaced by a home folder; InputError for an unknown user."""
    try:
        return Path(str(path)).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: this machine has no such home folder") from error


def nearest_word(word: str, known: Iterable[str]) -> str | None:
    """The known word most similar to `word`; None if none is similar."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), 1)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean tau? ` for the nearest known word, or an empty string."""
    near = nearest_word(word, known)
    return f"did you mean {near}? " if near else ""


def shorten(value: object) -> str:
    """A value as text for a message; a long text is cut."""
    try:
        text = str(value)
    except ValueError:  # an integer of more digits than Python prints
        return "an integer of thousands of digits"
    return text if len(text) <= 200 else f"{text[:180]}... ({len(text):,} characters)"


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not blank, or the name of its type."""
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )


def escape_unsafe(text: str) -> str:
    """The text with every unsafe character written as its escape, such as \\n."""
    return "".join(
        char.encode("unicode_escape").decode() if is_unsafe(char) else char for char in text
    )


def is_unsafe(char: str) -> bool:
    """Whether a character can break a line or reverse its direction on a terminal."""
    # controls, format marks, surrogates, line and paragraph separators
    unsafe = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return char not in JOINERS and unicodedata.category(char) in unsafe
