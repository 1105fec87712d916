"""Text from elsewhere, cleaned for a page, table or figure.

Nothing in it is executed, nothing is invisible, and no path shows where files are on a disk.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from uncollapse.errors import JOINERS
from uncollapse.paths import FLAT, short_command, short_word, without_paths

MOST_TEXT = 300  # characters of a name or label
COLOUR = re.compile("\x1b\\[[0-9;]*[A-Za-z]")  # colours of a terminal


def clean_text(text: object, most: int = MOST_TEXT) -> str:
    """Any text as one line for a page, table or figure, without invisible characters or paths."""
    line = escape_invisible(without_paths(COLOUR.sub("", str(text)[: 4 * most])))
    return line if len(line) <= most else line[: most - 1] + "…"


def clean_override(text: str, most: int = MOST_TEXT) -> str:
    """`data.dir=/home/me/my data` as `data.dir=…/my data`: a value may be one path with spaces."""
    return clean_text(short_word(text), most)


def clean_command(text: str, most: int = 20 * MOST_TEXT) -> str:
    """A command, each word as an override."""
    return clean_text(short_command(text[: 4 * most]), most)


def clean_folder(text: str) -> str:
    """A run folder's name, in which `/home/me/ptb` is written `-home-me-ptb`."""
    return clean_text(FLAT.sub("=…", text))


# ---- characters ----------------------------------------------------------------------------------


def escape_invisible(text: str) -> str:
    """Control characters, line breaks, marks of direction and lone surrogates as escapes (\\n)."""
    return text if text.isprintable() else "".join(map(escape_character, text))


def escape_character(character: str) -> str:
    code = ord(character)
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:  # no XML or SVG may hold these
        return f"\\u{code:04x}"
    kept = character.isprintable() or character in JOINERS
    # Zs: spaces; Cn: emoji newer than this Python; Co: signs of private fonts
    if kept or unicodedata.category(character) in ("Zs", "Cn", "Co"):
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()


# ---- names ---------------------------------------------------------------------------------------


def clean_keys(named: Mapping[Any, Any]) -> dict[str, Any]:
    """The same values under cleaned names."""
    return dict(zip(number_repeats(map(clean_text, named)), named.values(), strict=True))


def number_repeats(texts: Iterable[str]) -> list[str]:
    """Texts with a number behind each that is a repeat: what differs must look different."""
    seen: dict[str, int] = {}
    numbered = []
    for text in texts:
        seen[text] = seen.get(text, 0) + 1
        numbered.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return numbered
