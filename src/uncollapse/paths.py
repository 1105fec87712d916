"""Shortens absolute paths to `…/name` in text that is shown or passed on to others.

A path reveals who made a run and on which machine; only its last name is kept.
"""

import re
import shlex

from uncollapse.json_types import Json

HOME_PARENTS = ("home", "homes", "users", "documents and settings")  # of people's folders
ADDRESS_SCHEMES = ("http", "https", "hf", "s3", "gs")  # public addresses, not paths on a disk

# C:\, \\server, \\?\C:\, ~user/ or /
PATH_ROOT = r"(?:(?:\\{2,}[?.]\\+)?[A-Za-z]:[\\/]+|\\{2,}(?=\w)|~[\w.-]*[\\/]+|/+(?=[^\s/]))"
NOT_AFTER = r"(?<![\w./\\~$%…)\]}<-])"  # no path begins within 1/2, ../x, (nats)/step or </b>
# the name of a person's folder may contain a space
PERSON_FOLDER = r"(?:(?i:home|users|documents and settings)[\\/]+[^\\/\n'\"`:,;]+(?=[\\/]))?"
PATH_REST = r"""[^\s'"`<>|,;:()\[\]{}]*"""
URL = r"""\b(?P<scheme>[a-zA-Z][\w+.-]+):(?P<slashes>//+)(?P<place>[^\s'"`<>]*)"""
GLUED_PATH = r"/(?i:home|users)/[^\s/'\"`]+"  # directly after a word: "cannot read/home/me"
EMBEDDED_PATH = re.compile(
    rf"{URL}|(?:{NOT_AFTER}{PATH_ROOT}{PERSON_FOLDER}|{GLUED_PATH}){PATH_REST}"
)
QUOTED_PATH = re.compile(rf"""(?<=(['"`]))([\w.+\[\]-]*=)?({PATH_ROOT}[^'"`\n]*)(?=\1)""")
ABSOLUTE_PATH = re.compile(rf"{PATH_ROOT}.*|~[\w.-]*|/", re.DOTALL)
# a path in the name of a run's folder, where /home/me/ptb is written -home-me-ptb
FLATTENED_PATH = re.compile(r"=-[^\W\d][\w.+-]*?(?=-[0-9a-f]{8}(?:/|$)|,|/|$)")


def shorten_paths(value: Json) -> Json:
    """Nested values with every absolute path shortened; shortening twice changes nothing."""
    if isinstance(value, dict):
        return {key: shorten_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shorten_paths(item) for item in value]
    return shorten_text(value) if isinstance(value, str) else value


def shorten_text(text: str) -> str:
    """Shorten a text that is one path, possibly with spaces, or that contains paths."""
    return shorten_place(text) if "/" in text or "\\" in text else text


def shorten_place(text: str) -> str:
    """Shorten a text that is known to be a location, so that even a bare `~me` is a path."""
    return keep_last_name(text) if ABSOLUTE_PATH.fullmatch(text) else shorten_embedded_paths(text)


def shorten_word(text: str) -> str:
    """`data.dir=/home/me/my data` as `data.dir=…/my data`."""
    key, sign, value = text.partition("=")
    if sign and ABSOLUTE_PATH.fullmatch(value):
        return f"{key}={keep_last_name(value)}"
    return shorten_embedded_paths(text)


def shorten_command(text: str) -> str:
    """A command line with each of its words shortened."""
    try:
        words = shlex.split(text)
    except ValueError:  # an opening quote without its end
        return shorten_embedded_paths(text)
    shortened = [shorten_word(word) for word in words]
    return text if shortened == words else " ".join(map(quote_word, shortened))


def quote_word(word: str) -> str:
    """shlex.quote, except that a shortened path needs no quotes."""
    return word if re.fullmatch(r"[\w@%+=:,./…-]+", word) else shlex.quote(word)


def shorten_embedded_paths(text: str) -> str:
    """`…/name` for each absolute path (POSIX, Windows, network, ~) and each file: address."""
    # most texts have no path, and regular expressions are slow
    if "/" not in text and "\\" not in text:
        return text
    # quoted paths first, as they may contain spaces
    text = QUOTED_PATH.sub(lambda match: (match[2] or "") + keep_last_name(match[3]), text)
    return EMBEDDED_PATH.sub(
        lambda match: shorten_address(match) if match["scheme"] else keep_last_name(match[0]), text
    )


def shorten_address(match: re.Match[str]) -> str:
    """A public address without its login; any other address is a path on some machine."""
    # file:, smb: and others name a location on a machine
    if match["scheme"].lower() not in ADDRESS_SCHEMES:
        return keep_last_name("/" + match["place"])
    host, slash, rest = match["place"].partition("/")
    # a login such as user:password@ is removed
    return f"{match['scheme']}:{match['slashes']}{host.rpartition('@')[2]}{slash}{rest}"


def keep_last_name(path: str) -> str:
    """`…/name` of a path; `…` alone for a home folder and for a path without a name."""
    # empty names, drives, ~user and . are not the name of anything
    root = re.compile(r"~.*|[A-Za-z]:|[?.]|")
    names = [name for name in re.split(r"[\\/]+", path) if not root.fullmatch(name)]
    # the last name of /home/me is the user's
    is_home = len(names) > 1 and names[-2].lower() in HOME_PARENTS
    return "…" if not names or is_home or names == ["root"] else f"…/{names[-1]}"
