"""The one exception that means: what the user asked for cannot be done, and here is why."""

from numbers import Integral


class InputError(ValueError):
    """Raised before any work starts; the message is one sentence that names the user's word, its value and what is allowed."""


def number(name: str, value: object, low: float, high: float = float("inf"), *, closed: bool = False) -> float:
    """`value` as a float inside (low, high), or [low, high] when `closed`; InputError names the knob otherwise."""
    allowed = f"{low:g} <= {name} <= {high:g}" if closed else f"{low:g} < {name} < {high:g}"
    allowed = allowed.replace(f" <= {name} <= inf", f" <= {name}").replace(f" < {name} < inf", f" < {name}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name}={value}: not a number; allowed is {allowed}")
    try:
        value = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        value = float("inf") if value > 0 else float("-inf")
    inside = low <= value <= high if closed else low < value < high
    if not inside or value in (float("inf"), float("-inf")):
        raise InputError(f"{name}={value:g}: out of range; allowed is {allowed}")
    return value


def whole(name: str, value: object, low: int) -> int:
    """`value` as an int >= low, or InputError."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise InputError(f"{name}={value}: allowed is a whole number of at least {low}")
    return int(value)
