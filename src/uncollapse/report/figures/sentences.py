"""Sentences that captions share: on seeds, intervals, and what is left out."""

from collections.abc import Iterable

import pandas as pd

from uncollapse.report.notes import caption_note
from uncollapse.report.stats import NEVER_OUTLYING, finished, outlying
from uncollapse.report.style import MOST_GROUPS, is_crowded
from uncollapse.report.tables.titles import format_range

CURVE_ENDS = {"unfinished": "open circle", "failed": "cross"}
INTERVAL_TEXT = "95 % t-interval (none at n = 1; cut where it leaves the panel)"


def describe_curves(rows: pd.DataFrame) -> str:
    """What the lines show, over how many seeds, and which runs are not finished."""
    runs = rows.drop_duplicates("run")
    count, groups = runs["status"].value_counts(), runs["order"].nunique()
    ends = [
        f"{count[status]} {status} ({mark})"
        for status, mark in CURVE_ENDS.items()
        if status in count
    ]
    parts = [
        f"Thick: mean over the finished seeds ({count_seeds(runs)}); "
        "thin: every seed, so no interval is drawn.",
        f"Thin dashes: runs that are not finished: {', '.join(ends)}." if ends else "",
        "Grey: the means of the other groups; black dashes: that of plain." if groups > 1 else "",
        "Colours show which slot of the config a head changes.",
    ]
    return " ".join(filter(None, parts)) + describe_hidden_groups(groups)


def describe_slots(frame: pd.DataFrame, by: str = "") -> str:
    """How colours, markers and, with many groups, order are chosen."""
    order = f"; groups are sorted by {by}" if by and is_crowded(frame) else ""
    return f" Colour and marker show which slot of the config a head changes{order}."


def describe_edges(runs: pd.DataFrame, *metrics: str, never: float = NEVER_OUTLYING) -> str:
    """The meaning of arrows, if a run is far from the others in one of the metrics."""
    far = any(outlying(runs, metric, never).any() for metric in metrics)
    return " Arrows at an edge: groups far from all others, with their means." * far


def count_seeds(runs: pd.DataFrame) -> str:
    """'n = 3 seeds per group' or 'n = 1 to 3 seeds per group', over finished runs."""
    counts = finished(runs).groupby("order").size()
    if counts.empty:
        return "n = 0 finished runs"
    return f"n = {format_range(counts)} {'seed' if counts.max() == 1 else 'seeds'} per group"


def describe_hidden_groups(groups: int) -> str:
    """How many groups are not shown, if there are too many for one figure."""
    if groups <= MOST_GROUPS:
        return ""
    return f" Only the first {MOST_GROUPS} of {groups} groups are shown; the tables have all."


def format_counts(values: Iterable[float]) -> str:
    """'10,000', or '500, 10,000': each value once."""
    return ", ".join(f"{value:,.0f}" for value in sorted(set(values)))


def describe_lacking(runs: pd.DataFrame, shown: pd.DataFrame, what: str) -> str:
    """How many finished runs are not shown because they lack what the figure needs."""
    # of finished runs, since the others are counted by `describe_left_out`
    count = len(finished(runs)) - shown["run"].nunique()
    if not count:
        return ""
    return f" Left out: {count} finished run{'s' if count > 1 else ''} without {what}."


def describe_left_out(runs: pd.DataFrame) -> str:
    """Which runs have no final metrics, and which weights the metrics are from."""
    count = runs["status"].value_counts()
    missing = [f"{count[status]} {status}" for status in CURVE_ENDS if status in count]
    left_out = f" Runs left out: {', '.join(missing)}." if missing else ""
    names = [str(name) for name in finished(runs)["data_name"].unique()]
    data = f" Caution: runs of different data ({', '.join(names)})." if len(names) > 1 else ""
    return left_out + data + caption_note(runs)
