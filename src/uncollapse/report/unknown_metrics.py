"""Recorded metrics that the catalogue lacks: the plugin that adds them is not in use."""

import pandas as pd

from uncollapse.json_types import JsonMapping
from uncollapse.metrics.catalogue import METRICS
from uncollapse.metrics.metric import RESERVED_KEYS
from uncollapse.report.text import clean_text
from uncollapse.runs.reading import Saved

# numbers of a summary that are no metrics; rec_shuffled: a metric of older versions
FACTS = (
    "seed", "schema", "entropy", "unknown", "threads", "parameters", "wall_seconds",
    "peak_memory_mb", "tree_changed", "sample_unknown", "response_unknown",
    "rec_shuffled",
)  # fmt: skip
MOST_KEYS, MOST_KEY, MOST_NAMED = 100, 60, 6  # per run, characters, in the note


def find_unknown_metrics(saved: Saved) -> str:
    """The names, with commas, of a run's unknown metrics: numbers of its summary or last row."""
    known = {*RESERVED_KEYS, *FACTS}.union(*(metric.keys for metric in METRICS.values()))
    # the knobs of runs of other training loops are in both
    known.update(map(str, saved.config))
    records: list[JsonMapping] = [saved.summary, *saved.rows[-1:]]
    found = {
        key
        for record in records
        for key, value in record.items()
        if isinstance(value, int | float) and key.isidentifier() and key not in known
    }
    # a standard error belongs to its metric
    names = {key for key in found if not (key.endswith("_se") and key[:-3] in found)}
    return ",".join(clean_text(name, MOST_KEY) for name in sorted(names)[:MOST_KEYS])


def unknown_metrics_note(runs: pd.DataFrame) -> str:
    """Which metrics have no column, and how to name their plugin; '' if all are known."""
    names = sorted({name for text in runs["unknown_metrics"] for name in text.split(",")} - {""})
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return (
        f"Without a column, as no plugin in use adds them: {', '.join(names[:MOST_NAMED])}{more}; "
        "name the package that does with --plugins PACKAGE, or in uncollapse.yaml."
    )
