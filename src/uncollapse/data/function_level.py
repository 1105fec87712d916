"""Tokens made by a function of the user's own packages, and written as text by another.

Only a function with the stated types is called: a config that someone sends may name any function
of a package that the user has named, and most functions are not meant to get a sentence.
"""

import importlib
import inspect
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from uncollapse.data.corpus import Corpus
from uncollapse.data.digests import file_digest
from uncollapse.data.levels import Words, escape_controls
from uncollapse.data.sentence_sizes import join_arrow_words
from uncollapse.errors import InputError, first_line, shorten
from uncollapse.json_types import Json
from uncollapse.plugins import plugin_names
from uncollapse.raised import describe_raised

if TYPE_CHECKING:
    import pyarrow as pa

Tokenise = Callable[[str], list[str]]
Join = Callable[[list[str]], str]


@dataclass(frozen=True)
class FunctionTokens(Words):
    """What a function makes of a sentence, whose words have one space between them.

    tokenise: `module.function`. join: a function that writes tokens as text (None: spaces between).
    """

    name: ClassVar[str] = "function"
    unit: ClassVar[str] = "tokens"
    splits_words: ClassVar[bool] = True
    has_own_code: ClassVar[bool] = True
    called: str
    tokenise: Tokenise
    join: Join | None = None
    # one call at a time, since a function need not be safe to call from several threads
    lock: Any = field(default_factory=Lock, compare=False, repr=False)

    @classmethod
    def find(cls, tokenise: str, join: str | None) -> "FunctionTokens":
        """InputError for a function that is missing, not allowed, or has other types."""
        found = find_function("data.tokenizer", tokenise, str, list[str])
        joining = None if join is None else find_function("data.join", join, list[str], str)
        return cls(tokenise, found, joining)

    def describe(self) -> Json:
        """The name of the function, and a digest of its module."""
        source = inspect.getsourcefile(self.tokenise)
        return [self.called, None if source is None else file_digest(Path(source))]

    def split(self, words: "pa.Array", offsets: np.ndarray) -> tuple["pa.Array", np.ndarray]:
        import pyarrow as pa

        with self.lock:
            found = [self.tokens_of(text) for text in join_arrow_words(words, offsets).to_pylist()]
        units = pa.array(chain.from_iterable(found), pa.large_string())
        return units, np.cumsum([0, *map(len, found)], dtype=np.int64)

    def tokens_of(self, text: str) -> list[str]:
        """The tokens of a sentence. InputError where the function fails or returns others."""
        given = f"data.tokenizer={self.called}: for {shorten(text)!r}"
        if not text:  # skipped and counted, as at every level
            return []
        try:
            tokens = self.tokenise(text)
        # whatever the user's own code raises
        except Exception as error:
            raise InputError(f"{given} it raised {describe_raised(error)}") from error
        if not isinstance(tokens, list):
            kind = type(tokens).__name__
            raise InputError(
                f"{given} it returned {shorten(repr(tokens))}, a {kind}; needed is a list of "
                "non-empty strings"
            )
        for token in tokens:
            if not isinstance(token, str) or not token or not is_unicode(token):
                raise InputError(
                    f"{given} it returned {shorten(repr(token))} in its list; needed are non-empty "
                    "strings"
                )
        return tokens

    def texts(self, corpus: Corpus, vocabulary: Sequence[str]) -> list[str]:
        """Each sentence on one line. InputError where `join` fails or returns no text."""
        tokens = [vocabulary[i] for i in np.asarray(corpus.tokens)]
        return [escape_controls(self.text_of(tokens[a:b])) for a, b in pairwise(corpus.offsets)]

    def text_of(self, tokens: list[str]) -> str:
        if self.join is None:
            return " ".join(tokens)
        given = f"data.join: for {shorten(repr(tokens))}"
        try:
            text = self.join(tokens)
        except Exception as error:
            raise InputError(f"{given} it raised {describe_raised(error)}") from error
        if not isinstance(text, str):
            raise InputError(f"{given} it returned {shorten(repr(text))}; needed is a string")
        return text


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded; half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---------------------------------------------------------------- finding a function


def find_function(key: str, name: str, takes: object, gives: object) -> Callable[..., Any]:
    """The function that a key names, of one of the user's packages.

    InputError unless it takes and returns values of these types, according to its annotations.
    """
    given, (module, _, last) = f"{key}={shorten(name)}", name.rpartition(".")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        raise InputError(f"{given}: allowed is the name of a function, package.module.function")
    if not any(f"{module}.".startswith(f"{package}.") for package in plugin_names()):
        named = f"; named are {', '.join(plugin_names())}" if plugin_names() else ""
        raise InputError(
            f"{given}: only functions of packages that you name are called{named}; "
            "name one with plugins=PACKAGE, or --plugins"
        )
    try:
        defined = vars(importlib.import_module(module))
    # whatever the code of a plugin raises
    except Exception as error:
        reason = describe_raised(error)
        raise InputError(f"{given}: its module cannot be imported ({reason})") from error
    found = defined.get(last)
    # as for classes, one that the module only imports has another name
    if not inspect.isfunction(found) or found.__module__ != module:
        what = "no such function" if found is None else "not a function that this module defines"
        names = [
            key
            for key, value in defined.items()
            if inspect.isfunction(value) and value.__module__ == module
        ]
        raise InputError(f"{given}: {what}; {module} defines {', '.join(names) or 'none'}")
    require_types(found, given, takes, gives)
    return found


def require_types(found: Callable[..., Any], given: str, takes: object, gives: object) -> None:
    """InputError unless a function has one parameter and the stated annotations."""
    parameters = inspect.signature(found).parameters.values()
    try:
        hints = typing.get_type_hints(found)
    except Exception as error:
        raise InputError(f"{given}: its types cannot be read ({first_line(error)})") from error
    needed = [p for p in parameters if p.default is p.empty]
    if (
        len(needed) != 1
        or needed[0].kind is not needed[0].POSITIONAL_OR_KEYWORD
        or hints.get(needed[0].name) != takes
        or hints.get("return") != gives
    ):
        raise InputError(
            f"{given}: it is declared as {found.__name__}{inspect.signature(found)}; needed are "
            f"the types ({name_type(takes)}) -> {name_type(gives)}"
        )


def name_type(kind: object) -> str:
    return kind.__name__ if kind is str else str(kind)
