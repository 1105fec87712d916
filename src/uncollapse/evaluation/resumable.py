"""A map over groups of examples that can resume: it writes each row to disk when it is computed.

The file has JSON lines. The first line, the header, identifies the weights that the rows were
computed with, and the number of groups. Every other line is the row of one group with its digest.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uncollapse.data.digests import file_digest
from uncollapse.disk import write_atomic
from uncollapse.errors import InputError
from uncollapse.evaluation.progress import show_group_progress
from uncollapse.json_types import JsonObject
from uncollapse.runs.json_values import (
    add_digest,
    has_valid_digest,
    is_number_list,
    read_json_lines,
)

GroupRow = JsonObject  # "group", its number; "examples", a list; and further columns


@dataclass(frozen=True)
class GroupRows:
    """The rows of groups of examples, kept in one file.

    `is_valid` decides whether a row has all columns that this version needs.
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
        """The rows of all groups, in order; those not on disk are computed and appended.

        `name` of what is computed, for messages.
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
            # `map` yields rows in order while later groups are still computed
            for row in pool.map(lambda number: compute(number, self.groups[number]), todo):
                file.write(json.dumps(add_digest(row)) + "\n")
                # flushed, but not synced: a torn last line after a power cut is found by its
                # digest
                file.flush()
                rows[row["group"]] = row
                advance()
        return [rows[number] for number in range(total)]

    def read(self) -> tuple[dict[int, GroupRow], int]:
        """The valid rows by group, and the number of other rows, which are removed from the file.

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
        usable = [row for row in lines[1:] if self.is_usable(row)]
        # of two rows of one group, the later one is kept
        rows = {row["group"]: row for row in usable}
        text = "".join(json.dumps(line) + "\n" for line in [header, *rows.values()])
        # the header first, and without the rows that cannot be used
        write_atomic(self.path, text.encode())
        return rows, len(lines[1:]) - len(usable)

    def is_usable(self, row: object) -> bool:
        """Whether a line is an intact and valid row of one of the groups."""
        if not isinstance(row, dict) or type(row.get("group")) is not int:
            return False
        if not 0 <= row["group"] < len(self.groups) or not is_number_list(row.get("examples")):
            return False
        # as sets, since a row lists its examples by length
        same = {*row["examples"]} == {*self.groups[row["group"]].tolist()}
        return same and self.is_valid(row) and has_valid_digest(row)


def has_number_columns(row: GroupRow, names: Sequence[str]) -> bool:
    """Whether every column is a list of numbers, all of one length."""
    columns = [row.get(name) for name in names]
    return all(map(is_number_list, columns)) and len({len(column or ()) for column in columns}) == 1
