"""Raw text in blocks of sentences, so that no corpus has to fit in memory.

A source is one split (train, valid or test): a file of lines, or the rows of a table. It yields
blocks in order. Parsing happens in a block's `columns`, which any thread may call; errors name the
line or row.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from uncollapse.data.tab_counts import TabCounts

if TYPE_CHECKING:
    import pyarrow as pa


# Approximate bytes of text in a block. The work on it takes about ten times as much memory.
BLOCK_BYTES = 1 << 22


class Block(Protocol):
    """Consecutive sentences of a source.

    first: number of sentences before them. end: position in the source where they end, on the scale
    of its `size`.
    """

    @property
    def first(self) -> int: ...

    @property
    def end(self) -> int: ...

    def columns(self) -> tuple["pa.Array", "pa.Array | None"]:
        """The texts [n] and the labels [n], or None, as Arrow strings. InputError for faults."""

    def tabs(self, texts: "pa.Array") -> "TabCounts | None":
        """Counts of texts that look like label TAB text; None where labels were configured."""


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
