"""Text that others wrote, made fit to be shown: nothing in it acts, hides itself, or says where on a disk things lie."""

import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

MOST = 300  # characters of a name or label
JOINERS = "\u200c\u200d"  # parts of words and of emoji, and harmless
HOMES = ("home", "homes", "users", "documents and settings")  # what lies in them is named after people
KEPT = ("http", "https", "hf", "s3", "gs")  # schemes of addresses that are no paths of a disk

ROOT = r"(?:(?:\\{2,}[?.]\\+)?[A-Za-z]:[\\/]+|\\{2,}(?=\w)|~[\w.-]*[\\/]+|/+(?=[^\s/]))"
NOT_AFTER = r"(?<![\w./\\~$%…)\]}<-])"  # what a path does not follow: 1/2, ../x, (nats)/step, </b>
PERSON = r"(?:(?i:home|users|documents and settings)[\\/]+[^\\/\n'\"`:,;]+(?=[\\/]))?"  # a name may hold a space
REST = r"""[^\s'"`<>|,;:()\[\]{}]*"""
URL = r"""\b(?P<scheme>[a-zA-Z][\w+.-]+):(?P<slashes>//+)(?P<place>[^\s'"`<>]*)"""
INSIDE = r"/(?i:home|users)/[^\s/'\"`]+"  # said right after a word: "cannot read/home/me"
PATH = re.compile(rf"{URL}|(?:{NOT_AFTER}{ROOT}{PERSON}|{INSIDE}){REST}")
QUOTED = re.compile(rf"""(?<=(['"`]))([\w.+\[\]-]*=)?({ROOT}[^'"`\n]*)(?=\1)""")
WHOLE = re.compile(rf"{ROOT}.*|~[\w.-]*|/", re.DOTALL)
FLAT = re.compile(r"=-[^\W\d][\w.+-]*?(?=-[0-9a-f]{8}(?:/|$)|,|/|$)")  # a path as part of a run folder's name
COLOUR = re.compile("\x1b\\[[0-9;]*[A-Za-z]")  # what terminals take as a colour


def shown(text: object, most: int = MOST) -> str:
    """Any text as a page, a table or a figure may show it: in one visible line, no paths of a disk, not endless."""
    line = visible(without_paths(COLOUR.sub("", str(text)[: 4 * most])))
    return line if len(line) <= most else line[: most - 1] + "…"


def shown_override(text: str, most: int = MOST) -> str:
    """`data.dir=/home/me/my data` as `data.dir=…/my data`: what stands behind the sign may be a path as a whole."""
    key, sign, value = text.partition("=")
    return shown(f"{key}={ending(value)}" if sign and WHOLE.fullmatch(value) else text, most)


def shown_command(text: str, most: int = 20 * MOST) -> str:
    """A command, each of its words as an override is shown."""
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


# ---- characters ------------------------------------------------------------------------------------------------------


def visible(text: str) -> str:
    """With every control character, line break, mark of direction and lone surrogate as an escape such as \\n or \\u202e."""
    return text if text.isprintable() else "".join(map(visible_character, text))


def visible_character(character: str) -> str:
    code = ord(character)
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:  # no characters, and no XML or SVG may hold them
        return f"\\u{code:04x}"
    kept = character.isprintable() or character in JOINERS
    if kept or unicodedata.category(character) in ("Zs", "Cn", "Co"):  # Cn: emoji newer than this Python
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()


# ---- paths -----------------------------------------------------------------------------------------------------------


def without_paths(text: str) -> str:
    """Text with `…/name` for each absolute path (POSIX, Windows, network, ~) and for each file: address."""
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
    """`…/name` of a path; `…` alone where the name is that of a person's folder, or there is none."""
    parts = [part for part in re.split(r"[\\/]+", path) if part and not re.fullmatch(r"~.*|[A-Za-z]:|[?.]", part)]
    in_home = len(parts) > 1 and parts[-2].lower() in HOMES
    return "…" if not parts or in_home or parts == ["root"] else f"…/{parts[-1]}"


# ---- names -----------------------------------------------------------------------------------------------------------


def shown_keys(named: Mapping[Any, Any]) -> dict[str, Any]:
    """The same values under names that may be shown."""
    return dict(zip(distinct(map(shown, named)), named.values(), strict=True))


def distinct(texts: Iterable[str]) -> list[str]:
    """The texts, with a number behind each that was there before: what differs must not look like one."""
    seen: dict[str, int] = {}
    found = []
    for text in texts:
        seen[text] = seen.get(text, 0) + 1
        found.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return found
