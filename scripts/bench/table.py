"""The tables that the benchmark prints."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from rich.console import Console
from rich.table import Table

TableRow = TypeVar("TableRow")

TABLE_WIDTH = 160  # columns, where the output is not a terminal


def print_table(
    title: str,
    corner: str,
    columns: Mapping[str, Callable[[TableRow], str]],
    rows: Mapping[str, TableRow],
) -> None:
    """One line per row; `columns` maps each heading to the function that writes its cell."""
    table = Table(title=title, title_justify="left")
    table.add_column(corner)
    for heading in columns:
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(write(row) for write in columns.values()))
    console = Console()
    Console(width=None if console.is_terminal else TABLE_WIDTH).print(table)
