"""The tables of a report: numbers for csv, and the same rows as text for readers."""

from typing import NamedTuple

import pandas as pd


class Table(NamedTuple):
    """`numbers` becomes the csv; `text` becomes Markdown, LaTeX, the page and the terminal."""

    name: str
    title: str
    numbers: pd.DataFrame
    text: pd.DataFrame
    optional: bool = False  # without files if it is empty


def build_tables(runs: pd.DataFrame) -> list[Table]:
    from uncollapse.report.tables.frontier import frontier_gap_table, frontier_table
    from uncollapse.report.tables.nll_by_k import nll_by_k_table
    from uncollapse.report.tables.paired import paired_table
    from uncollapse.report.tables.rank_agreement import rank_agreement_table
    from uncollapse.report.tables.rules import rules_table
    from uncollapse.report.tables.runs import runs_table
    from uncollapse.report.tables.samples import samples_table
    from uncollapse.report.tables.summary import summary_table

    return [
        summary_table(runs),
        paired_table(runs),
        frontier_table(runs),
        frontier_gap_table(runs),
        nll_by_k_table(runs),
        rank_agreement_table(runs),
        rules_table(runs),
        samples_table(runs),
        runs_table(runs),
    ]
