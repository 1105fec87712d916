"""The table of heads as the page shows it: in sections by what a code keeps, then by price."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from uncollapse.metrics import catalogue
from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.answers.collapse import COLLAPSED, judge_code
from uncollapse.report.answers.price import find_kept, name_band, split_into_bands
from uncollapse.report.stats import by_group, finished
from uncollapse.report.tables.cells import format_column
from uncollapse.report.tables.summary import Summary, count_runs, mark_names, summarise_groups
from uncollapse.report.text import number_repeats, typeset

DIMENSIONS = ("nats", "seconds", "words")  # of units that a column states
DECIDING = ("mi", "d_nll", "shuffle_gap")  # the first columns, which are dropped last
UNBANDED = "Keeps a code, with no other near in information or of unknown price"
KEPT = "Keeps a code"
OPEN_CODE = f"Open: one seed, or the interval of the gap contains {COLLAPSED:g} nats"
NO_CODE = f"Collapsed: the gap is below {COLLAPSED:g} nats"
BASELINES = "Baselines: plain, and heads that do not trade off rec and kl"
NO_RUN = "No finished run"
RULE = (
    f"A head keeps a code where the 95 % interval of its gap lies above {COLLAPSED:g} nats. "
    "Such heads are divided by mi into sections of about equal size, most information first, and "
    "each section begins with the lowest nll − plain. Other heads are in the order of mi."
)


class Cell(NamedTuple):
    """The mean and half-width of a metric in one group, and how they are written."""

    mean: float
    half: float
    text: str


@dataclass(frozen=True)
class Head:
    """One row: a head at one setting. `key` names it in addresses, and `short` in a figure."""

    order: int
    data: str  # the name of its data set; '' where all runs have the same
    key: str
    name: str  # with the marks of its training
    short: str
    slot: str
    changes: str
    runs: str
    state: str  # kept, collapsed, open, baseline
    cells: dict[str, Cell]

    def show(self, column: str) -> tuple[str, str]:
        """The text of a column before and after ±; '' if it has no interval."""
        own = {"n": self.runs, "changes": self.changes}
        text = own[column] if column in own else self.cells[column].text
        value, _, rest = text.partition(" ± ")
        return value, rest


@dataclass(frozen=True)
class HeadTable:
    """`columns` and `others` map metrics to headers: those of the table, and more for figures."""

    columns: dict[str, str]
    others: dict[str, str]
    sections: list[tuple[str, list[Head]]]

    @property
    def heads(self) -> list[Head]:
        """All rows, in the order of the table."""
        return [head for _, heads in self.sections for head in heads]

    @property
    def layout(self) -> dict[str, str]:
        """Every column after the name of the head, and its header: the deciding ones, n, others."""
        first = {name: self.columns[name] for name in DECIDING if name in self.columns}
        return {**first, "n": "n", **self.columns, "changes": "changes"}

    def unit_of(self, column: str) -> str:
        """The unit of a column; '' for counts, shares and the like."""
        unit = METRICS[column].unit if column in METRICS else ""
        return unit if unit.partition(" ")[0] in DIMENSIONS else ""

    @property
    def rule(self) -> str:
        """How the sections were made; '' where there is only one."""
        return RULE if len(self.sections) > 1 else ""


def make_head_table(runs: pd.DataFrame) -> HeadTable:
    """Every group of runs, with each metric of the summary that any of them has."""
    summary = summarise_groups(runs)
    # some metrics are in the summary only where runs differ in data.level
    names = [name for name in catalogue.summary_columns() if f"{name}_mean" in summary.numbers]
    cells = {name: make_cells(summary, name) for name in names}
    known = {
        name: typeset(summary.headers.get(name, METRICS[name].header))
        for name in sorted(names, key=rank_column)
        if any(np.isfinite(cell.mean) for cell in cells[name])
    }
    heads = make_heads(runs, summary, {name: cells[name] for name in known})
    return HeadTable(
        {name: header for name, header in known.items() if name in summary.cells},
        {name: header for name, header in known.items() if name not in summary.cells},
        divide_heads(runs, heads),
    )


def rank_column(name: str) -> int:
    """The deciding columns first; the others keep their order, as sorting is stable."""
    return DECIDING.index(name) if name in DECIDING else len(DECIDING)


def make_cells(summary: Summary, name: str) -> list[Cell]:
    """The cells of one metric, in the order of groups."""
    # the text of the summary has marks; metrics that only its csv has need none
    texts = summary.cells.get(name) or format_column(summary.numbers, name, METRICS[name].digits)
    numbers = summary.numbers[[f"{name}_mean", f"{name}_half"]].to_numpy(dtype=float).tolist()
    return [
        Cell(mean, half, typeset(text)) for (mean, half), text in zip(numbers, texts, strict=True)
    ]


def make_heads(
    runs: pd.DataFrame, summary: Summary, cells: dict[str, list[Cell]]
) -> dict[str, Head]:
    """The rows by the name of their group, in the order of groups."""
    numbers = summary.numbers
    alone = runs.groupby("head")["order"].nunique() == 1
    columns = ["order", "group", "head", "override_list", "data_name", "short", "slot", "changes"]
    records = runs[columns].drop_duplicates("order").sort_values("order").to_dict("records")
    first = {record["order"]: record for record in records}
    # a head is named by itself, and its settings by their values too
    keys = number_repeats(
        str(run["head"]) if alone[run["head"]] else " ".join([run["head"], *run["override_list"]])
        for run in first.values()
    )
    names, counts = mark_names(numbers), count_runs(numbers)
    gaps = runs[["order", "status", "shuffle_gap"]]
    states = {order: judge_code(finished(group)) for order, group in by_group(gaps)}
    return {
        str(run["group"]): Head(
            order=order,
            data=run["data_name"],
            key=keys[i],
            name=names[i],
            short=run["short"],
            slot=run["slot"],
            changes=run["changes"],
            runs=counts[i],
            state="baseline" if run["slot"] == "baseline" else states[order],
            cells={name: column[i] for name, column in cells.items()},
        )
        for i, (order, run) in enumerate(first.items())
    }


# ---- sections ------------------------------------------------------------------------------------


def divide_heads(runs: pd.DataFrame, heads: dict[str, Head]) -> list[tuple[str, list[Head]]]:
    """The sections with their titles, for each data set."""
    names = runs["data_name"].unique().tolist()
    found = []
    for name in names:
        own = runs[runs["data_name"] == name]
        where = f"{name}: " if len(names) > 1 and name else ""
        found += [(where + title, rows) for title, rows in divide_data_set(own, heads).items()]
    return found


def divide_data_set(runs: pd.DataFrame, heads: dict[str, Head]) -> dict[str, list[Head]]:
    """The sections of one data set by title: bands of heads that keep a code, then the others."""
    sections: dict[str, list[Head]] = {}
    bands = split_into_bands(find_kept(runs))
    for band in reversed(bands):
        rows = sorted((heads[name] for name in band), key=rank_by_price)
        sections.setdefault(f"Keeps {name_band(band)}", []).extend(rows)
    banded = {name for band in bands for name in band}
    done = set(finished(runs)["group"])
    others: dict[str, list[Head]] = {
        title: [] for title in (UNBANDED if bands else KEPT, OPEN_CODE, NO_CODE, BASELINES, NO_RUN)
    }
    titles = dict(zip(("kept", "open", "collapsed", "baseline"), others, strict=False))
    for name in dict.fromkeys(runs["group"]):
        if name not in banded:
            others[titles[heads[name].state] if name in done else NO_RUN].append(heads[name])
    for title, rows in others.items():
        if rows:
            # the order of groups where mi is not known, and for baselines: plain comes first
            by_mi = title not in (BASELINES, NO_RUN)
            sections[title] = sorted(rows, key=rank_by_mi) if by_mi else rows
    return sections


def rank_by_price(head: Head) -> float:
    """A sort key: the lowest price first."""
    return head.cells["d_nll"].mean


def rank_by_mi(head: Head) -> float:
    """A sort key: most information first, and heads without mi last."""
    mi = head.cells["mi"].mean if "mi" in head.cells else np.nan
    return -mi if np.isfinite(mi) else np.inf
