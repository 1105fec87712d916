"""Sentences that captions share: seeds, intervals, and what is left out."""

from collections.abc import Iterable

import pandas as pd

from uncollapse.report.figures.curve_panels import TOGETHER
from uncollapse.report.notes import caption_note
from uncollapse.report.stats import finished, outlying
from uncollapse.report.style import MOST_GROUPS, crowded

CURVE_ENDS = {"unfinished": "open circle", "failed": "cross"}


INTERVAL_TEXT = "95 % t-interval (none at n = 1; cut where it leaves the panel)"


def describe_curves(rows: pd.DataFrame) -> str:
    """What the lines are, how many seeds they hold, and which runs are not at their end."""
    runs = rows.drop_duplicates("run")
    count, groups = runs["status"].value_counts(), runs["order"].nunique()
    ends = [
        f"{count[status]} {status} ({mark})"
        for status, mark in CURVE_ENDS.items()
        if status in count
    ]
    parts = [
        f"Thick: mean over the finished seeds ({count_seeds(runs)}); thin: every seed, so no interval is drawn.",
        f"Thin dashes are runs without an end: {', '.join(ends)}." if ends else "",
        "The means of the other groups are grey." if groups > TOGETHER else "",
        "Colours say which slot of the config a head changes." if crowded(rows) else "",
    ]
    return " ".join(filter(None, parts)) + describe_hidden_groups(groups)


def describe_slots(frame: pd.DataFrame, by: str = "") -> str:
    """What colour, marker and order say in a crowd."""
    if not crowded(frame):
        return ""
    order = f"; groups are sorted by {by}" if by else ""
    return f" Colour and marker say which slot of the config a head changes{order}."


def describe_edges(runs: pd.DataFrame, *metrics: str) -> str:
    """That some runs are drawn at the edge, where there are some."""
    far = any(outlying(runs, metric).any() for metric in metrics)
    return " Arrows at an edge: groups far from all others, with their means." * far


def count_seeds(runs: pd.DataFrame) -> str:
    """'n = 3 seeds per group' or 'n = 1 to 3 seeds per group', over finished runs."""
    counts = finished(runs).groupby("order").size()
    if counts.empty:
        return "n = 0 finished runs"
    return f"n = {format_range(counts)} {'seed' if counts.max() == 1 else 'seeds'} per group"


def format_range(counts: pd.Series) -> str:
    low, high = counts.min(), counts.max()
    return str(low) if low == high else f"{low} to {high}"


def describe_hidden_groups(groups: int) -> str:
    return f" Only the first {MOST_GROUPS} of {groups} groups are shown; the tables hold all." * (
        groups > MOST_GROUPS
    )


def format_counts(values: Iterable[float]) -> str:
    """'10,000', or '500, 10,000': each value once."""
    return ", ".join(f"{value:,.0f}" for value in sorted(set(values)))


def describe_lacking(runs: pd.DataFrame, shown: pd.DataFrame, what: str) -> str:
    """How many finished runs are not shown, as they were made or evaluated without what the figure needs."""
    count = len(finished(runs)) - shown["run"].nunique()
    return (
        f" {count} finished run{'s' if count > 1 else ''} without {what} left out." if count else ""
    )


def describe_left_out(runs: pd.DataFrame) -> str:
    """Which runs are too young or too dead for final metrics; and of which weights the metrics are, as every such caption must say."""
    count = runs["status"].value_counts()
    missing = [f"{count[status]} {status}" for status in CURVE_ENDS if status in count]
    return (f" Runs left out: {', '.join(missing)}." if missing else "") + caption_note(runs)
