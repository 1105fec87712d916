"""Every run of a study, in folders and in its pack."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from uncollapse.errors import InputError
from uncollapse.runs.identity import list_changes
from uncollapse.runs.layout import (
    DONE,
    PACK,
    Run,
    find_runs,
    has_pack,
    is_pack,
    is_run,
    require_runs,
    study_folder,
)
from uncollapse.runs.pack import name_sort_key, pack_path, read_pack
from uncollapse.runs.portable import unite_copies
from uncollapse.runs.reading import Saved, read_config, read_run


def find_same_run(run: Run, config: Mapping[str, Any], base: Mapping[str, Any]) -> Run | None:
    """The run of the same study, head and seed that is this very one under another name."""
    for other in find_runs(run.study, run.folder.parents[1].name, config["seed"]):
        try:
            saved = read_config(other)
        except InputError:
            continue
        if not list_changes(saved, config, base):
            return other
    return None


# ---------------------------------------------------------------- everything that a report reads


def read_runs(path: Path, notes: list[str]) -> list[Saved]:
    """Every run of a study, the one whose folder it is, or those of a pack; a sentence in `notes`
    for each that cannot be read. A run that lies in a folder and in the pack counts once."""
    return [*iterate_runs(path, notes)]


def iterate_runs(path: Path, notes: list[str]) -> Iterator[Saved]:
    """What `read_runs` finds, one run at a time: thousands need not be in memory together."""
    if is_pack(path):
        yield from read_pack(pack_path(path)).each_run()
        return
    folder = study_folder(path)
    if is_run(folder) or not has_pack(folder):
        yield from iterate_folders(require_runs(folder), folder, notes)
        return
    runs = find_runs(folder)
    try:
        pack = read_pack(pack_path(folder))
        packed = pack.runs() if runs else []
    except InputError as error:
        if not runs:
            raise
        notes.append(f"{error}; its runs are left out")
        packed = []
    if runs:
        yield from sorted(combine_with_pack(iterate_folders(runs, folder, notes), packed, notes), key=name_sort_key)
    else:
        yield from pack.each_run()


def iterate_folders(runs: Iterable[Run], folder: Path, notes: list[str]) -> Iterator[Saved]:
    for run in runs:
        try:
            yield read_run(run, folder)
        except InputError as error:
            notes.append(f"{error}; left out")


def combine_with_pack(runs: Iterable[Saved], packed: list[Saved], notes: list[str]) -> list[Saved]:
    """Runs of folders and of a pack. One that is in both counts as its folder has it, with the
    evaluations of both; where the folder is unfinished or damaged, the packed run counts."""
    left = {saved.identity: saved for saved in packed}
    names = {saved.name: saved.identity for saved in packed}
    found = []
    for saved in runs:
        # what is damaged may have lost what it is known by
        key = saved.identity if saved.identity in left or not saved.notes else names.get(saved.name)
        same = left.get(key) if key else None
        if same is None:
            found.append(saved)
        elif saved.status != DONE or saved.notes:
            why = saved.status if saved.status != DONE else saved.notes[0]
            notes.append(f"{saved.name}: {why}; the finished run of {PACK} counts")
        else:
            united, difference = unite_copies(saved, left.pop(same.identity))
            if difference:
                notes.append(
                    f"{saved.name}: its folder counts; {PACK} has another result ({difference})"
                )
            found.append(united)
    return [*found, *left.values()]
