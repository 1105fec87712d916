"""Columns of text from JSON files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uncollapse.data.formats import read_beginning
from uncollapse.data.inspection import (
    parse_leading_object,
)
from uncollapse.data.packed import open_packed
from uncollapse.data.table_columns import (
    ROWS_AT_ONCE,
    check_columns,
)
from uncollapse.errors import InputError
from uncollapse.json_types import Json

if TYPE_CHECKING:
    import pyarrow as pa


def read_json(
    path: Path, wanted: Sequence[str], label: str | None, scratch: Path
) -> Iterator["pa.RecordBatch"]:
    """Rows from objects one after another, or from an array of them; a missing key is null."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    head, seen = read_beginning(path)
    text = head.decode(errors="replace").removeprefix("\ufeff").lstrip()
    # the columns are known unless the first object is longer than the inspected bytes
    if parse_leading_object(text.removeprefix("[").lstrip()):
        check_columns(path, seen.columns, wanted, label, seen.longest)
    if text.startswith("["):
        yield from read_json_array(path, wanted, label)
        return
    schema = pa.schema(
        [(name, infer_label_type(text, name) if name == label else pa.string()) for name in wanted]
    )
    # an object that does not end on the first line has line breaks in it
    spread = not any(line.rstrip().endswith("}") for line in text.splitlines()[:1])
    # the types are stated, since Arrow would guess them from the first block only
    parsing = arrow_json.ParseOptions(
        schema, newlines_in_values=spread, unexpected_field_behavior="ignore"
    )
    with open_packed(path) as (file, _):
        # 16 MB a block: an object must fit into one
        for batch in arrow_json.open_json(
            file, arrow_json.ReadOptions(block_size=1 << 24), parsing
        ):
            # Arrow does not check that strings are UTF-8
            batch.validate(full=True)
            if batch.num_rows:
                yield batch.select(list(wanted))


def infer_label_type(text: str, name: str) -> "pa.DataType":
    """The type of the first label that is not null: integer, boolean or string."""
    import re

    import pyarrow as pa

    # the lookahead skips null, which has no type
    value = re.search(
        rf"{re.escape(json.dumps(name, ensure_ascii=False))}\s*:\s*(?!null)(\S)", text
    )
    first = value[1] if value else '"'
    return pa.bool_() if first in "tf" else pa.int64() if first in "-0123456789" else pa.string()


def read_json_array(
    path: Path, wanted: Sequence[str], label: str | None
) -> Iterator["pa.RecordBatch"]:
    """Rows from one array of objects, which is read into memory at once."""
    import pyarrow as pa

    with open_packed(path) as (file, _):
        content = file.read().decode("utf-8-sig")
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise InputError(f"{path}: damaged, or not json throughout ({error})") from error
    labels = [row.get(label) for row in rows if isinstance(row, dict)] if label is not None else []
    kind = next((type(value) for value in labels if value is not None), str)
    allowed = {name: kind if name == label else str for name in wanted}
    for number, row in enumerate(rows, 1):
        check_object(f"{path}, row {number}", row, allowed, label)
    arrow = {str: pa.large_string(), int: pa.int64(), bool: pa.bool_()}
    schema = pa.schema([(name, arrow[allowed[name]]) for name in wanted])
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield pa.RecordBatch.from_pylist(
            [
                {name: row.get(name) for name in wanted}
                for row in rows[start : start + ROWS_AT_ONCE]
            ],
            schema,
        )


def check_object(where: str, row: Json, allowed: Mapping[str, type], label: str | None) -> None:
    """InputError for an item that is not an object, or has a value of another type than allowed."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: not an object, as the first one is")
    for name, kind in allowed.items():
        value = row.get(name)
        # type() instead of isinstance(), because a boolean is an int
        if value is None or (type(value) is kind and kind in (str, int, bool)):
            continue
        fault = "not a class, or not of the first one's type" if name == label else "not a string"
        raise InputError(f"{where}: {name} is {fault} ({json.dumps(value)[:40]})")
