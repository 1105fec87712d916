"""Numbers for the scripts of the page: short, and null where JSON has no number."""

import math

NUMBER_DIGITS = 7  # significant ones, of numbers to draw, sort and subtract
CURVE_DIGITS = 4  # of numbers only to draw


def round_number(value: float, digits: int = NUMBER_DIGITS) -> float | None:
    """The number with that many significant digits; None if it is not finite."""
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    # 3 is shorter than 3.0
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
