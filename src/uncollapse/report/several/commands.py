"""Commands that would answer what several studies leave open."""

from collections.abc import Iterable, Sequence

from uncollapse.report.answers.answer import LEVELS_TYPED, MOST_HEADS_TYPED, sweep_command
from uncollapse.report.several.columns import Column, Comparison, Row


def vary_command(column: Column, heads: Iterable[str], words: str) -> str:
    """The command of a column's first run, for a few other heads."""
    return sweep_command(column.runs, list(dict.fromkeys(heads))[:MOST_HEADS_TYPED], words)


def missing_command(comparison: Comparison) -> str:
    """The command that runs, in the study that lacks most heads, those of the others."""
    rows = [row for row in comparison.rows if None in row.groups] or comparison.single
    heads = [row for row in rows if row.slot != "baseline" and not row.key.settings]
    lacking = [
        list(dict.fromkeys(row.key.head for row in heads if row.groups[i] is None))
        for i in range(len(comparison.columns))
    ]
    most = max(range(len(lacking)), key=lambda i: len(lacking[i]))
    return vary_command(comparison.columns[most], lacking[most], "seed=0,1,2")


def seeds_command(column: Column, rows: Sequence[Row]) -> str:
    """The command that adds two seeds to the heads of a column."""
    place = next(row for row in rows).groups
    heads = ["plain", *(row.key.head for row in rows)] if place else []
    return vary_command(column, heads, "seed=1,2")


def frontier_command(column: Column, rows: Sequence[Row]) -> str:
    """The command that runs heads at three values of their knobs."""
    heads = [row.key.head for row in rows if row.key.knobs]
    return vary_command(column, heads, f"level={LEVELS_TYPED} seed=0,1,2")
