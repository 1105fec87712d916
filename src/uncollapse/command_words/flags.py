"""Flags of the command line, and words that are not of the form KEY=VALUE."""

import re
from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import NoReturn

from uncollapse.command_words.grammar import quote_override
from uncollapse.command_words.keys import GROUPS
from uncollapse.config import SLOTS, TYPED, heads, knobs_of
from uncollapse.errors import InputError, is_unsafe, nearest_word, shorten


def split_flags(argv: list[str]) -> tuple[Namespace, list[str], list[str]]:
    """Hydra's parsed flags, the flags as typed, and the other words.

    InputError for an unknown flag and for control characters.
    """
    from hydra._internal.utils import get_args_parser

    # first of all: a line break would also break the messages about the word
    for word in argv:
        if any(map(is_unsafe, word)):
            raise InputError(
                f"{shorten(word)}: control characters, such as a line break, are not allowed"
            )
    parser = get_args_parser()
    # a misspelt flag would be taken for another one
    parser.allow_abbrev = False
    # argparse would print its usage and exit
    parser.error = raise_flag_error  # type: ignore[method-assign]
    args, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        raise InputError(describe_unknown_flag(unknown[0], [*parser._option_string_actions]))
    # remove each word from its copy, in case the same word is typed twice
    words, flags = list(args.overrides), list(argv)
    # what argparse did not take as a word is a flag or the value of one
    for word in words:
        flags.remove(word)
    return args, flags, words


def raise_flag_error(message: str) -> NoReturn:
    raise InputError(f"{message} (--hydra-help lists the flags)")


def describe_unknown_flag(flag: str, flags: Iterable[str]) -> str:
    word = flag.lstrip("-")
    keys = {*GROUPS, *SLOTS, *TYPED}.union(*map(knobs_of, heads()))
    if "=" in word and re.split(r"[.=]", word)[0] in keys:
        return f"{flag}: keys are typed without dashes; did you mean {word}?"
    near = nearest_word(flag.split("=")[0], flags)
    hint = f"did you mean {near}? " if near else ""
    return f"{flag}: no such flag; {hint}--hydra-help lists the flags"


def check_form(words: Sequence[str], keys: set[str]) -> None:
    """InputError for a word that is not KEY=VALUE, with what was probably meant."""
    for i, word in enumerate(words):
        if word.startswith("~") or ("=" in word and not word.startswith("=")):
            continue
        before, after = words[i - 1] if i else "", words[i + 1 : i + 3]
        meant = guess_meaning(word, before, after, keys)
        raise InputError(f"{shorten(word)}: not of the form KEY=VALUE{meant}")


def guess_meaning(word: str, before: str, after: Sequence[str], keys: set[str]) -> str:
    """The end of the message for a word without `=`: what was probably meant."""
    name, colon, value = word.partition(":")
    # the order matters: from the most specific mistake to the most general one
    # tau:0.3
    if colon and name.split(".")[0] in keys:
        return f"; did you mean {name}={value}?"
    # tau = 0.3, tau =0.3
    if word.split(".")[0] in keys and after:
        rest = "".join(after).lstrip("=") if after[0] in ("=", "") else after[0].lstrip("=")
        return f"; did you mean {word}={rest}? No spaces are allowed around ="
    # tau= 0.3
    if before.endswith("="):
        return f"; did you mean {before}{word}? No spaces are allowed around ="
    # bn_tau
    if near := nearest_word(word, heads()):
        return f"; did you mean head={near}?"
    # data.train=my file.txt
    if "=" in before:
        key, _, value = before.partition("=")
        together = quote_override(key, f"{value} {word}")
        return f"; if it belongs to the word before, quote them: {together}"
    return ""
