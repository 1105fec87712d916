"""Detects lines of label TAB text, where `data.labels` is null."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from uncollapse.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from uncollapse.data.blocks import Source


@dataclass(frozen=True)
class TabCounts:
    """Counts over the lines of a split that are not blank.

    lines: all. parted: those with text on both sides of a TAB. one_word: parted lines with one word
    before the TAB. first, first_without: the first line that is parted, and that is not.
    """

    lines: int = 0
    parted: int = 0
    one_word: int = 0
    first: int | None = None
    first_without: int | None = None

    @classmethod
    def of(cls, texts: "pa.Array", before: int, any_tab: bool = True) -> "TabCounts":
        """The counts of lines [n] that follow `before` others."""
        import pyarrow.compute as pc

        def matching(pattern: str) -> np.ndarray:
            return (
                pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False).astype(bool)
            )

        filled = matching(r"\S")
        # without a TAB in the block, the two regular expressions would only cost time
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

        TABs that follow several words, in at most half of the lines, count as white space.
        """
        # one word before a TAB looks like a label; several words look like text with a TAB in it
        if not self.one_word and 2 * self.parted <= self.lines:
            return
        options = (
            "data.labels=true if they are label TAB text, data.labels=false if a TAB is white space"
        )
        if self.first_without is None:
            raise InputError(
                f"{source.where}: every line has a TAB, as lines of label and text have; set "
                f"{options}, or data.format=tsv if the "
                "first line is a header"
            )
        assert self.first is not None
        # the two kinds of lines first differ at the later of their first occurrences
        different = max(self.first, self.first_without)
        how = (
            "has a TAB, as lines of label and text have"
            if different == self.first
            else "has no TAB between label and text"
        )
        raise InputError(
            f"{source.place(different)}: partly labelled: this line {how}, unlike those before it "
            f"({self.parted:,} of {self.lines:,} "
            f"lines have one); correct the file, or set {options}"
        )
