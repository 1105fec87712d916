"""The only writer of rows: metrics.jsonl, one JSON object per evaluation and split, and whoever mirrors it."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from uncollapse.disk import write_atomic

Mirror = Callable[[dict], None]


class Record:
    """Append rows to `path`; `mirrors` get every row too, on resuming those already on disk first."""

    def __init__(self, path: Path, mirrors: list[Mirror]):
        self.path, self.mirrors = path, mirrors

    def resume(self, step: int) -> None:
        """Keep the rows up to `step`; later ones, test rows and a torn last line are about to be written again."""
        rows = [row for row in read_rows(self.path) if row["step"] <= step and row.get("split") != "test"]
        write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        for row in rows:
            self.mirror(row)

    def write(self, row: dict) -> None:
        row = plain(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.mirror(row)

    def mirror(self, row: dict) -> None:
        for mirror in self.mirrors:
            mirror(row)


def read_rows(path: Path) -> list[dict]:
    """The rows of a metrics file."""
    return [row for row in whole_lines(path) if isinstance(row, dict) and "step" in row]


def whole_lines(path: Path) -> list[Any]:
    """What a file of JSON lines holds, nothing if it is not there; a line that is not whole is passed over."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def plain(value: Any) -> Any:
    """Nested values with every non-finite number as null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
