"""Text that others wrote, made fit to be shown.

Nothing in it acts, hides itself, or says where on a disk things lie.
"""

import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from uncollapse.errors import JOINERS

MOST = 300  # characters of a name or label
HOMES = ("home", "homes", "users", "documents and settings")  # they hold names of people
KEPT = ("http", "https", "hf", "s3", "gs")  # schemes of addresses that are no paths of a disk

ROOT = r"(?:(?:\\{2,}[?.]\\+)?[A-Za-z]:[\\/]+|\\{2,}(?=\w)|~[\w.-]*[\\/]+|/+(?=[^\s/]))"
NOT_AFTER = r"(?<![\w./\\~$%…)\]}<-])"  # no paths: 1/2, ../x, (nats)/step, </b>
# the name of a person's folder may hold a space
PERSON = r"(?:(?i:home|users|documents and settings)[\\/]+[^\\/\n'\"`:,;]+(?=[\\/]))?"
REST = r"""[^\s'"`<>|,;:()\[\]{}]*"""
URL = r"""\b(?P<scheme>[a-zA-Z][\w+.-]+):(?P<slashes>//+)(?P<place>[^\s'"`<>]*)"""
INSIDE = r"/(?i:home|users)/[^\s/'\"`]+"  # said right after a word: "cannot read/home/me"
PATH = re.compile(rf"{URL}|(?:{NOT_AFTER}{ROOT}{PERSON}|{INSIDE}){REST}")
QUOTED = re.compile(rf"""(?<=(['"`]))([\w.+\[\]-]*=)?({ROOT}[^'"`\n]*)(?=\1)""")
WHOLE = re.compile(rf"{ROOT}.*|~[\w.-]*|/", re.DOTALL)
# a path in a run folder's name, where it is written -home-me-ptb
FLAT = re.compile(r"=-[^\W\d][\w.+-]*?(?=-[0-9a-f]{8}(?:/|$)|,|/|$)")
COLOUR = re.compile("\x1b\\[[0-9;]*[A-Za-z]")  # what terminals take as a colour


def shown(text: object, most: int = MOST) -> str:
    """Any text as a page, table or figure may show it: one visible line, no paths of a disk."""
    line = visible(without_paths(COLOUR.sub("", str(text)[: 4 * most])))
    return line if len(line) <= most else line[: most - 1] + "…"


def shown_override(text: str, most: int = MOST) -> str:
    """`data.dir=/home/me/my data` as `data.dir=…/my data`: a value may be one path with spaces."""
    key, sign, value = text.partition("=")
    return shown(f"{key}={ending(value)}" if sign and WHOLE.fullmatch(value) else text, most)


def shown_command(text: str, most: int = 20 * MOST) -> str:
    """A command, each of its words as an override is shown."""
    text = text[: 4 * most]
    try:
        words = shlex.split(text)
    except ValueError:  # a quote without its end
        return shown(text, most)
    found = [shown_override(word, most) for word in words]
    return shown(text if found == words else " ".join(map(quoted, found)), most)


def shown_folder(text: str) -> str:
    """A run folder's name, in which `/home/me/ptb` is written `-home-me-ptb`."""
    return shown(FLAT.sub("=…", text))


def quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w@%+=:,./…-]+", word) else shlex.quote(word)


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


# ---- paths ---------------------------------------------------------------------------------------


def without_paths(text: str) -> str:
    """`…/name` for each absolute path (POSIX, Windows, network, ~) and each file: address."""
    if "/" not in text and "\\" not in text:
        return text
    text = QUOTED.sub(lambda found: (found[2] or "") + ending(found[3]), text)
    return PATH.sub(lambda found: address(found) if found["scheme"] else ending(found[0]), text)


def address(found: re.Match) -> str:
    """A public address, without who logs in; any other is a path on some machine."""
    if found["scheme"].lower() not in KEPT:
        return ending("/" + found["place"])
    host, slash, rest = found["place"].partition("/")
    return f"{found['scheme']}:{found['slashes']}{host.rpartition('@')[2]}{slash}{rest}"


def ending(path: str) -> str:
    """`…/name` of a path; `…` alone for a person's folder and where there is no name."""
    root = re.compile(r"~.*|[A-Za-z]:|[?.]|")
    parts = [part for part in re.split(r"[\\/]+", path) if not root.fullmatch(part)]
    in_home = len(parts) > 1 and parts[-2].lower() in HOMES
    return "…" if not parts or in_home or parts == ["root"] else f"…/{parts[-1]}"


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
