"""A map over groups of examples that keeps each row on disk, so that a stopped one can continue.

The file is JSON lines. Its first line, the header, names the weights that the rows belong to and
counts the groups. Every other line is one group's row, sealed with a digest.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.data.digests import file_digest
from uncollapse.disk import write_atomic
from uncollapse.errors import InputError
from uncollapse.evaluation.progress import show_group_progress
from uncollapse.runs.json_values import (
    add_digest,
    has_valid_digest,
    is_number_list,
    read_json_lines,
)

GroupRow = dict[str, Any]  # "group", its number; "examples", a list; and further columns


@dataclass(frozen=True)
class GroupRows:
    """The rows of groups of examples in one file.

    `is_valid` says whether a row has all columns that this version needs.
    """

    path: Path
    weights: Path  # of the model that the rows are computed with
    groups: Sequence[np.ndarray]
    is_valid: Callable[[GroupRow], bool]

    def complete(
        self,
        name: str,
        compute: Callable[[int, np.ndarray], GroupRow],
        pool: Executor,
        say: Callable[[str], None],
    ) -> list[GroupRow]:
        """Every group's row, in order: those on disk, and the others computed and appended to it.

        name: of what is computed, for messages.
        """
        rows, dropped = self.read()
        total = len(self.groups)
        if dropped:
            say(
                f"{name}: {dropped} of {total} groups are damaged or lack columns, "
                "and are computed again"
            )
        todo = [number for number in range(total) if number not in rows]
        with (
            self.path.open("a", encoding="utf-8") as file,
            show_group_progress(name, say, total, len(rows)) as advance,
        ):
            for row in pool.map(lambda number: compute(number, self.groups[number]), todo):
                file.write(json.dumps(add_digest(row)) + "\n")
                file.flush()
                rows[row["group"]] = row
                advance()
        return [rows[number] for number in range(total)]

    def read(self) -> tuple[dict[int, GroupRow], int]:
        """The valid rows by group, and how many others were dropped; the file then holds no others.

        InputError for a file with another header.
        """
        self.path.parent.mkdir(exist_ok=True)
        header = {"weights": file_digest(self.weights)[:16], "groups": len(self.groups)}
        lines = read_json_lines(self.path)
        if lines and lines[0] != header:
            raise InputError(
                f"{self.path}: damaged, or started with other weights or data; "
                "move it away to start from scratch"
            )
        rows = {row["group"]: row for row in lines[1:] if self.is_usable(row)}
        text = "".join(json.dumps(line) + "\n" for line in [header, *rows.values()])
        write_atomic(self.path, text.encode())
        return rows, len(lines[1:]) - len(rows)

    def is_usable(self, row: object) -> bool:
        """Whether a line is an intact and valid row of one of the groups."""
        if not isinstance(row, dict) or type(row.get("group")) is not int:
            return False
        if not 0 <= row["group"] < len(self.groups) or not is_number_list(row.get("examples")):
            return False
        same = {*row["examples"]} == {*self.groups[row["group"]].tolist()}
        return same and self.is_valid(row) and has_valid_digest(row)
