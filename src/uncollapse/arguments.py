"""The parser of every command but train.py: what it refuses is one sentence with the nearest word."""

import argparse
import re
import sys
from typing import NoReturn

from uncollapse.errors import did_you_mean, escape_unsafe, nearest_word


class Parser(argparse.ArgumentParser):
    """As argparse's, without its usage in front of a refusal."""

    def error(self, message: str) -> NoReturn:
        print(
            f"error: {escape_unsafe(self.hinted(message))}; --help shows what there is",
            file=sys.stderr,
        )
        sys.exit(2)

    def hinted(self, message: str) -> str:
        if unknown := re.fullmatch(r"unrecognized arguments: (.*)", message):
            flag = unknown[1].split()[0]
            near = (
                nearest_word(flag.split("=")[0], self._option_string_actions)
                if flag.startswith("-")
                else None
            )
            return f"{unknown[1]}: not understood" + (f"; did you mean {near}?" if near else "")
        if choice := re.fullmatch(
            r"argument (.*): invalid choice: '(.*)' \(choose from (.*)\)", message
        ):
            allowed = re.findall(r"[\w-]+", choice[3])
            name = choice[1].split("/")[-1]
            return f"{name}: invalid choice: '{choice[2]}'; {did_you_mean(choice[2], allowed)}allowed are {', '.join(allowed)}"
        return message
