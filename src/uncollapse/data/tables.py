"""Columns of text from JSON, CSV, TSV, Parquet and Arrow files.

They are streamed into an Arrow file on disk, which `datasets` maps into memory. Values are read
unchanged, or refused. (The loaders of `datasets` guess: a CSV cell NA becomes null, a row with too
many cells is shifted, a JSON column of strings and numbers is rewritten as JSON.)
"""

import csv
import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uncollapse.data.formats import read_beginning
from uncollapse.data.inspection import (
    DELIMITERS,
    HEAD_BYTES,
    is_table,
    read_cells,
)
from uncollapse.data.json_tables import read_json
from uncollapse.data.packed import detect_compression, open_packed
from uncollapse.data.table_columns import (
    ROWS_AT_ONCE,
    check_columns,
)
from uncollapse.errors import InputError

if TYPE_CHECKING:
    import _csv

    import datasets
    import pyarrow as pa


def read_table(
    path: Path, format: str, columns: Sequence[str], label: str | None, scratch: Path
) -> "datasets.Dataset":
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
        # read one batch ahead: its schema is needed before anything can be written
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
    # the metadata of the columns may be damaged, or written by another version of `datasets`
    except Exception as error:
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


# ---------------------------------------------------------------- CSV and TSV


def read_csv(
    path: Path, wanted: Sequence[str], label: str | None, scratch: Path, tabs: bool = False
) -> Iterator["pa.RecordBatch"]:
    """Rows of unchanged cells, all of them strings; each must have as many as the header."""
    import pyarrow as pa

    # the csv module's default limit of 128 KB is less than some documents
    csv.field_size_limit(sys.maxsize)
    dialect = (
        choose_tab_dialect(path)
        if tabs
        else {"delimiter": find_delimiter(path, wanted), "quoting": csv.QUOTE_MINIMAL}
    )
    with open_packed(path) as (file, _):
        # newline="" leaves line breaks within quoted cells to the csv module
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
            # in chunks, since a list of all rows would take many times the size of the file
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


def check_cells(rows: "_csv.Reader", header: Sequence[str], path: Path) -> Iterator[list[str]]:
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
    # the last line may be cut off where reading stopped
    return lines[:-1] if len(head) == HEAD_BYTES and len(lines) > 1 else lines


def find_delimiter(path: Path, wanted: Sequence[str]) -> str:
    """The delimiter under which the header has the wanted columns.

    If there is none: the one that gives the header the most cells, a comma first.
    """
    first = next((line for line in read_first_lines(path) if line.strip()), "")
    # parsed by the csv module, since a quoted name may contain a delimiter
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


def read_tsv(
    path: Path, wanted: Sequence[str], label: str | None, scratch: Path
) -> Iterator["pa.RecordBatch"]:
    return read_csv(path, wanted, label, scratch, tabs=True)


# ---------------------------------------------------------------- Parquet and Arrow


def unpack(path: Path, scratch: Path) -> Path:
    """The file itself, or a decompressed copy in `scratch`: a file that can be sought in."""
    # Parquet and Arrow readers seek, which a decompressing stream cannot
    if not detect_compression(path):
        return path
    with open_packed(path) as (file, _), (scratch / "unpacked").open("wb") as out:
        shutil.copyfileobj(file, out)
    return scratch / "unpacked"


def read_parquet(
    path: Path, wanted: Sequence[str], label: str | None, scratch: Path
) -> Iterator["pa.RecordBatch"]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(unpack(path, scratch)) as file:
            schema = file.schema_arrow
            check_columns(path, schema.names, wanted, label)
            # only the wanted columns are read, with the metadata that names their classes
            kept = pa.schema([schema.field(name) for name in wanted], schema.metadata)
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(wanted)):
                yield with_metadata(batch.select(list(wanted)), kept)
    except OSError as error:
        raise InputError(
            f"{path}: a damaged Parquet file ({str(error).splitlines()[0]})"
        ) from error


def read_arrow(
    path: Path, wanted: Sequence[str], label: str | None, scratch: Path
) -> Iterator["pa.RecordBatch"]:
    """Files and streams of Arrow, and Feather files."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(unpack(path, scratch))) as file:
            # Feather files begin with ARROW1 as well; a stream has no magic number
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


def with_metadata(batch: "pa.RecordBatch", schema: "pa.Schema") -> "pa.RecordBatch":
    """A batch with the metadata of its set, in which `datasets` keeps the names of classes.

    An Arrow error for text that is not UTF-8.
    """
    import pyarrow as pa

    # Arrow files may hold anything; the check for UTF-8 is made here
    batch.validate(full=True)
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema)


TABLE_READERS = {
    "json": read_json,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
    "arrow": read_arrow,
}
