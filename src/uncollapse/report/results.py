"""The runs of a study as two tidy frames: one row per run, one per evaluation. Only reads."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from uncollapse.errors import InputError
from uncollapse.report.groups import add_groups
from uncollapse.report.notes import name_groups
from uncollapse.report.runs import ROW_PLACE, flatten_run, row_numbers
from uncollapse.report.text import clean_override, clean_text, number_repeats
from uncollapse.runs.identity import data_file_names, data_locations
from uncollapse.runs.layout import CONFIG, ROWS_FILE, is_run, study_folder
from uncollapse.runs.reading import Saved
from uncollapse.runs.study import iterate_runs

MOST_NOTE = 500  # characters
MOST_RUN_NOTES = 5  # notes on one run, and keys in one note


@dataclass(frozen=True)
class Study:
    """A study as frames: `runs` has a row per run, in figure order, `rows` one per evaluation."""

    folder: Path
    name: str
    runs: pd.DataFrame
    rows: pd.DataFrame
    common: str  # overrides that all groups share and labels therefore leave out
    notes: list[str] = field(default_factory=list)


def read_study(folder: str | Path) -> Study:
    """Everything a report needs, from a study, its pack or a single run folder."""
    notes: list[str] = []
    records = [
        record
        for saved in iterate_runs(Path(folder), notes)
        if (record := read_record(saved, notes))
    ]
    folder = study_folder(Path(folder))
    if not records:
        why = f"; the first note says: {clean_text(notes[0], MOST_NOTE)}" if notes else ""
        raise InputError(f"no run in {folder} has a readable {CONFIG}{why}")
    records = drop_repeated_runs(records, notes)
    drop_locations(records)
    name_overrides(records)
    rows = [row | {"run": i} for i, record in enumerate(records) for row in record.pop("rows")]
    if not rows:
        raise InputError(no_rows_message(folder, records))
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


def read_record(saved: Saved, notes: list[str]) -> dict[str, Any] | None:
    """The record of a run, and what is wrong with it in `notes`.

    None where an unforeseen error stops its reading: it must not stop that of the others.
    """
    said, record = list(saved.notes), None
    try:
        record = flatten_run(saved)
    except Exception as error:
        said.insert(0, f"cannot be shown ({type(error).__name__}); left out")
    if record and (odd := record.pop("odd")):
        said.insert(
            0, f"odd values count as missing: {name_groups(odd[:MOST_RUN_NOTES], len(odd))}"
        )
    more = [f"and {len(said) - MOST_RUN_NOTES:,} more notes"] if len(said) > MOST_RUN_NOTES else []
    notes += [f"{saved.name}: {note}" for note in [*said[:MOST_RUN_NOTES], *more]]
    return record


def drop_repeated_runs(records: list[dict[str, Any]], notes: list[str]) -> list[dict[str, Any]]:
    """Runs of one resolved config count once: the finished one, or the one with most steps."""
    kept: dict[str, dict[str, Any]] = {}
    for record in sorted(records, key=lambda record: (record["status"] != "done", -record["step"])):
        first = kept.setdefault(record["identity"], record)
        if first is not record:
            notes.append(
                f"{record['folder']}: the same run as {first['folder']} (the same resolved "
                "config); counted once."
            )
    return [record for record in records if kept[record["identity"]] is record]


def drop_locations(records: list[dict[str, Any]]) -> None:
    """Leave out overrides that only say where the data are, if all runs have the same data.

    Overrides that all runs share stay, and so do those of a run that does not say which data it
    had.
    """
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
    """Whether all have one fingerprint of their data; for older runs, the same facts and names."""
    contents = {content for saved in runs if isinstance(content := saved.data.get("content"), str)}
    if len(contents) == 1 and all(isinstance(saved.data.get("content"), str) for saved in runs):
        return True
    stated = {
        json.dumps([facts_of(saved), data_file_names(saved.config)], sort_keys=True)
        for saved in runs
    }
    return len(contents) <= 1 and len(stated) == 1


def facts_of(saved: Saved) -> dict[str, Any]:
    return {key: value for key, value in saved.data.items() if key != "content"}


def name_overrides(records: list[dict[str, Any]]) -> None:
    """Clean the overrides; different ones stay different: `…/ptb`, `…/ptb (2)`."""
    raw = sorted({text for record in records for text in record["override_list"]})
    names = dict(zip(raw, number_repeats(map(clean_override, raw)), strict=True))
    for record in records:
        record["override_list"] = [names[text] for text in record["override_list"]]


def no_rows_message(folder: Path, records: list[dict[str, Any]]) -> str:
    failed = [record for record in records if record["status"] == "failed"]
    last = f"; one failure says: {failed[-1]['message']}" if failed else ""
    return (
        f"no evaluation yet in {folder} ({len(records)} runs, {len(failed)} failed: no row in "
        f"{ROWS_FILE}){last}."
    )


def tidy_rows(rows: list[dict[str, Any]], runs: pd.DataFrame) -> pd.DataFrame:
    columns = [
        "run",
        "order",
        "group",
        "slot",
        "crowded",
        "seed",
        "status",
        "latent",
        "entropy",
        "oracle_valid",
    ]
    metrics = row_numbers()
    frame = pd.DataFrame(rows).reindex(columns=["run", *ROW_PLACE, *metrics, "kl_per_dim"])
    frame[metrics] = frame[metrics].apply(pd.to_numeric, errors="coerce")
    return frame.merge(runs[columns], on="run").sort_values(
        ["order", "seed", "step"], ignore_index=True, kind="stable"
    )
