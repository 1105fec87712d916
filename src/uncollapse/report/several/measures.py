"""The values by which heads are ranked in each study: prices at equal information, and metrics."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from uncollapse.report.answers.levels import name_levels
from uncollapse.report.frontier import (
    FEWEST_SEEDS,
    INFORMATION_LEVELS,
    find_knob,
    values_at,
)
from uncollapse.report.notes import OPEN
from uncollapse.report.ranking import rank_values
from uncollapse.report.several.columns import (
    Column,
    Comparison,
    Group,
    HeadKey,
    Row,
    name_keys,
)
from uncollapse.report.stats import t_interval

FEWEST_RANKED = 4  # heads that all studies have; with fewer, heads of two studies are ranked too
LEVEL_PREFIX = "at_"  # begins the names of prices at equal information
MEASURE_TITLES = {"d_nll": "nll − plain", "mi": "mi", "shuffle_gap": "gap"}
SeedValues = dict[str, pd.Series]  # the name of a head -> its values by seed


@dataclass(frozen=True)
class Line:
    """One head in the table of a measure: its slot, and its values in each column."""

    name: str
    slot: str
    count: int  # in how many columns it was run
    values: list[pd.Series | None]
    ranked: list[bool]  # whether it takes part in the ranking of each column
    notes: list[str] = field(default_factory=list)  # before the number of each column: "≥ "
    marks: list[str] = field(default_factory=list)  # of doubt, behind it


@dataclass(frozen=True, eq=False)
class RankedMeasure:
    """SeedValues of heads in every column, of which the lowest or the highest ranks first.

    Equal only to itself, so that what is computed from it can be kept.
    """

    name: str  # of its table
    title: str
    lower: bool
    columns: int
    lines: list[Line]

    @property
    def is_level(self) -> bool:
        """Whether it is a price at equal information."""
        return self.name.startswith(LEVEL_PREFIX)

    @property
    def is_price(self) -> bool:
        return self.is_level or self.name == "d_nll"

    @cached_property
    def shared(self) -> bool:
        """Whether only heads that all columns have are ranked."""
        return sum(self.is_candidate(line, self.columns) for line in self.lines) >= FEWEST_RANKED

    @staticmethod
    def is_candidate(line: Line, count: int) -> bool:
        """Whether a line is in `count` columns and ranked in one of them."""
        return line.count >= count and any(line.ranked)

    def list_kept_values(self, column: int) -> SeedValues:
        """All heads that could be ranked in a column, whether other columns have them or not."""
        return {
            line.name: values
            for line in self.lines
            if line.ranked[column] and (values := line.values[column]) is not None
        }

    def list_ranked_values(self, column: int) -> SeedValues:
        """The heads that are ranked in a column."""
        least = self.columns if self.shared else 2
        names = {line.name for line in self.lines if line.count >= least}
        return {
            name: found for name, found in self.list_kept_values(column).items() if name in names
        }

    def rank(self, values: SeedValues) -> dict[str, int]:
        """Ranks from 1, shared by heads that cannot be told from the first of them."""
        sign = 1 if self.lower else -1
        return rank_values({name: sign * found for name, found in values.items()})

    @cached_property
    def ranks(self) -> list[dict[str, int]]:
        """The ranks in each column."""
        return [self.rank(self.list_ranked_values(i)) for i in range(self.columns)]

    @property
    def has_rankings(self) -> bool:
        """Whether two columns rank two heads or more."""
        return sum(len(ranks) > 1 for ranks in self.ranks) > 1


def list_measures(comparison: Comparison) -> list[RankedMeasure]:
    """Prices at each level of information that two studies reach, then price, mi and gap."""
    levels = [measure_level(comparison.columns, level) for level in INFORMATION_LEVELS]
    return [
        *(measure for measure in levels if measure.has_rankings),
        measure_groups(comparison, "d_nll"),
        measure_groups(comparison, "mi"),
        measure_groups(comparison, "shuffle_gap"),
    ]


def choose_main(measures: Sequence[RankedMeasure]) -> RankedMeasure:
    """The measure that is drawn: the price at the level that most heads reach, or else the first
    measure by which two studies rank two heads."""
    levels = [measure for measure in measures if measure.is_level]
    if levels:
        # prices differ most at the highest level
        return max(reversed(levels), key=lambda measure: min(map(len, measure.ranks)))
    return next((measure for measure in measures if measure.has_rankings), measures[0])


def measure_groups(comparison: Comparison, metric: str) -> RankedMeasure:
    """A metric of every head. Ranked are heads that keep a code, with two seeds at least."""
    lines = []
    for row in comparison.compared if metric == "d_nll" else comparison.rows:
        values = [
            group.values[metric] if group and len(group.values[metric]) else None
            for group in row.groups
        ]
        bounds = [metric == "mi" and bool(group and group.saturated) for group in row.groups]
        ranked = [
            is_ranked(row, group, found) and not bound
            for group, found, bound in zip(row.groups, values, bounds, strict=True)
        ]
        notes = ["≥ " if bound else "" for bound in bounds]
        marks = [mark_group(group, metric) for group in row.groups]
        lines.append(Line(row.name, row.slot, row.count, values, ranked, notes, marks))
    name = {"d_nll": "d_nll", "shuffle_gap": "gap"}.get(metric, metric)
    return RankedMeasure(
        name, MEASURE_TITLES[metric], metric == "d_nll", len(comparison.columns), lines
    )


def mark_group(group: Group | None, metric: str) -> str:
    """The marks of doubt about a metric of a head; '' if it was not run."""
    if group is None:
        return ""
    return group.price_marks if metric == "d_nll" else group.marks


def is_ranked(row: Row, group: Group | None, values: pd.Series | None) -> bool:
    """Whether a head keeps a code in a column, and has values of two seeds."""
    if group is None or values is None or row.key.head == "plain":
        return False
    return group.state == "kept" and len(values) >= FEWEST_SEEDS


# ---- equal information ---------------------------------------------------------------------------


def measure_level(columns: Sequence[Column], level: float) -> RankedMeasure:
    """nll minus plain's where the codes of heads carry `level` nats of mi."""
    found = [find_prices(column, level) for column in columns]
    labels = {key: own.label for prices in found for key, own in prices.items()}
    slots = {key: own.slot for prices in found for key, own in prices.items()}
    names = name_keys(labels)
    lines = []
    for key, name in names.items():
        values = [prices[key].values if key in prices else None for prices in found]
        marks = [prices[key].marks if key in prices else "" for prices in found]
        enough = [found is not None and len(found) >= FEWEST_SEEDS for found in values]
        count = sum(found is not None for found in values)
        lines.append(Line(name, slots[key], count, values, enough, [""] * len(values), marks))
    shown = [line for line in lines if line.count > 1]
    title = f"nll − plain at {name_levels([level])} of mi"
    return RankedMeasure(f"{LEVEL_PREFIX}{level:g}", title, True, len(columns), shown)


class CurvePrices(NamedTuple):
    """The prices of a curve at one level, by seed; `marks`: of doubt about its runs."""

    label: str
    slot: str
    values: pd.Series
    marks: str


def find_prices(column: Column, level: float) -> dict[HeadKey, CurvePrices]:
    """The prices of each curve of a column; its key has no value of the knob."""
    points = column.points
    prices = values_at(points, level) if len(points) else {}
    found = {}
    for curve, group in points.groupby("curve", sort=False):
        if str(curve) in prices:
            first = group.iloc[0]
            knob = find_knob(column.done[column.done["head"] == first["head"]])
            others = (text for text in first["override_list"] if text.partition("=")[0] != knob)
            knobs = tuple(sorted((k, v) for k, v in first["knobs"].items() if k != knob))
            settings = (text for text in others if text.partition("=")[0] not in first["knobs"])
            key = HeadKey(first["head"], knobs, tuple(sorted(settings)))
            marks = OPEN * bool((group["converged"] == 0).any())
            found[key] = CurvePrices(first["label"], first["slot"], prices[str(curve)], marks)
    return found


def interval_of(values: pd.Series | None) -> tuple[float, float]:
    """Mean and half-width of the t-interval; nan for a head that was not run."""
    return t_interval(values) if values is not None else (np.nan, np.nan)
