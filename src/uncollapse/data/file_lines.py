"""A file of one sentence a line, as blocks of lines."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uncollapse.data.blocks import BLOCK_BYTES
from uncollapse.data.packed import open_packed
from uncollapse.data.tab_counts import TabCounts
from uncollapse.data.table_columns import LABEL_NAMES, TEXT_NAMES
from uncollapse.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Lines:
    """A file of one sentence a line, plain or compressed, UTF-8.

    With `labelled` a line is label TAB text; None: unknown, and lines that look labelled are
    refused. chosen: the lines that are used, in increasing order (None: all).
    """

    path: Path
    labelled: bool | None = False
    chosen: np.ndarray | None = None
    classes: None = None

    @property
    def where(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def place(self, number: int) -> str:
        return self.place_of_line(number if self.chosen is None else int(self.chosen[number]))

    def place_of_line(self, line: int) -> str:
        """The name in messages of a line of the file (from 0)."""
        return f"{self.path}, line {line + 1}"

    def count_rows(self) -> int:
        """The number of lines, used or not. InputError for a file that is unreadable or empty."""
        count, ended = 0, True
        with open_packed(self.path) as (file, _):
            while read := file.read(BLOCK_BYTES):
                count, ended = count + read.count(b"\n"), read.endswith(b"\n")
        count += not ended  # the last line need not end in a line break
        if not count:
            raise InputError(f"{self.path}: the file is empty")
        return count

    def blocks(self, size: int) -> Iterator["LineBlock"]:
        """InputError for a file that is unreadable, damaged or blank."""
        # rest: the beginning of a line whose end has not been read yet
        lines, blank, rest = 0, True, bytearray()
        with open_packed(self.path) as (file, raw):
            while read := file.read(size):
                # a block ends at a line end; the rest of the read bytes begins the next one
                cut = read.rfind(b"\n") + 1
                rest += read[:cut]
                if not cut:  # the middle of a line that is longer than a block
                    rest += read
                    continue
                block = self.block(lines, bytes(rest), raw.tell())
                lines, blank, rest = (
                    lines + block.data.count(b"\n"),
                    blank and not block.data.strip(),
                    bytearray(),
                )
                yield block
                rest += read[cut:]
            if rest:
                yield self.block(lines, bytes(rest), raw.tell())
        # `rest` is the last line, if the file does not end in a line break
        if blank and not rest.strip():
            raise InputError(f"{self.path}: the file is empty")

    def block(self, start: int, data: bytes, end: int) -> "LineBlock":
        """The lines of `data`, from line `start` of the file on."""
        data = data.removeprefix(BOM) if start == 0 else data
        if self.chosen is None:
            return LineBlock(self, start, data, end, start)
        # of its own type, or numpy would convert all of it for each block
        stop = start + data.count(b"\n") + (not data.endswith(b"\n"))
        low, high = np.searchsorted(self.chosen, np.array([start, stop], self.chosen.dtype))
        return LineBlock(self, int(low), data, end, start, self.chosen[low:high] - start)


@dataclass(frozen=True)
class LineBlock:
    """Complete lines of a file; `first`: number of used lines before them, `start`: of all lines.

    chosen: which lines of the block are used, counted from 0 (None: all).
    """

    source: Lines
    first: int
    data: bytes
    end: int
    start: int
    chosen: np.ndarray | None = None

    def columns(self) -> tuple["pa.Array", "pa.Array | None"]:
        import pyarrow as pa

        lines = self.lines()
        # all lines are checked, and then those of other splits are dropped
        lines = lines if self.chosen is None else lines.take(pa.array(self.chosen))
        return self.split_labels(lines) if self.source.labelled else (lines, None)

    def tabs(self, texts: "pa.Array") -> TabCounts | None:
        if self.source.labelled is not None:
            return None
        return TabCounts.of(texts, self.first, b"\t" in self.data)

    def lines(self) -> "pa.Array":
        """The lines with their line ends, as Arrow strings that share the bytes of the block."""
        import pyarrow as pa

        if b"\0" in self.data:
            place = self.place_of(self.data.index(b"\0"))
            raise InputError(f"{place}: binary data (a zero byte), not text")
        # Arrow takes the byte buffer as it is: only the offsets of the lines are computed
        ends = np.flatnonzero(np.frombuffer(self.data, np.uint8) == ord("\n")) + 1
        # a file need not end in a line break
        last = [] if self.data.endswith(b"\n") else [len(self.data)]
        offsets = np.concatenate([[0], ends, last]).astype(np.int64)
        lines = pa.LargeStringArray.from_buffers(
            len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(self.data)
        )
        try:
            # checks UTF-8 in one pass; Python decodes only to find the position of a fault
            lines.validate(full=True)
        except pa.ArrowInvalid:
            try:
                self.data.decode()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{self.place_of(error.start)}: not UTF-8 (byte "
                    f"0x{self.data[error.start]:02x}); convert the file first"
                ) from error
            raise
        return lines

    def place_of(self, byte: int) -> str:
        """The name in messages of the line that holds a byte."""
        return self.source.place_of_line(self.start + self.data[:byte].count(b"\n"))

    def split_labels(self, lines: "pa.Array") -> tuple["pa.Array", "pa.Array"]:
        """label TAB text -> (texts, labels).

        InputError names the first line without a TAB, or with nothing before it.
        """
        import pyarrow.compute as pc

        # the text itself may contain further TABs
        parts = pc.split_pattern(lines, "\t", max_splits=1)
        complete = pc.equal(pc.list_value_length(parts), 2).to_numpy(zero_copy_only=False)
        if not complete.all():
            # argmin of booleans is the position of the first False
            place = self.source.place(self.first + int(np.argmin(complete)))
            raise InputError(f"{place}: no TAB between label and text (data.labels=true)")
        self.check_header(lines)
        labels, texts = (
            pc.utf8_trim_whitespace(pc.list_element(parts, 0)),
            pc.list_element(parts, 1),
        )
        empty = pc.equal(pc.utf8_length(labels), 0).to_numpy(zero_copy_only=False)
        if empty.any():
            place = self.source.place(self.first + int(np.argmax(empty)))
            raise InputError(
                f"{place}: nothing before the TAB, where the label belongs (data.labels=true)"
            )
        return texts, labels

    def check_header(self, lines: "pa.Array") -> None:
        """InputError for a first line of column names."""
        begins = self.start == 0 and len(lines) and (self.chosen is None or self.chosen[0] == 0)
        cells = [cell.strip().lower() for cell in lines[0].as_py().split("\t")] if begins else []
        # both kinds of names, since a sentence may well begin with the word "text" or "label"
        if {*cells} & {*LABEL_NAMES} and {*cells} & {*TEXT_NAMES}:
            raise InputError(
                f"{self.source.place(0)}: a header, not a sentence; set data.format=tsv "
                "data.column=NAME data.label_column=NAME"
            )
