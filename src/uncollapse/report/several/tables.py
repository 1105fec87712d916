"""The tables of a comparison: one per measure with its ranks, agreement, and the studies."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from uncollapse.metrics.catalogue import MISSING
from uncollapse.report.answers.answer import MINUS, format_interval
from uncollapse.report.notes import BIASED, CUT, CUT_MEANING, OPEN
from uncollapse.report.several.agreement import Agreement, compare_pairs
from uncollapse.report.several.agreement_answers import format_p, format_rho, name_pair
from uncollapse.report.several.answers import describe_samples
from uncollapse.report.several.columns import Comparison
from uncollapse.report.several.measures import Line, RankedMeasure, interval_of
from uncollapse.report.tables import Table
from uncollapse.report.text import capitalise, number_repeats

MARKS = {
    CUT: f"{CUT_MEANING}, in some runs",
    OPEN: "some runs had not converged",
    BIASED: "too few importance samples may explain much of the difference",
}
SIGNED = ("d_nll", "at_")  # names of measures that are differences begin so


class RankedCell(NamedTuple):
    """A value as text, and its rank; '' where it has none."""

    text: str
    rank: str


class MeasureRow(NamedTuple):
    """One head in the table of a measure."""

    name: str
    slot: str
    cells: list[RankedCell]


def list_rows(measure: RankedMeasure) -> list[MeasureRow]:
    """The heads with a value, by their mean rank; heads without a rank last."""
    lines = [line for line in measure.lines if any(found is not None for found in line.values)]
    return [
        MeasureRow(line.name, line.slot, make_ranked_cells(measure, line))
        for line in sorted(lines, key=lambda line: mean_rank(measure, line))
    ]


def mean_rank(measure: RankedMeasure, line: Line) -> tuple[bool, float, float]:
    """A sort key: heads that every study of theirs ranks first, by their mean rank and value."""
    ranks = [found[line.name] for found in measure.ranks if line.name in found]
    means = [values.mean() for values in line.values if values is not None]
    value = float(np.mean(means)) if means else np.inf
    rank = float(np.mean(ranks)) if ranks else np.inf
    return len(ranks) < line.count, rank, value if measure.lower else -value


def make_ranked_cells(measure: RankedMeasure, line: Line) -> list[RankedCell]:
    """The value of a head in each column, with its rank there."""
    sign = "+" if measure.name.startswith(SIGNED) else ""
    cells = []
    columns = zip(line.values, line.notes, line.marks, measure.ranks, strict=True)
    for values, note, marks, ranks in columns:
        mean, half = interval_of(values)
        number = format_interval(mean, half, sign)
        text = f"{note}{number} {marks}".rstrip() if np.isfinite(mean) else MISSING
        cells.append(RankedCell(text, str(ranks.get(line.name, ""))))
    return cells


def build_tables_of_studies(
    comparison: Comparison, measures: Sequence[RankedMeasure]
) -> list[Table]:
    """All tables, as files have them."""
    names = [column.name for column in comparison.columns]
    return [
        *(measure_table(measure, names) for measure in measures),
        agreement_table(comparison, measures),
        studies_table(comparison),
    ]


def measure_table(measure: RankedMeasure, names: Sequence[str]) -> Table:
    """One row per head: its value and rank in each study."""
    rows = list_rows(measure)
    text = pd.DataFrame(
        [
            [row.name, *(f"{text} [{rank}]" if rank else text for text, rank in row.cells)]
            for row in rows
        ],
        columns=["head", *rename_head(names)],
    )
    lines = {line.name: line for line in measure.lines}
    numbers = pd.DataFrame(
        [describe_line(measure, lines[row.name], names) for row in rows], dtype=object
    )
    return Table(measure.name, describe_measure(measure), numbers, text)


def describe_line(measure: RankedMeasure, line: Line, names: Sequence[str]) -> dict[str, object]:
    """The numbers of a row: mean, half-width, seeds and rank in each study."""
    found: dict[str, object] = {"head": line.name, "slot": line.slot}
    for i, name in enumerate(names):
        mean, half = interval_of(line.values[i])
        values = line.values[i]
        found |= {
            f"{name}_mean": mean,
            f"{name}_half": half,
            f"{name}_n": 0 if values is None else len(values),
            f"{name}_rank": measure.ranks[i].get(line.name, np.nan),
        }
    return found


def rename_head(names: Sequence[str]) -> list[str]:
    """Names of columns beside one that is called "head"."""
    return number_repeats(["head", *names])[1:]


def describe_measure(measure: RankedMeasure) -> str:
    """What the cells of a measure are, for the files and below its table."""
    what = {
        "d_nll": "nll minus plain's, paired by seed, at the settings that were run",
        "mi": "mutual information of code and example",
        "gap": "what decoding from another example's code costs (shuffled-z gap)",
    }.get(
        measure.name,
        f"nll minus plain's, paired by seed, where a head's code carries "
        f"{measure.title.partition(' at ')[2]}, interpolated along its frontier",
    )
    order = "lowest first" if measure.lower else "highest first"
    text = what if what.startswith("nll") else capitalise(what)
    return (
        f"{text}: nats, mean ± half-width of the 95 % t-interval, and rank ({order})."
        f"{describe_marks(measure)}"
    )


def describe_marks(measure: RankedMeasure) -> str:
    """What the marks of doubt in a table mean; '' without any."""
    used = "".join(mark for line in measure.lines for mark in line.marks)
    return "".join(f" {mark}: {meaning}." for mark, meaning in MARKS.items() if mark in used)


def agreement_table(comparison: Comparison, measures: Sequence[RankedMeasure]) -> Table:
    """Spearman's rho by each measure, of each pair of studies."""
    columns = comparison.columns
    found = {measure.name: compare_pairs(measure) for measure in measures}
    rows = [
        {"by": name, **pair._asdict()}
        | {"one": columns[pair.one].name, "other": columns[pair.other].name}
        for name, pairs in found.items()
        for pair in pairs
    ]
    text = pd.DataFrame(
        {
            "studies": [name_pair(comparison, pair) for pair in next(iter(found.values()))],
            **{
                measure.title: [format_cell_of(pair) for pair in found[measure.name]]
                for measure in measures
            },
        }
    )
    title = (
        "Spearman's rho between the rankings of two studies, over the heads that keep a code in "
        f"both: 1 for the same order, {MINUS}1 for the reverse. In parentheses the number of heads "
        "and p, two-sided and from permutations, not adjusted for the number of cells; the csv "
        "has 95 % intervals. Noise of the seeds lowers rho; in a study that is tied no head can "
        "be told from the first."
    )
    return Table("agreement", title, pd.DataFrame(rows), text)


def format_cell_of(pair: Agreement) -> str:
    """'0.70 (5 heads, p = 0.23)', with 'tied' where a study has no order."""
    heads = f"{pair.n} head{'s' * (pair.n != 1)}"
    if not np.isfinite(pair.rho):
        return f"{MISSING} ({heads})"
    tied = ", tied" if pair.tied else ""
    return f"{format_rho(pair.rho)} ({heads}, {format_p(pair.p)}{tied})"


def studies_table(comparison: Comparison) -> Table:
    """What each study is: runs, seeds, data, and how nll was estimated."""
    rows = []
    for column in comparison.columns:
        runs = column.runs
        opened = sum(OPEN in group.marks for group in column.groups.values())
        rows.append(
            {
                "study": column.name,
                "runs": f"{len(column.done)} of {len(runs)} done",
                "heads": str(runs["head"].nunique()),
                "groups": f"{runs['order'].nunique()}{f' ({opened} {OPEN})' if opened else ''}",
                "seeds": str(runs["seed"].nunique()),
                "nll": describe_samples(column) or MISSING,
                "data": clip(next((text for text in runs["data"] if text), "not recorded")),
            }
        )
    text = pd.DataFrame(rows)
    title = f"The studies. {OPEN}: groups with runs that had not converged."
    return Table("studies", title, text, text)


def clip(text: str, most: int = 110) -> str:
    """The beginning of a text, up to a comma."""
    return text if len(text) <= most else f"{text[:most].rpartition(',')[0]} …"
