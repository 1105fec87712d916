"""Text that others wrote, made fit to be shown.

Nothing in it acts, hides itself, or says where on a disk things lie.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from uncollapse.errors import JOINERS
from uncollapse.paths import FLATTENED_PATH, shorten_command, shorten_word, shorten_embedded_paths

MOST = 300  # characters of a name or label
COLOUR = re.compile("\x1b\\[[0-9;]*[A-Za-z]")  # what terminals take as a colour


def shown(text: object, most: int = MOST) -> str:
    """Any text as a page, table or figure may show it: one visible line, no paths of a disk."""
    line = visible(shorten_embedded_paths(COLOUR.sub("", str(text)[: 4 * most])))
    return line if len(line) <= most else line[: most - 1] + "…"


def shown_override(text: str, most: int = MOST) -> str:
    """`data.dir=/home/me/my data` as `data.dir=…/my data`: a value may be one path with spaces."""
    return shown(shorten_word(text), most)


def shown_command(text: str, most: int = 20 * MOST) -> str:
    """A command, each of its words as an override is shown."""
    return shown(shorten_command(text[: 4 * most]), most)


def shown_folder(text: str) -> str:
    """A run folder's name, in which `/home/me/ptb` is written `-home-me-ptb`."""
    return shown(FLATTENED_PATH.sub("=…", text))


# ---- characters ----------------------------------------------------------------------------------


def visible(text: str) -> str:
    """Control characters, line breaks, marks of direction and lone surrogates as escapes (\\n)."""
    return text if text.isprintable() else "".join(map(visible_character, text))


def visible_character(character: str) -> str:
    code = ord(character)
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:  # no XML or SVG may hold these
        return f"\\u{code:04x}"
    kept = character.isprintable() or character in JOINERS
    # Zs: spaces; Cn: emoji newer than this Python; Co: signs of private fonts
    if kept or unicodedata.category(character) in ("Zs", "Cn", "Co"):
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()


# ---- names ---------------------------------------------------------------------------------------


def shown_keys(named: Mapping[Any, Any]) -> dict[str, Any]:
    """The same values under names that may be shown."""
    return dict(zip(distinct(map(shown, named)), named.values(), strict=True))


def distinct(texts: Iterable[str]) -> list[str]:
    """A number behind each text that was there before: what differs must not look like one."""
    seen: dict[str, int] = {}
    found = []
    for text in texts:
        seen[text] = seen.get(text, 0) + 1
        found.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return found
