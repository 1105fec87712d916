"""metrics.jsonl, one JSON object per evaluation and split: its one writer, and its reader."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uncollapse.data import SPLITS
from uncollapse.disk import find_free_name, read_bytes, write_together
from uncollapse.runs.json_values import (
    has_suspect_number,
    is_number_list,
    parse_json,
    replace_nonfinite,
)
from uncollapse.runs.layout import ROWS_FILE, Run

Mirror = Callable[[dict], None]
ROW_MODES = ("train", "eval")
MAX_STEP = 2**53  # a larger one is no count


# ---------------------------------------------------------------- writing


class Record:
    """Append rows to `path`; `mirrors` get every row too, on resuming those already on disk first."""

    def __init__(self, path: Path, mirrors: list[Mirror]):
        self.path, self.mirrors = path, mirrors
        self.count = 0  # rows on disk but for those of the test split

    def resume(self, step: int, expected: int | None = None) -> str | None:
        """Keep the rows up to `step`; later ones, test rows and a torn last line are about to be written again.

        A checkpoint says how many rows are `expected`. Where some are missing the old file is kept beside the new one;
        the sentence that says so.
        """
        content = read_bytes(self.path) if os.path.lexists(self.path) else b""
        found = parse_rows(content)
        if (
            step < 0
        ):  # there is no checkpoint: only the first look may lie there, from before a kill
            expected = len([row for row in found.rows if row["step"] > 0])
        kept = [row for row in found.rows if row["step"] <= step and row["split"] != "test"]
        missing = len(found.lost) if expected is None else expected - len(kept)
        files = {self.path: "".join(json.dumps(row) + "\n" for row in kept).encode()}
        note = None
        if missing > 0:
            note = f"{missing} row{'s' * (missing > 1)} of {ROWS_FILE} up to step {step} cannot be found"
            if (
                content
            ):  # both at once: a kill in between must not leave a file without the sound rows
                aside = find_free_name(self.path)
                files = {aside: content, **files}
                note += f"; the old file is {aside.name}"
        write_together(files)
        self.count = len(kept)
        for row in kept:
            self.mirror(row)
        return note

    def write(self, row: dict) -> None:
        row = replace_nonfinite(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.count += row["split"] != "test"
        self.mirror(row)

    def mirror(self, row: dict) -> None:
        for mirror in self.mirrors:
            mirror(row)


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class ParsedRows:
    """The sound rows of a file in its order; the numbers of lines that are no rows; how many numbers are not finite.

    `torn`: the file ends within a line, as a writer leaves it that was stopped.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    torn: bool = False
    odd: int = 0

    def notes(self) -> list[str]:
        """What is wrong, in sentences."""
        found = []
        if self.lost:
            found.append(
                f"{len(self.lost)} unreadable line(s) in {ROWS_FILE} skipped (first: line {self.lost[0]})"
            )
        if self.torn:
            found.append(
                f"the last line of {ROWS_FILE} is torn (the run was stopped while writing); skipped"
            )
        if self.odd:
            found.append(f"{self.odd} numbers in {ROWS_FILE} are not finite; they count as missing")
        return found


def read_rows(path: Path) -> ParsedRows:
    """The rows of a metrics file; none where it is not there. InputError where it cannot be read at all."""
    return parse_rows(read_bytes(path)) if os.path.lexists(path) else ParsedRows()


def read_run_rows(run: Run) -> ParsedRows:
    """The rows of a run."""
    return read_rows(run.path(ROWS_FILE))


def parse_rows(content: bytes) -> ParsedRows:
    """Rows from lines of JSON. A row that a resumed run has repeated counts once, as written last."""
    latest: dict[tuple[Any, ...], dict[str, Any]] = {}
    lost, odd = [], 0
    lines = content.split(b"\n")
    torn, suspect = False, has_suspect_number(content)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row, count = parse_row(line, suspect)
        odd += count
        if row is not None:
            latest[row["step"], row["split"], row["mode"], row.get("weights") == "last"] = row
        elif number == len(lines):
            torn = True
        else:
            lost.append(number)
    return ParsedRows(list(latest.values()), lost, torn, odd)


def parse_row(line: bytes, suspect: bool) -> tuple[dict[str, Any] | None, int]:
    """One row, and how many of its numbers are not finite; None for what is no row."""
    row, odd = parse_json(line, suspect)
    return (row, odd) if isinstance(row, dict) and is_row(row) else (None, 0)


def last_test_row(rows: Sequence[dict[str, Any]], mode: str) -> dict[str, Any]:
    """The last row of the test split in a mode, of the best weights; empty where there is none."""
    found = (row for row in reversed(rows) if row["split"] == "test" and row["mode"] == mode)
    return next((row for row in found if row.get("weights") != "last"), {})


def is_row(row: dict[str, Any]) -> bool:
    """Whether an object says where it belongs, and its KL per dimension, if any, is a list of numbers."""
    step, dimensions = row.get("step"), row.get("kl_per_dim", [])
    return (
        type(step) is int
        and 0 <= step < MAX_STEP
        and row.get("split") in SPLITS
        and row.get("mode") in ROW_MODES
        and (dimensions is None or is_number_list(dimensions))
    )
