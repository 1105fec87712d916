"""Raw text in blocks of sentences, so that no corpus has to fit in memory.

A source is one split (train, valid or test): a file of lines, or the rows of a table. It yields
blocks in order. The work is done in a block's `columns`, on any
thread; errors name the line or row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from uncollapse.data.formats import LABEL_NAMES, TEXT_NAMES
from uncollapse.data.packed import PACKED_ENDINGS, open_packed
from uncollapse.data.words import separate_tokens
from uncollapse.errors import InputError

# Approximate bytes of text in a block. The work on it takes about ten times as much memory.
BLOCK_BYTES = 1 << 22
SPLIT_NAMES = {
    "train": ("train",),
    "valid": ("valid", "validation", "dev", "val"),
    "test": ("test",),
}
ROW_BYTES = 256  # assumed size of a row of a hub set
BOM = b"\xef\xbb\xbf"


class Block(Protocol):
    """Consecutive sentences of a source.

    first: number of sentences before them. end: position in the source where they end, on the scale
    of its `size`.
    """

    @property
    def first(self) -> int: ...

    @property
    def end(self) -> int: ...

    def columns(self) -> tuple[Any, Any]:
        """Arrow strings: the texts [n], and the labels [n] or None. InputError for faults."""

    def tabs(self, texts: Any) -> "TabCounts | None":
        """Counts of texts that look like label TAB text; None where the user has said."""


class Source(Protocol):
    """One split of a corpus.

    where: its name in messages. size: its length on the scale of Block.end. classes: the classes of
    its labels, if known in advance.
    """

    @property
    def where(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def classes(self) -> tuple[str, ...] | None: ...

    def blocks(self, size: int) -> Iterator[Block]:
        """All sentences in order, about `size` bytes at a time."""
        ...

    def place(self, number: int) -> str:
        """The name in messages of sentence `number` (from 0)."""
        ...


# ---------------------------------------------------------------- files


def find_part(
    folder: Path, split: str, endings: Sequence[str], advice: str, others: Sequence[str] = ()
) -> Path:
    """The file of a split in a folder, under any of its usual names.

    Files with one of `endings` come first, then those with one of `others`. InputError, with
    `advice` at its end, where there is none, and where there are several with different endings.
    """
    if not folder.is_dir():
        raise InputError(
            f"data.dir={folder}: no such "
            f"folder{'' if folder.is_absolute() else f' in {Path.cwd()}'}{advice}"
        )
    files = list_files(folder, split, endings) or list_files(folder, split, others)
    if not files:
        names = ", ".join(f"{alias}{endings[0]}" for alias in SPLIT_NAMES[split])
        more = (
            f", or with {', '.join(endings[1:])} in place of {endings[0]}"
            if len(endings) > 1
            else ""
        )
        raise InputError(
            f"data.dir={folder}: no file for the {split} part; looked for {names}{more}, plain or "
            f"{', '.join(PACKED_ENDINGS)}{advice}"
        )
    if len(files) > 1:
        raise InputError(
            f"data.dir={folder}: several files for the {split} part, "
            f"{', '.join(file.name for file in files)}; "
            "say which with data.format, or give data.train, data.valid and data.test in place of "
            "data.dir"
        )
    return files[0]


def list_files(folder: Path, split: str, endings: Sequence[str]) -> list[Path]:
    """The file of a split with each ending, where there is one; plain before compressed."""
    names = [
        [
            f"{alias}{ending}{packed}"
            for alias in SPLIT_NAMES[split]
            for packed in ("", *PACKED_ENDINGS)
        ]
        for ending in endings
    ]
    found = [
        next((folder / name for name in own if (folder / name).is_file()), None) for own in names
    ]
    return [file for file in found if file is not None]


@dataclass(frozen=True)
class TabCounts:
    """Counts over the lines of a split that are not blank.

    lines: all. parted: with something on both sides of a TAB. one_word: of these, with one word
    before the TAB. first, first_without: the first line that is parted, and that is not.
    """

    lines: int = 0
    parted: int = 0
    one_word: int = 0
    first: int | None = None
    first_without: int | None = None

    @classmethod
    def of(cls, texts: Any, before: int, any_tab: bool = True) -> "TabCounts":
        """The counts of lines [n] that follow `before` others."""
        import pyarrow.compute as pc

        def matching(pattern: str) -> np.ndarray:
            return (
                pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False).astype(bool)
            )

        filled = matching(r"\S")
        none = np.zeros_like(filled)
        parted, one_word = (
            map(matching, (r"^[^\t]*\S[^\t]*\t.*\S", r"^ *\S+ *\t.*\S"))
            if any_tab
            else (none, none)
        )
        without = filled & ~parted
        places = [
            before + int(np.argmax(found)) if found.any() else None for found in (parted, without)
        ]
        return cls(int(filled.sum()), int(parted.sum()), int(one_word.sum()), *places)

    def and_then(self, after: "TabCounts | None") -> "TabCounts":
        """The counts of these lines and of those after them."""
        if after is None:
            return self
        return TabCounts(
            self.lines + after.lines,
            self.parted + after.parted,
            self.one_word + after.one_word,
            after.first if self.first is None else self.first,
            after.first_without if self.first_without is None else self.first_without,
        )

    def check(self, source: "Source") -> None:
        """InputError where some or all lines look labelled.

        A TAB in few lines, after several words, counts as white space.
        """
        if not self.one_word and 2 * self.parted <= self.lines:
            return
        options = (
            "data.labels=true if they are label TAB text, data.labels=false if a TAB is white space"
        )
        if self.first_without is None:
            raise InputError(
                f"{source.where}: every line has a TAB, as lines of label and text have; say "
                f"{options}, or data.format=tsv if the "
                "first line is a header"
            )
        assert self.first is not None
        different = max(self.first, self.first_without)
        how = (
            "has a TAB, as lines of label and text have"
            if different == self.first
            else "has no TAB between label and text"
        )
        raise InputError(
            f"{source.place(different)}: half labelled: this line {how}, unlike those before it "
            f"({self.parted:,} of {self.lines:,} "
            f"lines have one); mend the file, or say {options}"
        )


@dataclass(frozen=True)
class Lines:
    """A file of one sentence a line, plain or compressed, UTF-8.

    With `labelled` a line is label TAB text; None: unknown, and lines that look labelled are
    refused.
    """

    path: Path
    labelled: bool | None = False
    classes: None = None

    @property
    def where(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def place(self, number: int) -> str:
        return f"{self.path}, line {number + 1}"

    def blocks(self, size: int) -> Iterator["LineBlock"]:
        """InputError for a file that is unreadable, damaged or blank."""
        lines, blank, rest = 0, True, bytearray()
        with open_packed(self.path) as (file, raw):
            while read := file.read(size):
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
        if blank and not rest.strip():
            raise InputError(f"{self.path}: the file is empty")

    def block(self, first: int, data: bytes, end: int) -> "LineBlock":
        return LineBlock(self, first, data.removeprefix(BOM) if first == 0 else data, end)


@dataclass(frozen=True)
class LineBlock:
    """Complete lines of a file; `first`: number of lines before them."""

    source: Lines
    first: int
    data: bytes
    end: int

    def columns(self) -> tuple[Any, Any]:
        lines = self.lines()
        return self.parted(lines) if self.source.labelled else (lines, None)

    def tabs(self, texts: Any) -> TabCounts | None:
        if self.source.labelled is not None:
            return None
        return TabCounts.of(texts, self.first, b"\t" in self.data)

    def lines(self) -> Any:
        """The lines with their line ends, as Arrow strings over the same bytes."""
        import pyarrow as pa

        if b"\0" in self.data:
            place = self.place_of(self.data.index(b"\0"))
            raise InputError(f"{place}: binary data (a zero byte), not text")
        ends = np.flatnonzero(np.frombuffer(self.data, np.uint8) == ord("\n")) + 1
        last = [] if self.data.endswith(b"\n") else [len(self.data)]
        offsets = np.concatenate([[0], ends, last]).astype(np.int64)
        lines = pa.LargeStringArray.from_buffers(
            len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(self.data)
        )
        try:
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
        return self.source.place(self.first + self.data[:byte].count(b"\n"))

    def parted(self, lines: Any) -> tuple[Any, Any]:
        """label TAB text -> (texts, labels).

        InputError names the first line without a TAB, or with nothing before it.
        """
        import pyarrow.compute as pc

        parts = pc.split_pattern(lines, "\t", max_splits=1)
        complete = pc.equal(pc.list_value_length(parts), 2).to_numpy(zero_copy_only=False)
        if not complete.all():
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
                f"{place}: nothing before the TAB, where the label stands (data.labels=true)"
            )
        return texts, labels

    def check_header(self, lines: Any) -> None:
        """InputError for a first line that names columns."""
        cells = (
            [cell.strip().lower() for cell in lines[0].as_py().split("\t")]
            if self.first == 0 and len(lines)
            else []
        )
        if {*cells} & {*LABEL_NAMES} and {*cells} & {*TEXT_NAMES}:
            raise InputError(
                f"{self.source.place(0)}: a header and no sentence; say data.format=tsv "
                "data.column=NAME data.label_column=NAME"
            )


# ---------------------------------------------------------------- tables


@dataclass(frozen=True)
class TableRows:
    """The rows of an Arrow table: `columns` joined by a space, and the class in `label`, if any.

    names: the meaning of the numbers in the label column (None: it holds text). raw: texts are not
    tokenised yet. chosen: the rows that are used, in increasing order (None: all). option: the
    config key that names the label column.
    """

    where: str
    table: Any
    columns: tuple[str, ...]
    label: str | None = None
    names: tuple[str, ...] | None = None
    raw: bool = False
    chosen: np.ndarray | None = None
    option: str = "data.label"

    @property
    def classes(self) -> tuple[str, ...] | None:
        return self.names

    @property
    def size(self) -> int:
        return self.table.num_rows

    def place(self, number: int) -> str:
        row = number if self.chosen is None else int(self.chosen[number])
        return f"{self.where}, row {row + 1}"

    def blocks(self, size: int) -> Iterator["TableBlock"]:
        import pyarrow as pa

        rows, first = max(1, size // ROW_BYTES), 0
        for start in range(0, self.size, rows):
            part, stop = self.table.slice(start, rows), min(start + rows, self.size)
            if self.chosen is not None:
                low, high = np.searchsorted(self.chosen, [start, stop])
                part = part.take(pa.array(self.chosen[low:high] - start))
            yield TableBlock(self, first, part, stop)
            first += part.num_rows


@dataclass(frozen=True)
class TableBlock:
    """Some rows of a table; `first`: number of used rows before them."""

    source: TableRows
    first: int
    table: Any
    end: int

    def columns(self) -> tuple[Any, Any]:
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = [
            pc.fill_null(self.column(name).cast(pa.large_string()), "")
            for name in self.source.columns
        ]
        texts = (
            columns[0]
            if len(columns) == 1
            else pc.binary_join_element_wise(*columns, pa.scalar(" ", pa.large_string()))
        )
        if self.source.raw:
            texts = separate_tokens(texts)
        return texts, None if self.source.label is None else self.labels()

    def tabs(self, texts: Any) -> None:
        """None: a table states where its labels are."""

    def column(self, name: str) -> Any:
        import pyarrow as pa

        column = self.table.column(name)
        return column.combine_chunks() if column.num_chunks else pa.array([], column.type)

    def labels(self) -> Any:
        """The names of the classes. InputError names the first row without one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        assert self.source.label is not None
        labels, names = self.column(self.source.label), self.source.names
        missing = pc.is_null(labels)
        if names is not None:  # the hub's mark of a missing class is -1
            missing = pc.or_kleene(
                missing, pc.or_(pc.less(labels, 0), pc.greater_equal(labels, len(names)))
            )
        else:
            labels = pc.utf8_trim_whitespace(labels.cast(pa.large_string()))
            missing = pc.or_kleene(missing, pc.equal(labels, ""))
        missing = missing.to_numpy(zero_copy_only=False)
        if missing.any():
            place, name = self.source.place(self.first + int(np.argmax(missing))), self.source.label
            raise InputError(
                f"{place}: no class in the column {name} ({self.source.option}={name})"
            )
        return labels if names is None else pa.array(names, pa.large_string()).take(labels)
