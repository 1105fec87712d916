"""The format of a file, recognised by its name and by its content.

Where the two disagree, the file is refused with the option that reads it.
"""

from pathlib import Path

from uncollapse.data.inspection import (
    HEAD_BYTES,
    HEADLESS,
    STRINGS,
    Inspection,
    inspect_head,
    name_binary,
)
from uncollapse.data.packed import open_packed, strip_packed_ending
from uncollapse.data.table_columns import TEXT_NAMES, guess_column
from uncollapse.errors import InputError

FILE_FORMATS = ("auto", "text", "json", "csv", "tsv", "parquet", "arrow")
FORMAT_ENDINGS = {
    "text": (".txt",),
    "json": (".jsonl", ".json", ".ndjson"),
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather"),
}
FORMAT_BY_ENDING = {ending: name for name, endings in FORMAT_ENDINGS.items() for ending in endings}
TITLES = {
    "text": "plain text",
    "json": "JSON objects",
    "csv": "a CSV table",
    "tsv": "a TSV table",
    "parquet": "a Parquet file",
    "arrow": "an Arrow file",
}
TABLES = ("csv", "tsv")


def recognise_format(path: Path, asked: str, column: str) -> str:
    """The format of a file: `asked`, or with "auto" that of its name, or else that of its content.

    InputError where the content looks like another format. `column`: the column that would be read.
    """
    head, seen = read_beginning(path)
    named = (
        FORMAT_BY_ENDING.get(Path(strip_packed_ending(path)).suffix.lower())
        if asked == "auto"
        else asked
    )
    # binary content is refused under any name, before the formats are compared
    if binary := name_binary(head):
        raise InputError(f"{path}: this is {binary}; allowed are {list_allowed_formats()}")
    if not head.strip():
        return named or "text"  # an empty file, which its reader refuses
    if asked == "text":
        # a user who insists on plain text gets it, unless the file certainly holds something else
        if seen.format in ("parquet", "arrow"):
            raise InputError(describe_mismatch(path, "text", seen, column))
        return asked
    # rows of strings, or without a header, are left to the reader of a file named as a table
    if seen.foreign is not None and not (named in TABLES and seen.foreign in (STRINGS, HEADLESS)):
        raise InputError(
            f"{path}: this is {seen.foreign}; allowed are {list_allowed_formats()} "
            "(data.format=text reads it as plain text)"
        )
    # content that fits any table: the reader checks the columns
    if named in TABLES and seen.format in (None, *TABLES):
        return named
    if named is not None and named != (seen.format or "text"):
        raise InputError(describe_mismatch(path, named, seen, column))
    return named or seen.format or "text"


def describe_mismatch(path: Path, format: str, seen: Inspection, column: str) -> str:
    """The message for a file that looks like another format than it would be read as."""
    found = seen.format or "text"
    option = f"data.format={found}"
    if found != "text":
        guess = guess_column(column, seen.columns, TEXT_NAMES) or seen.longest or column
        option += f" data.column={guess}"
    return (
        f"{path}: looks like {TITLES[found]}, and would be read as {TITLES[format]}; set {option}"
    )


def list_allowed_formats() -> str:
    return (
        "plain text in UTF-8, JSON Lines, CSV, TSV, Parquet and Arrow files, "
        "plain or .gz, .xz, .bz2, .zst"
    )


def read_beginning(path: Path) -> tuple[bytes, Inspection]:
    """The first bytes of a file, decompressed, and their inspection."""
    with open_packed(path) as (file, _):
        head = b""
        # a decompressor may return fewer bytes than requested
        while len(head) < HEAD_BYTES and (read := file.read(HEAD_BYTES - len(head))):
            head += read
    return head, inspect_head(head, complete=len(head) < HEAD_BYTES)
