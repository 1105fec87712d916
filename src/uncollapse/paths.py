"""Paths of one machine, shortened in text that is shown or passed on to others: `…/name`."""

import re
import shlex
from typing import Any

HOME_PARENTS = ("home", "homes", "users", "documents and settings")  # they hold names of people
ADDRESS_SCHEMES = ("http", "https", "hf", "s3", "gs")  # schemes of addresses that are no paths of a disk

PATH_ROOT = r"(?:(?:\\{2,}[?.]\\+)?[A-Za-z]:[\\/]+|\\{2,}(?=\w)|~[\w.-]*[\\/]+|/+(?=[^\s/]))"
NOT_AFTER = r"(?<![\w./\\~$%…)\]}<-])"  # no paths: 1/2, ../x, (nats)/step, </b>
# the name of a person's folder may hold a space
PERSON_FOLDER = r"(?:(?i:home|users|documents and settings)[\\/]+[^\\/\n'\"`:,;]+(?=[\\/]))?"
PATH_REST = r"""[^\s'"`<>|,;:()\[\]{}]*"""
URL = r"""\b(?P<scheme>[a-zA-Z][\w+.-]+):(?P<slashes>//+)(?P<place>[^\s'"`<>]*)"""
GLUED_PATH = r"/(?i:home|users)/[^\s/'\"`]+"  # said right after a word: "cannot read/home/me"
EMBEDDED_PATH = re.compile(rf"{URL}|(?:{NOT_AFTER}{PATH_ROOT}{PERSON_FOLDER}|{GLUED_PATH}){PATH_REST}")
QUOTED_PATH = re.compile(rf"""(?<=(['"`]))([\w.+\[\]-]*=)?({PATH_ROOT}[^'"`\n]*)(?=\1)""")
ABSOLUTE_PATH = re.compile(rf"{PATH_ROOT}.*|~[\w.-]*|/", re.DOTALL)
# a path in a run folder's name, where it is written -home-me-ptb
FLATTENED_PATH = re.compile(r"=-[^\W\d][\w.+-]*?(?=-[0-9a-f]{8}(?:/|$)|,|/|$)")


def shorten_paths(value: Any) -> Any:
    """Nested values with every absolute path shortened; what is short stays as it is."""
    if isinstance(value, dict):
        return {key: shorten_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shorten_paths(item) for item in value]
    return shorten_text(value) if isinstance(value, str) else value


def shorten_text(text: str) -> str:
    """A text that may be one path with spaces, or hold some."""
    return shorten_place(text) if "/" in text or "\\" in text else text


def shorten_place(text: str) -> str:
    """A text that is a place, be it a bare ~me."""
    return keep_last_name(text) if ABSOLUTE_PATH.fullmatch(text) else shorten_embedded_paths(text)


def shorten_word(text: str) -> str:
    """`data.dir=/home/me/my data` as `data.dir=…/my data`."""
    key, sign, value = text.partition("=")
    return f"{key}={keep_last_name(value)}" if sign and ABSOLUTE_PATH.fullmatch(value) else shorten_embedded_paths(text)


def shorten_command(text: str) -> str:
    """A command, each of its words shortened."""
    try:
        words = shlex.split(text)
    except ValueError:  # a quote without its end
        return shorten_embedded_paths(text)
    found = [shorten_word(word) for word in words]
    return text if found == words else " ".join(map(quote_word, found))


def quote_word(word: str) -> str:
    return word if re.fullmatch(r"[\w@%+=:,./…-]+", word) else shlex.quote(word)


def shorten_embedded_paths(text: str) -> str:
    """`…/name` for each absolute path (POSIX, Windows, network, ~) and each file: address."""
    if "/" not in text and "\\" not in text:
        return text
    text = QUOTED_PATH.sub(lambda found: (found[2] or "") + keep_last_name(found[3]), text)
    return EMBEDDED_PATH.sub(lambda found: shorten_address(found) if found["scheme"] else keep_last_name(found[0]), text)


def shorten_address(found: re.Match) -> str:
    """A public address, without who logs in; any other is a path on some machine."""
    if found["scheme"].lower() not in ADDRESS_SCHEMES:
        return keep_last_name("/" + found["place"])
    host, slash, rest = found["place"].partition("/")
    return f"{found['scheme']}:{found['slashes']}{host.rpartition('@')[2]}{slash}{rest}"


def keep_last_name(path: str) -> str:
    """`…/name` of a path; `…` alone for a person's folder and where there is no name."""
    root = re.compile(r"~.*|[A-Za-z]:|[?.]|")
    parts = [part for part in re.split(r"[\\/]+", path) if not root.fullmatch(part)]
    in_home = len(parts) > 1 and parts[-2].lower() in HOME_PARENTS
    return "…" if not parts or in_home or parts == ["root"] else f"…/{parts[-1]}"
