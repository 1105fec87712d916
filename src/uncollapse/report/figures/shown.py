"""A figure as it stands on the page, with its files."""

from collections.abc import Mapping
from typing import NamedTuple

COLUMN_END = "_column"  # of the names of files for one column


class Shown(NamedTuple):
    """A figure of the page with its files by name; `missing`: why it could not be drawn.

    narrow: why it has no file for one column. picture: as a PNG, for the page; empty for a figure
    that the page draws itself (`on_page`).
    """

    name: str
    title: str
    caption: str = ""
    missing: str = ""
    files: Mapping[str, bytes] = {}
    narrow: str = ""
    picture: bytes = b""
    on_page: bool = False

    @property
    def has_column(self) -> bool:
        """Whether there is a file for one column."""
        return name_file(self.name, "column") in self.files


def name_file(name: str, width: str) -> str:
    """The name of the file of a figure in one of the widths."""
    return f"{name}{COLUMN_END if width == 'column' else ''}.pdf"
