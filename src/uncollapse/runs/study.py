"""Every run of a study, in folders and in its pack."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uncollapse.errors import InputError
from uncollapse.runs.identity import changes
from uncollapse.runs.layout import Run, run_folders, runs_in
from uncollapse.runs.reading import Saved, read_config, read_run


def twin(run: Run, config: Mapping[str, Any], base: Mapping[str, Any]) -> Run | None:
    """The run of the same study, head and seed that is this very one under another name."""
    for other in runs_in(run.study, run.folder.parents[1].name, config["seed"]):
        try:
            saved = read_config(other)
        except InputError:
            continue
        if not changes(saved, config, base):
            return other
    return None


def read_runs(folder: Path, notes: list[str]) -> list[Saved]:
    """Every run of a study, or the one whose folder it is; a sentence in `notes` for each that cannot be read."""
    found = []
    for run in run_folders(folder):
        try:
            found.append(read_run(run, folder))
        except InputError as error:
            notes.append(f"{error}; left out")
    return found
