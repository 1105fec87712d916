"""The runs of a study as two tidy frames: one row per run, and one per evaluation."""

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from uncollapse.errors import InputError
from uncollapse.json_types import JsonObject
from uncollapse.report.data_sets import add_data_names
from uncollapse.report.groups import add_groups
from uncollapse.report.notes import name_groups
from uncollapse.report.runs import ROW_PLACE, RunRecord, flatten_run, row_numbers
from uncollapse.report.tables.runs import run_csv_columns
from uncollapse.report.text import clean_override, clean_text, number_repeats
from uncollapse.runs.identity import data_file_names, data_locations
from uncollapse.runs.layout import CONFIG, ROWS_FILE, is_run, study_folder
from uncollapse.runs.reading import Saved
from uncollapse.runs.rules import DEFAULT_RULE, MissingWeights
from uncollapse.runs.study import iterate_runs

OF_DIMENSIONS = ("kl_per_dim", "posterior_means")  # columns of rows that are no single numbers
MOST_NOTE = 500  # characters
MOST_RUN_NOTES = 5  # notes per run, and keys per note


@dataclass(frozen=True)
class Study:
    """A study as frames: `runs` has one row per run, in the order of figures, and `rows` one per
    evaluation."""

    folder: Path
    name: str
    runs: pd.DataFrame
    rows: pd.DataFrame
    common: str  # overrides that all groups share, which labels therefore omit
    notes: list[str] = field(default_factory=list)  # on damaged files and invalid values

    @property
    def summary(self) -> pd.DataFrame:
        """One row per run with the columns of the report's runs.csv."""
        return self.runs[run_csv_columns()].copy()


def read_study(folder: str | Path, rule: str = DEFAULT_RULE) -> Study:
    """Everything a report needs, from a study, its pack or a single run folder.

    Test metrics are those of the weights that `rule` chose. InputError if a run did not keep them.
    """
    notes: list[str] = []
    with paused_collection():
        records = [
            record
            for saved in iterate_runs(Path(folder), notes)
            if (record := read_record(saved, notes, rule))
        ]
    folder = study_folder(Path(folder))
    # without any run, the reason is in the notes
    if not records:
        why = f"; the first note says: {clean_text(notes[0], MOST_NOTE)}" if notes else ""
        raise InputError(f"no run in {folder} has a readable {CONFIG}{why}")
    records = drop_repeated_runs(records, notes)
    drop_locations(records)
    add_data_names(records)
    name_overrides(records)
    rows = [row | {"run": i} for i, record in enumerate(records) for row in record.pop("rows")]
    if not rows:
        raise InputError(no_rows_message(folder, records))
    # frames are numbered by run, which rows refer to
    runs, common = add_groups(pd.DataFrame(records).rename_axis("run").reset_index())
    name = runs["study"].iloc[0] if is_run(folder) else clean_text(folder.name)
    return Study(
        folder,
        name,
        runs,
        tidy_rows(rows, runs),
        common,
        [clean_text(note, MOST_NOTE) for note in notes],
    )


@contextmanager
def paused_collection() -> Iterator[None]:
    """Without garbage collection, which would search all the runs read so far again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_record(saved: Saved, notes: list[str], rule: str) -> RunRecord | None:
    """The record of a run; what is wrong with it is added to `notes`. None if it cannot be read."""
    own, record = list(saved.notes), None
    try:
        record = flatten_run(saved, rule)
    except MissingWeights:
        raise
    except Exception as error:  # an unexpected error in one run must not hide the others
        own.insert(0, f"cannot be shown ({type(error).__name__}); left out")
    if record and (odd := record.pop("odd")):
        own.insert(0, f"odd values count as missing: {name_groups(odd[:MOST_RUN_NOTES], len(odd))}")
    more = [f"and {len(own) - MOST_RUN_NOTES:,} more notes"] if len(own) > MOST_RUN_NOTES else []
    notes += [f"{saved.name}: {note}" for note in [*own[:MOST_RUN_NOTES], *more]]
    return record


def drop_repeated_runs(records: list[RunRecord], notes: list[str]) -> list[RunRecord]:
    """One run of each resolved config: a finished one, otherwise the one with the most steps."""
    kept: dict[str, RunRecord] = {}
    # finished runs first, then those with the most steps
    for record in sorted(records, key=lambda record: (record["status"] != "done", -record["step"])):
        first = kept.setdefault(record["identity"], record)
        if first is not record:
            notes.append(
                f"{record['folder']}: the same run as {first['folder']} (the same resolved "
                "config); counted once."
            )
    return [record for record in records if kept[record["identity"]] is record]


def drop_locations(records: list[RunRecord]) -> None:
    """Drop overrides that only say where the data are, if all runs have the same data.

    Overrides that all runs share are kept, and so are those of runs that did not record their data.
    """
    # runs that did not record their data keep their locations
    known = [record for record in records if record["saved"].data]
    if not same_data([record["saved"] for record in known]):
        return
    shared = set.intersection(*(set(record["override_list"]) for record in records))
    for record in known:
        places = data_locations(record["saved"].config)
        record["override_list"] = [
            text
            for text in record["override_list"]
            if text in shared or text.partition("=")[0] not in places
        ]


def same_data(runs: list[Saved]) -> bool:
    """Whether all runs have the same fingerprint of their data, or, for older runs without one, the
    same facts and file names."""
    contents = {content for saved in runs if isinstance(content := saved.data.get("content"), str)}
    # fingerprints of all runs, and the same one
    if len(contents) == 1 and all(isinstance(saved.data.get("content"), str) for saved in runs):
        return True
    stated = {
        json.dumps([facts_of(saved), data_file_names(saved.config)], sort_keys=True)
        for saved in runs
    }
    return len(contents) <= 1 and len(stated) == 1


def facts_of(saved: Saved) -> JsonObject:
    """The recorded facts of the data, without the fingerprint."""
    return {key: value for key, value in saved.data.items() if key != "content"}


def name_overrides(records: list[RunRecord]) -> None:
    """Make overrides safe to show; distinct ones stay distinct: `…/ptb`, `…/ptb (2)`."""
    raw = sorted({text for record in records for text in record["override_list"]})
    names = dict(zip(raw, number_repeats(map(clean_override, raw)), strict=True))
    for record in records:
        record["override_list"] = [names[text] for text in record["override_list"]]


def no_rows_message(folder: Path, records: list[RunRecord]) -> str:
    """The error for a study in which no run has been evaluated yet."""
    failed = [record for record in records if record["status"] == "failed"]
    last = f"; one run failed with: {failed[-1]['message']}" if failed else ""
    return (
        f"no evaluation yet in {folder} ({len(records)} runs, {len(failed)} failed: no row in "
        f"{ROWS_FILE}){last}."
    )


def tidy_rows(rows: list[RunRecord], runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of all runs with what figures need of their runs, in the order of figures."""
    columns = [
        "run",
        "order",
        "group",
        "short",
        "slot",
        "crowded",
        "seed",
        "status",
        "latent",
        "entropy",
        "oracle_valid",
    ]
    metrics = row_numbers()
    frame = pd.DataFrame(rows).reindex(columns=["run", *ROW_PLACE, *metrics, *OF_DIMENSIONS])
    # columns of mixed types become numbers, with NaN where they are not
    frame[metrics] = frame[metrics].apply(pd.to_numeric, errors="coerce")
    return frame.merge(runs[columns], on="run").sort_values(
        ["order", "seed", "step"], ignore_index=True, kind="stable"
    )
