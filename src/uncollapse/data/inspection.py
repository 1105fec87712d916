"""Guesses the format of a file from its beginning."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from uncollapse.data.packed import DECOMPRESSORS
from uncollapse.data.table_columns import HEADER_NAMES
from uncollapse.json_types import JsonObject

DELIMITERS = "\t,;|"
HEAD_BYTES = 1 << 20  # inspected bytes of a file
INSPECTED_LINES = 50  # at most so many of their lines
MANY_ROWS = 5  # so many rows hardly have equally many cells by chance

# descriptions of content that only a file named as a table may have
STRINGS = "JSON strings, one a line (needed: objects with the text)"
HEADLESS = "a table without a header (give it a first line of names, such as text,label)"

# (first bytes, description)
BINARY = (
    (b"PK\x03\x04", "a ZIP archive (.zip, .docx, .xlsx, .npz ...)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a", "a RAR archive"),
    (b"\x1f\x9d", "a file of `compress`"),
    (b"LZIP", "an lzip file"),
    (b"\x04\x22\x4d\x18", "an LZ4 file"),
    (b"%PDF-", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"\x7fELF", "a program"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    *((b"\x80" + bytes([version]), "a pickle") for version in range(2, 6)),
)

# (pattern at the beginning, description)
TEXTUAL = (
    (r"(?i:\s*<(!doctype\s+html|html|head|body)\b)", "a web page (HTML)"),
    (r"\s*<\?xml\b", "XML"),
    (r"\{\\rtf", "an RTF document"),
    (r"version https://git-lfs\.github\.com/spec", "a Git LFS pointer and not the file itself"),
    (
        r">[^\n]*\n([A-Z*-]{10,}|[ACGTUNacgtun]{4,})\r?\n",
        "FASTA (needed: one sequence a line, without headers)",
    ),
    (r"@[^\n]*\n[ACGTUNacgtun.]{4,}\r?\n\+", "FASTQ (needed: one sequence a line)"),
    (r"\{'[^'\n]*'\s*:", "Python dictionaries (JSON uses double quotes)"),
    (
        r'\s*\[\s*"(?:[^"\\\n]|\\.)*"\s*[],]',
        "JSON without objects (needed: objects with the text)",
    ),
    (r'(\s*"(?:[^"\\\n]|\\.)*"[ \t\r]*(\n|$)){2,}$', STRINGS),
    (
        r"(__label__\S[^\n]*(\n|$))+$",
        "fastText's format (data.labels=true reads label TAB text)",
    ),
)


@dataclass(frozen=True)
class Inspection:
    """The apparent format of the beginning of a file.

    format: one of FILE_FORMATS, or None (plain text, unless `foreign` names something else).
    columns: of a table or of JSON objects. longest: the column with the longest texts.
    """

    format: str | None = None
    columns: tuple[str, ...] = ()
    longest: str | None = None
    foreign: str | None = None


def name_binary(head: bytes) -> str | None:
    """A description of a binary file, by its first bytes; None for text."""
    # the magic number of a tar archive is not at the beginning
    if head[257:262] == b"ustar":
        return "a tar archive"
    packed = next(
        (
            name
            for magic, (name, _) in DECOMPRESSORS.items()
            if head.startswith(magic) and magic != b"BZh"
        ),
        None,
    )
    if packed:
        return f"a {packed} file compressed twice"
    return next((noun for magic, noun in BINARY if starts_with(head, magic)), None)


def starts_with(head: bytes, magic: bytes) -> bool:
    """Whether a file begins with a magic number.

    Text may begin with letters and digits alone, so such a number needs a zero byte as well.
    """
    return head.startswith(magic) and (b"\0" in head or not magic.isalnum())


def inspect_head(head: bytes, complete: bool) -> Inspection:
    """Recognise `head`; if it is not `complete`, its last line may be cut off."""
    if starts_with(head, b"PAR1"):
        return Inspection("parquet")
    if starts_with(head, b"ARROW1") or starts_with(head, b"\xff\xff\xff\xff"):
        return Inspection("arrow")
    # cut-off bytes at the end become replacement characters instead of an error
    text = head.decode(errors="replace").removeprefix("\ufeff")
    if "\n" not in text and text.strip().count("\r") > 0:
        return Inspection(foreign="text whose lines end in CR alone (end them in LF)")
    lines = text.splitlines(keepends=True)
    if not complete:
        lines = lines[:-1] or lines  # without the last line, which is cut off
    lines = lines[:INSPECTED_LINES]
    for pattern, noun in TEXTUAL:
        if re.match(pattern, "".join(lines)):
            return Inspection(foreign=noun)
    return inspect_json(text, lines) or inspect_table(lines) or Inspection()


def inspect_json(text: str, lines: Sequence[str]) -> Inspection | None:
    """Recognise objects, one a line or spread over lines, or an array of them."""
    # an array is inspected from its first object on
    start = (
        text.lstrip().removeprefix("[").lstrip() if re.match(r"\s*\[\s*\{", text) else text.lstrip()
    )
    first, filled = parse_leading_object(start), [line for line in lines if line.strip()]
    found = [*filter(None, map(parse_object, filled))]
    # more than half, since lines of prose may contain a single object
    if first or 2 * len(found) > len(filled):
        found = [first or {}, *found]
        texts = {
            key: len(value)
            for item in found
            for key, value in item.items()
            if isinstance(value, str)
        }
        columns = tuple(dict.fromkeys(key for item in found for key in item))
        return Inspection("json", columns, max(texts, key=lambda key: texts[key], default=None))
    longer = len(text) >= HEAD_BYTES // 2  # an object may be longer than the inspected bytes
    # names followed by a colon are enough, as the object is not complete
    if longer and re.match(r'\{\s*"(?:[^"\\]|\\.)*"\s*:', start):
        return Inspection("json", tuple(re.findall(r'[{,]\s*"((?:[^"\\]|\\.)*)"\s*:', start)[:20]))
    return None


def parse_object(line: str) -> JsonObject | None:
    """A line as an object; None for anything else, and for an empty one."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found else None


def parse_leading_object(text: str) -> JsonObject | None:
    """The object that a text begins with; None if there is none."""
    if not text.startswith("{"):
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return found or None


def inspect_table(lines: Sequence[str]) -> Inspection | None:
    """Recognise rows of equally many cells that are not prose.

    Either cells are quoted, or a header of names stands above: above numbers, with usual names,
    or above many rows without a space beside a delimiter. One column needs a usual name.
    """
    sentences = [line for line in lines[1:] if " " in line.strip()]
    if len(sentences) > 1 and lines[0].strip().strip('"').lower() in HEADER_NAMES:
        name = lines[0].strip().strip('"')
        return Inspection("csv", (name,), name)
    for delimiter in DELIMITERS:
        rows = read_cells(lines, delimiter, csv.QUOTE_MINIMAL)
        # tab-separated files often contain quotes that are not meant as such
        if not is_table(rows):
            rows = read_cells(lines, delimiter, csv.QUOTE_NONE) if delimiter == "\t" else []
        if not is_table(rows):
            continue
        header, body = rows[0], rows[1:]
        named = header[1:] if header[0] == "" else header  # a table's index may have no name
        space = "" if delimiter == "\t" else " "  # else label TAB text would pass for names
        # names are distinct and look like identifiers, which sentences rarely do
        names = len(set(header)) == len(header) and all(
            re.fullmatch(rf"[^\W\d][\w.{space}-]{{0,39}}", name) for name in named
        )
        several = len(body) > 1
        # without padding, because commas in prose are followed by a space
        many = len(body) >= MANY_ROWS and delimiter != "\t" and has_no_padding(rows)
        if many and not names and has_number_column(rows):
            return Inspection(foreign=HEADLESS)
        if (several and has_quoted_cells(lines, delimiter)) or (
            names and (has_usual_name(header) or many or (several and has_number_column(body)))
        ):
            format = "tsv" if delimiter == "\t" else "csv"
            return Inspection(format, tuple(header), find_longest_column(header, body))
    return None


def find_longest_column(header: Sequence[str], body: Sequence[Sequence[str]]) -> str | None:
    """The column with the most characters; None without a complete row."""
    columns = zip(*complete_rows(body, header), strict=True)
    sizes = {name: sum(map(len, column)) for name, column in zip(header, columns, strict=False)}
    return max(sizes, key=lambda name: sizes[name], default=None)


def read_cells(lines: Sequence[str], delimiter: str, quoting: Literal[0, 3]) -> list[list[str]]:
    """The rows that are not empty; none where quotes contradict the dialect.

    The last row may be cut off.
    """
    rows: list[list[str]] = []
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    try:
        rows += filter(None, reader)
    except csv.Error:
        # an error on the last line may come from the cut
        return rows if reader.line_num == len(lines) and len(rows) > 1 else []
    return rows


def is_table(rows: Sequence[Sequence[str]]) -> bool:
    """Whether rows are a header of several cells and rows of as many; the last may be cut."""
    if len(rows) < 2 or len(rows[0]) < 2:
        return False
    return all(len(row) == len(rows[0]) for row in rows[:-1]) and len(rows[-1]) <= len(rows[0])


def complete_rows(rows: Sequence[Sequence[str]], header: Sequence[str]) -> list[Sequence[str]]:
    return [row for row in rows if len(row) == len(header)]


def has_usual_name(header: Sequence[str]) -> bool:
    return any(name.lower() in HEADER_NAMES for name in header)


def has_quoted_cells(lines: Sequence[str], delimiter: str) -> bool:
    """Whether at least half of the lines have a quote where a cell begins or ends."""
    mark = re.escape(delimiter)
    found = [
        bool(re.search(rf'(^|{mark})"|"({mark}|\s*$)', line)) for line in lines if line.strip()
    ]
    return 2 * sum(found) >= len(found) > 0


def has_no_padding(rows: Sequence[Sequence[str]]) -> bool:
    """Whether no cell begins or ends in a space, as text after a comma of prose does."""
    return all(cell == cell.strip() for row in rows[:-1] for cell in row)


def has_number_column(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a column holds numbers only."""
    columns = zip(*complete_rows(rows, rows[0]), strict=True)
    return any(
        all(re.fullmatch(r"-?\d+([.]\d+)?", cell.strip()) for cell in column) for column in columns
    )
