"""The one exception that means: what the user asked for cannot be done, and here is why."""

import unicodedata
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path

MOST_NUMBER = (
    10**9
)  # of any number without a tighter bound: what lies beyond it overflows somewhere
MOST_SEED = 2**32 - 1
MOST_EXAMPLES = 10**7  # that are drawn, and not read from a file
MOST_SIZE = 10**6  # of a layer, and of what is drawn or kept at once
MOST_DEPTH = 1000  # of layers, or of steps within a step
JOINERS = "\u200c\u200d"  # spelling in several scripts, and parts of emoji


class InputError(ValueError):
    """Raised before any work starts; one sentence that names the user's word, its value and what is allowed.

    Control characters in it are escaped, so that it stays one line wherever it is printed.
    """

    def __init__(self, sentence: object):
        super().__init__(escape_unsafe(str(sentence)))


def check_number(
    name: str, value: object, low: float, high: float = float("inf"), *, closed: bool = False
) -> float:
    """`value` as a float inside (low, high), or [low, high] when `closed`; InputError names the knob otherwise.

    Without a `high` the most is MOST.
    """
    allowed = f"{low:g} <= {name} <= {high:g}" if closed else f"{low:g} < {name} < {high:g}"
    allowed = allowed.replace(f" <= {name} <= inf", f" <= {name}").replace(
        f" < {name} < inf", f" < {name}"
    )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name}={shorten(value)}: not a number; allowed is {allowed}")
    try:
        value = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        value = float("inf") if value > 0 else float("-inf")
    if MOST_NUMBER < value < float("inf") and high == float("inf"):
        raise InputError(f"{name}={value:g}: out of range; allowed is {allowed} <= {MOST_NUMBER:g}")
    inside = low <= value <= high if closed else low < value < high
    if not inside or value in (float("inf"), float("-inf")):
        raise InputError(f"{name}={value:g}: out of range; allowed is {allowed}")
    return value


def check_integer(name: str, value: object, low: int, high: int = MOST_NUMBER) -> int:
    """`value` as an int in [low, high], or InputError."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise InputError(f"{name}={shorten(value)}: allowed is a whole number of at least {low}")
    if int(value) > high:
        raise InputError(
            f"{name}={shorten(value)}: allowed is a whole number from {low} to {high:,}"
        )
    return int(value)


def check_choice(name: str, value: object, allowed: Iterable[str]) -> str:
    """`value` if it is one of the allowed words, or InputError with the nearest."""
    allowed = list(allowed)
    if value not in allowed:
        raise InputError(
            f"{name}={shorten(value)}: {did_you_mean(str(value), allowed)}allowed are {', '.join(allowed)}"
        )
    return str(value)


def expand_home(path: object) -> Path:
    """A path with ~ replaced by the home folder; InputError for ~somebody who is not there."""
    try:
        return Path(str(path)).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: nobody here has that home folder") from error


def nearest_word(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like `word`, if one is."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), 1)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean tau? ` with the nearest known word, or nothing."""
    near = nearest_word(word, known)
    return f"did you mean {near}? " if near else ""


def shorten(value: object) -> str:
    """A value as text for a message, which stays short whatever the value is."""
    try:
        text = str(value)
    except ValueError:  # a whole number of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:180]}... ({len(text):,} characters)"


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is not blank, or its type."""
    return next(
        (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
    )


def escape_unsafe(text: str) -> str:
    """The text with every unsafe character as its escape, such as \\n."""
    return "".join(
        char.encode("unicode_escape").decode() if is_unsafe(char) else char for char in text
    )


def is_unsafe(char: str) -> bool:
    """Whether a character can break out of a line or turn it round: controls, separators, marks of direction, half characters."""
    return char not in JOINERS and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
