"""Columns of text from JSON, CSV, TSV, Parquet and Arrow files.

They are streamed into an Arrow file on disk, which `datasets` maps into memory. Everything is read
as it is, or refused. (The loaders of `datasets` guess: a CSV cell NA becomes null, a row with too
many cells is shifted, a JSON column of strings and numbers is rewritten as JSON.)
"""

import csv
import io
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from uncollapse.data.formats import (
    DELIMITERS,
    HEAD_BYTES,
    LABEL_NAMES,
    TEXT_NAMES,
    guess_column,
    is_table,
    parse_leading_object,
    read_beginning,
    read_cells,
)
from uncollapse.data.packed import detect_compression, open_packed
from uncollapse.errors import InputError

ROWS_AT_ONCE = 10_000  # of a CSV table or a JSON array in memory at a time


def read_table(
    path: Path, format: str, columns: Sequence[str], label: str | None, scratch: Path
) -> Any:
    """The columns and the label of a file, as a data set kept in the empty folder `scratch`.

    InputError for a damaged file, a missing column, or one that does not hold text. (A label may
    also be an integer or a boolean.)
    """
    import datasets
    import pyarrow as pa

    if not read_beginning(path)[0].strip():
        raise InputError(f"{path}: the file is empty")
    wanted = list(dict.fromkeys([*columns, *([label] if label is not None else [])]))
    stream = scratch / "rows.arrow"
    try:
        batches = TABLE_READERS[format](path, wanted, label, scratch)
        first = next(batches, None)
        if first is None:
            raise InputError(f"{path}: no row in it")
        with pa.OSFile(str(stream), "wb") as file, pa.ipc.new_stream(file, first.schema) as writer:
            writer.write(first)
            for batch in batches:
                writer.write(batch)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 (byte 0x{error.object[error.start]:02x}); convert the file first"
        ) from error
    except pa.ArrowException as error:
        raise InputError(
            f"{path}: {explain_arrow_error(str(error).splitlines()[0], format)}"
        ) from error
    try:
        return datasets.Dataset.from_file(str(stream))
    except (
        Exception
    ) as error:  # what the file says of its columns may come from another version, or be damaged
        raise InputError(
            f"{path}: `datasets` cannot read it ({str(error).splitlines()[0]})"
        ) from error


def explain_arrow_error(message: str, format: str) -> str:
    """The meaning of Arrow's message about a file."""
    if "UTF8" in message:
        return f"not UTF-8; convert the file first ({message})"
    if "changed from" in message or "Failed to convert" in message:
        return f"texts must be strings, labels strings, integers or booleans ({message})"
    return f"damaged, or not {format} throughout ({message})"


def check_columns(
    path: Path,
    there: Sequence[str],
    wanted: Sequence[str],
    label: str | None,
    longest: str | None = None,
    more: str = "",
) -> None:
    """InputError for a missing column, naming the existing ones and the one probably meant.

    For the text that is at worst the `longest` column.
    """
    for name in wanted:
        if list(there).count(name) > 1:
            raise InputError(f"{path}: two columns are called {name}")
        if name in there:
            continue
        word, meant = "data.label_column", guess_column(name, there, LABEL_NAMES)
        if name != label:
            word, meant = "data.column", guess_column(name, there, TEXT_NAMES) or longest
        shown = ", ".join(
            column if len(column) <= 40 else column[:40] + "..." for column in there[:20]
        )
        advice = f"; say {word}={meant}" if meant else ""
        raise InputError(
            f"{word}={name}: {path} has the columns "
            f"{shown}{', ...' if len(there) > 20 else ''}{advice}{more}"
        )


# ---------------------------------------------------------------- CSV and TSV


def read_csv(
    path: Path, wanted: Sequence[str], label: str | None, scratch: Path, tabs: bool = False
) -> Iterator[Any]:
    """Cells as they are, all of them strings; each row must have as many as the header."""
    import pyarrow as pa

    csv.field_size_limit(sys.maxsize)
    dialect = (
        choose_tab_dialect(path)
        if tabs
        else {"delimiter": find_delimiter(path, wanted), "quoting": csv.QUOTE_MINIMAL}
    )
    with open_packed(path) as (file, _):
        rows = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""), strict=True, **dialect)
        try:
            header = next((row for row in rows if row), [])
            if not header:
                raise InputError(f"{path}: the file is empty")
            more = "; its first line is taken as a header"
            more += (
                ", data.format=text data.labels=true reads lines of label TAB text" if tabs else ""
            )
            check_columns(path, header, wanted, label, read_beginning(path)[1].longest, more)
            places = [header.index(name) for name in wanted]
            while chunk := list(islice(check_cells(rows, header, path), ROWS_AT_ONCE)):
                yield pa.record_batch(
                    [
                        pa.array([row[place] for row in chunk], pa.large_string())
                        for place in places
                    ],
                    list(wanted),
                )
        except csv.Error as error:
            raise InputError(
                f"{path}, line {rows.line_num}: a quote is not closed, or text follows it ({error})"
            ) from error


def check_cells(rows: Any, header: Sequence[str], path: Path) -> Iterator[list[str]]:
    """The rows that are not empty. InputError for one with another length than the header."""
    for row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {rows.line_num}: {len(row)} cells where the header has "
                f"{len(header)}; a cell that holds the "
                "delimiter must stand in double quotes"
            )
        yield row


def read_first_lines(path: Path) -> list[str]:
    """Some complete lines from the beginning of a file."""
    head, _ = read_beginning(path)
    lines = head.decode(errors="replace").removeprefix("\ufeff").splitlines(keepends=True)
    return lines[:-1] if len(head) == HEAD_BYTES and len(lines) > 1 else lines


def find_delimiter(path: Path, wanted: Sequence[str]) -> str:
    """The delimiter under which the header has the wanted columns.

    If there is none: the one that gives the header the most cells, a comma first.
    """
    first = next((line for line in read_first_lines(path) if line.strip()), "")
    headers = {mark: next(csv.reader([first], delimiter=mark), []) for mark in "," + DELIMITERS}
    holding = [
        mark for mark, header in headers.items() if len(header) > 1 and set(wanted) <= set(header)
    ]
    return holding[0] if holding else max(headers, key=lambda mark: len(headers[mark]))


def choose_tab_dialect(path: Path) -> dict[str, Any]:
    """Quotes in TSV files are text, unless every cell that begins with one ends with one."""
    lines = read_first_lines(path)
    enclosing = any('"' in line for line in lines) and is_table(
        read_cells(lines, "\t", csv.QUOTE_MINIMAL)
    )
    return {"delimiter": "\t", "quoting": csv.QUOTE_MINIMAL if enclosing else csv.QUOTE_NONE}


def read_tsv(path: Path, wanted: Sequence[str], label: str | None, scratch: Path) -> Iterator[Any]:
    return read_csv(path, wanted, label, scratch, tabs=True)


# ---------------------------------------------------------------- JSON


def read_json(path: Path, wanted: Sequence[str], label: str | None, scratch: Path) -> Iterator[Any]:
    """Objects one after another, or an array of them; a missing key is null."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    head, seen = read_beginning(path)
    text = head.decode(errors="replace").removeprefix("\ufeff").lstrip()
    if parse_leading_object(
        text.removeprefix("[").lstrip()
    ):  # else it is longer than the inspected bytes
        check_columns(path, seen.columns, wanted, label, seen.longest)
    if text.startswith("["):
        yield from read_json_array(path, wanted, label)
        return
    schema = pa.schema(
        [(name, infer_label_type(text, name) if name == label else pa.string()) for name in wanted]
    )
    spread = not any(line.rstrip().endswith("}") for line in text.splitlines()[:1])
    parsing = arrow_json.ParseOptions(
        schema, newlines_in_values=spread, unexpected_field_behavior="ignore"
    )
    with open_packed(path) as (file, _):
        for batch in arrow_json.open_json(
            file, arrow_json.ReadOptions(block_size=1 << 24), parsing
        ):
            batch.validate(full=True)
            if batch.num_rows:
                yield batch.select(list(wanted))


def infer_label_type(text: str, name: str) -> Any:
    """The type of the first label that is not null: integer, boolean or text."""
    import re

    import pyarrow as pa

    value = re.search(
        rf"{re.escape(json.dumps(name, ensure_ascii=False))}\s*:\s*(?!null)(\S)", text
    )
    first = value[1] if value else '"'
    return pa.bool_() if first in "tf" else pa.int64() if first in "-0123456789" else pa.string()


def read_json_array(path: Path, wanted: Sequence[str], label: str | None) -> Iterator[Any]:
    """One array of objects, held in memory completely."""
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


def check_object(where: str, row: Any, allowed: Mapping[str, type], label: str | None) -> None:
    """InputError for an item that is no object, or holds a value not allowed (null is)."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: not an object, as the first one is")
    for name, kind in allowed.items():
        value = row.get(name)
        if value is None or (type(value) is kind and kind in (str, int, bool)):
            continue
        meant = "no class, or of another kind than the first" if name == label else "no text"
        raise InputError(f"{where}: {name} is {meant} ({json.dumps(value)[:40]})")


# ---------------------------------------------------------------- Parquet and Arrow


def unpack(path: Path, scratch: Path) -> Path:
    """The file itself, or its decompressed content in `scratch`, to seek in."""
    if not detect_compression(path):
        return path
    with open_packed(path) as (file, _), (scratch / "unpacked").open("wb") as out:
        shutil.copyfileobj(file, out)
    return scratch / "unpacked"


def read_parquet(
    path: Path, wanted: Sequence[str], label: str | None, scratch: Path
) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(unpack(path, scratch)) as file:
            schema = file.schema_arrow
            check_columns(path, schema.names, wanted, label)
            kept = pa.schema([schema.field(name) for name in wanted], schema.metadata)
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(wanted)):
                yield with_metadata(batch.select(list(wanted)), kept)
    except OSError as error:
        raise InputError(
            f"{path}: a damaged Parquet file ({str(error).splitlines()[0]})"
        ) from error


def read_arrow(
    path: Path, wanted: Sequence[str], label: str | None, scratch: Path
) -> Iterator[Any]:
    """Files and streams of Arrow, and Feather files."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(unpack(path, scratch))) as file:
            magic = file.read(6)
            file.seek(0)
            reader = pa.ipc.open_file(file) if magic == b"ARROW1" else pa.ipc.open_stream(file)
            check_columns(path, reader.schema.names, wanted, label)
            kept = pa.schema([reader.schema.field(name) for name in wanted], reader.schema.metadata)
            found = (
                (reader.get_batch(i) for i in range(reader.num_record_batches))
                if magic == b"ARROW1"
                else iter(reader)
            )
            for batch in found:
                yield with_metadata(batch.select(list(wanted)), kept)
    except OSError as error:
        raise InputError(f"{path}: a damaged Arrow file ({str(error).splitlines()[0]})") from error


def with_metadata(batch: Any, schema: Any) -> Any:
    """A batch with the metadata of its set, in which `datasets` keeps the names of classes.

    An Arrow error for text that is not UTF-8.
    """
    import pyarrow as pa

    batch.validate(full=True)
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema)


TABLE_READERS = {
    "json": read_json,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
    "arrow": read_arrow,
}
