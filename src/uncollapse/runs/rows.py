"""metrics.jsonl, one JSON object per evaluation and split: its only writer, and its reader."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uncollapse.data import SPLITS
from uncollapse.disk import find_free_name, read_bytes, write_together
from uncollapse.json_types import JsonObject
from uncollapse.metrics.catalogue import test_only_keys
from uncollapse.runs.json_values import (
    has_suspect_number,
    is_number_list,
    parse_json,
    replace_nonfinite,
)
from uncollapse.runs.layout import ROWS_FILE, Run

Mirror = Callable[[JsonObject], None]
ROW_MODES = ("train", "eval")
MAX_STEP = 2**53  # a float holds every integer up to this


# ---------------------------------------------------------------- writing


class Record:
    """Appends rows to `path` and passes each one to the `mirrors`, such as W&B.

    On resuming, the mirrors first receive the rows that are already on disk.
    """

    def __init__(self, path: Path, mirrors: list[Mirror]):
        self.path, self.mirrors = path, mirrors
        self.count = 0  # rows on disk, without those of the test split

    def resume(self, step: int, expected: int | None = None) -> str | None:
        """Keep the rows up to `step`, without test rows; training writes the others again.

        `expected` is the number of rows that the checkpoint states. If some are missing, the old
        file is kept under another name, and a sentence says so.
        """
        content = read_bytes(self.path) if os.path.lexists(self.path) else b""
        parsed = parse_rows(content)
        if step < 0:  # without a checkpoint only the rows of step 0 may exist, from before a kill
            expected = len([row for row in parsed.rows if row["step"] > 0])
        # test rows are written after training, so resumed training writes them again
        kept = [row for row in parsed.rows if row["step"] <= step and row["split"] != "test"]
        missing = len(parsed.lost) if expected is None else expected - len(kept)
        files = {self.path: "".join(json.dumps(row) + "\n" for row in kept).encode()}
        note = None
        if missing > 0:
            plural = "s" if missing > 1 else ""
            note = f"{missing} row{plural} of {ROWS_FILE} up to step {step} cannot be found"
            if content:
                # both in one step: a kill in between must not lose the intact rows
                aside = find_free_name(self.path)
                files = {aside: content, **files}
                note += f"; the old file is {aside.name}"
        write_together(files)
        self.count = len(kept)
        for row in kept:
            self.mirror(row)
        return note

    def write(self, row: JsonObject) -> None:
        """Append a row; it is on disk when this returns."""
        row = replace_nonfinite(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            # the next checkpoint states how many rows there are, so none may be lost in a crash
            file.flush()
            os.fsync(file.fileno())
        self.count += row["split"] != "test"
        self.mirror(row)

    def mirror(self, row: JsonObject) -> None:
        for mirror in self.mirrors:
            mirror(row)


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class ParsedRows:
    """The valid rows of a file in order, and what is wrong with the others."""

    rows: list[JsonObject] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)  # numbers of the lines that are not rows
    torn: bool = False  # the file ends within a line: its writer was stopped
    nonfinite: int = 0  # numbers that are not finite

    def notes(self) -> list[str]:
        """A sentence for each kind of problem."""
        notes = []
        if self.lost:
            first = f"first: line {self.lost[0]}"
            notes.append(f"{len(self.lost)} unreadable line(s) in {ROWS_FILE} skipped ({first})")
        if self.torn:
            notes.append(
                f"the last line of {ROWS_FILE} is cut off (the run was stopped while writing); "
                "skipped"
            )
        if self.nonfinite:
            notes.append(
                f"{self.nonfinite} numbers in {ROWS_FILE} are not finite; they count as missing"
            )
        return notes


def read_rows(path: Path) -> ParsedRows:
    """The rows of a metrics file; none if it does not exist. InputError if it is unreadable."""
    return parse_rows(read_bytes(path)) if os.path.lexists(path) else ParsedRows()


def read_run_rows(run: Run) -> ParsedRows:
    """The rows of a run."""
    return read_rows(run.path(ROWS_FILE))


def read_validation_objective(run: Run) -> float | None:
    """The validation objective of a finished run's best weights, in nats.

    None if a version without this metric made it.
    """
    rows = read_run_rows(run).rows
    step = last_test_row(rows, "eval").get("step")
    found = [row for row in rows if row["split"] == "valid" and row["step"] == step]
    return found[-1].get("objective") if found else None


def parse_rows(content: bytes) -> ParsedRows:
    """Rows from lines of JSON. If a resumed run has repeated a row, the later one counts."""
    latest: dict[tuple[object, ...], JsonObject] = {}
    lost, nonfinite, torn = [], 0, False
    lines = content.split(b"\n")
    # one search in the complete text is faster than a check of every number
    suspect = has_suspect_number(content)
    for number, line in enumerate(lines, 1):
        # a file ends with a line break, so the last piece is empty
        if not line.strip():
            continue
        row, count = parse_row(line, suspect)
        nonfinite += count
        if row is not None:
            # later rows replace earlier ones of the same key, at the position of the earlier one
            latest[row["step"], row["split"], row["mode"], weights_of(row)] = row
        elif number == len(lines):  # without a line break at its end
            torn = True
        else:
            lost.append(number)
    return ParsedRows(list(latest.values()), lost, torn, nonfinite)


def parse_row(line: bytes, suspect: bool) -> tuple[JsonObject | None, int]:
    """A row, and how many of its numbers are not finite; None if the line is not a row."""
    row, nonfinite = parse_json(line, suspect)
    return (row, nonfinite) if isinstance(row, dict) and is_row(row) else (None, 0)


def drop_unread(rows: Sequence[JsonObject]) -> list[JsonObject]:
    """The rows as packs hold them: without what reports read from test rows only.

    It is nine tenths of the bytes of a run.
    """
    unread = test_only_keys()
    return [
        row if row["split"] == "test" else {k: v for k, v in row.items() if k not in unread}
        for row in rows
    ]


def last_test_row(rows: Sequence[JsonObject], mode: str, weights: str = "best") -> JsonObject:
    """The last row of the test split in a mode, of these weights; {} if there is none."""
    test = (row for row in reversed(rows) if row["split"] == "test" and row["mode"] == mode)
    return next((row for row in test if weights_of(row) == weights), {})


def weights_of(row: JsonObject) -> str:
    """Which weights a row is of: "best", or the rule of others, of which only test rows exist."""
    return str(row.get("weights") or "best")


def is_row(row: JsonObject) -> bool:
    """Whether an object has a valid step, split and mode, and its KL per dimension is a list."""
    step, dimensions = row.get("step"), row.get("kl_per_dim", [])
    return (
        type(step) is int
        and 0 <= step < MAX_STEP
        and row.get("split") in SPLITS
        and row.get("mode") in ROW_MODES
        and (dimensions is None or is_number_list(dimensions))
    )
