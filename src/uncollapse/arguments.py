"""The argument parser of every command except `train`; a refusal is one sentence with a hint."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from uncollapse.errors import InputError, did_you_mean, escape_unsafe, nearest_word
from uncollapse.plugins import read_project, use_plugins

# argparse's own message
INVALID_CHOICE = re.compile(r"argument (.*): invalid choice: '(.*)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes options by their full names only, as `--sample` would be
    taken for `--samples`, and does not print its usage before a refusal."""

    def __init__(self, **options: Any):
        super().__init__(allow_abbrev=False, **options)

    def parse_with_plugins(self, words: Sequence[str] | None) -> argparse.Namespace:
        """Parse the words; then use the user's own parts: the project's, and `--plugins`."""
        self.add_argument(
            "--plugins",
            metavar="PACKAGE",
            action="append",
            default=[],
            help="a package of your own that has classes of these runs",
        )
        parsed = self.parse_args(words)
        try:
            read_project()
            use_plugins(*parsed.plugins)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        return parsed

    def error(self, message: str) -> NoReturn:
        sentence = escape_unsafe(self.add_hint(message))
        print(f"error: {sentence}; --help lists all options", file=sys.stderr)
        sys.exit(2)

    def add_hint(self, message: str) -> str:
        """argparse's message, with the nearest allowed word."""
        if unknown := re.fullmatch(r"unrecognized arguments: (.*)", message):
            flag = unknown[1].split()[0]
            near = None
            # `--flag=value` is compared without its value
            if flag.startswith("-"):
                near = nearest_word(flag.split("=")[0], self._option_string_actions)
            return f"{unknown[1]}: not understood" + (f"; did you mean {near}?" if near else "")
        if choice := INVALID_CHOICE.fullmatch(message):
            allowed = re.findall(r"[\w-]+", choice[3])
            name, typed = choice[1].split("/")[-1], choice[2]
            return (
                f"{name}: invalid choice: '{typed}'; "
                f"{did_you_mean(typed, allowed)}allowed are {', '.join(allowed)}"
            )
        return message


def run_or_refuse(work: Callable[[], object], describe: Callable[[OSError], str]) -> int:
    """0 after `work`, or 2 after one sentence: an InputError, or what `describe` says."""
    try:
        work()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {escape_unsafe(describe(error))}", file=sys.stderr)
    else:
        return 0
    return 2


def describe_os_error(error: OSError, place: object) -> str:
    """'PLACE: REASON', with the file at fault if the error names it."""
    return f"{error.filename or place}: {error.strerror or error}"


def describe_unwritable(error: OSError) -> str:
    """'FILE: cannot write there (REASON)'."""
    return f"{error.filename}: cannot write there ({error.strerror})"
