"""Describe an error that the user's own code raised, with the file and the line at fault."""

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from uncollapse.errors import first_line

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
STANDARD = sysconfig.get_path("stdlib") + os.sep
INSTALLED = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


def describe_raised(error: BaseException) -> str:
    """'ZeroDivisionError: division by zero, in mine/half.py line 3'; without a place if unknown."""
    reason, place = first_line(error), find_place(error)
    if isinstance(error, SyntaxError) and error.filename:
        # the file that cannot be parsed is in no frame
        reason, place = error.msg, (error.filename, error.lineno or 0)
    text = f"{type(error).__name__}: {reason}" if reason != type(error).__name__ else reason
    return f"{text}, in {shorten_path(place[0])} line {place[1]}" if place else text


def find_place(error: BaseException) -> tuple[str, int] | None:
    """File and line in the user's code: the innermost one that is not of an installed package.

    If the user's own package is installed, the one where it calls others.
    """
    places = [place for place in list_places(error) if not is_of_python(place[0])]
    own = [place for place in places if not place[0].startswith(INSTALLED)]
    return own[-1] if own else next(iter(places), None)


def list_places(error: BaseException) -> Iterator[tuple[str, int]]:
    """File and line of each frame that the error passed, from the outermost one inwards."""
    frame = error.__traceback__
    while frame:
        yield frame.tb_frame.f_code.co_filename, frame.tb_lineno
        frame = frame.tb_next


def is_of_python(file: str) -> bool:
    """Whether a file belongs to this package or to Python itself."""
    standard = file.startswith(STANDARD) and not file.startswith(INSTALLED)
    # <frozen importlib._bootstrap>
    return file.startswith(("<", PACKAGE)) or standard


def shorten_path(file: str) -> str:
    """The path relative to the current folder, if it is in it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
