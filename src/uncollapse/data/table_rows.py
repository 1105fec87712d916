"""The rows of an Arrow table as blocks of sentences."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from uncollapse.data.words import separate_tokens
from uncollapse.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


ROW_BYTES = 256  # assumed size of a row of a hub set; it decides how many rows make a block


@dataclass(frozen=True)
class TableRows:
    """The rows of an Arrow table: `columns` joined by a space, and the class in `label`, if any.

    names: the classes of the numbers in the label column (None: it holds text). raw: texts are not
    tokenised yet. chosen: the rows that are used, in increasing order (None: all). option: the
    config key that names the label column.
    """

    where: str
    table: "pa.Table"
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

    def count_rows(self) -> int:
        return self.table.num_rows

    def place(self, number: int) -> str:
        row = number if self.chosen is None else int(self.chosen[number])
        return f"{self.where}, row {row + 1}"

    def blocks(self, size: int) -> Iterator["TableBlock"]:
        import pyarrow as pa

        # the size is in bytes; the rows of a table are counted
        rows, first = max(1, size // ROW_BYTES), 0
        for start in range(0, self.size, rows):
            part, stop = self.table.slice(start, rows), min(start + rows, self.size)
            if self.chosen is not None:
                # positions in this slice of the rows that are used; `chosen` is sorted
                # of its own type, or numpy would convert all of it for each block
                ends = np.array([start, stop], self.chosen.dtype)
                low, high = np.searchsorted(self.chosen, ends)
                part = part.take(pa.array(self.chosen[low:high] - start))
            yield TableBlock(self, first, part, stop)
            first += part.num_rows


@dataclass(frozen=True)
class TableBlock:
    """Some rows of a table; `first`: number of used rows before them."""

    source: TableRows
    first: int
    table: "pa.Table"
    end: int

    def columns(self) -> tuple["pa.Array", "pa.Array | None"]:
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = [
            # a null text counts as empty, and is skipped and counted later
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

    def tabs(self, texts: "pa.Array") -> None:
        """None: the labels of a table are in a column of their own."""

    def column(self, name: str) -> "pa.Array":
        import pyarrow as pa

        column = self.table.column(name)
        return column.combine_chunks() if column.num_chunks else pa.array([], column.type)

    def labels(self) -> "pa.Array":
        """The names of the classes. InputError names the first row without one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        assert self.source.label is not None
        labels, names = self.column(self.source.label), self.source.names
        # Kleene logic, because null < 0 is null
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
