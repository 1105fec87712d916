"""Paths of one machine, shortened in text that is shown or passed on to others: `…/name`."""

import re
import shlex
from typing import Any

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


def short(value: Any) -> Any:
    """Nested values with every absolute path shortened; what is short stays as it is."""
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [short(item) for item in value]
    return short_path(value) if isinstance(value, str) else value


def short_path(text: str) -> str:
    """A text that may be one path with spaces, or hold some."""
    return short_place(text) if "/" in text or "\\" in text else text


def short_place(text: str) -> str:
    """A text that is a place, be it a bare ~me."""
    return ending(text) if WHOLE.fullmatch(text) else without_paths(text)


def short_word(text: str) -> str:
    """`data.dir=/home/me/my data` as `data.dir=…/my data`."""
    key, sign, value = text.partition("=")
    return f"{key}={ending(value)}" if sign and WHOLE.fullmatch(value) else without_paths(text)


def short_command(text: str) -> str:
    """A command, each of its words shortened."""
    try:
        words = shlex.split(text)
    except ValueError:  # a quote without its end
        return without_paths(text)
    found = [short_word(word) for word in words]
    return text if found == words else " ".join(map(quoted, found))


def quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w@%+=:,./…-]+", word) else shlex.quote(word)


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
