"""Every run of a study, from its folders and its pack."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from uncollapse.errors import InputError
from uncollapse.json_types import JsonMapping
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
from uncollapse.runs.pack import pack_path, read_pack
from uncollapse.runs.pack_writing import name_sort_key
from uncollapse.runs.portable import unite_copies
from uncollapse.runs.reading import Saved, name_run, read_config, read_run

LEFT_OUT = "; left out"  # ends the note on a run that cannot be read


def find_same_run(run: Run, config: JsonMapping, base: JsonMapping) -> Run | None:
    """The run of the same study with an equal config and another name; None if there is none."""
    for other in find_runs(run.study, run.folder.parents[1].name, config["seed"]):
        try:
            saved = read_config(other)
        # a damaged neighbour is no reason to stop
        except InputError:
            continue
        if not list_changes(saved, config, base):
            return other
    return None


# ---------------------------------------------------------------- all runs of a study


def read_runs(path: Path, notes: list[str]) -> list[Saved]:
    """Every run of a study or a pack, or the one run whose folder it is.

    `notes` receives a sentence for each run that cannot be read. A run with a folder that is also
    in the pack counts once.
    """
    return [*iterate_runs(path, notes)]


def iterate_runs(path: Path, notes: list[str]) -> Iterator[Saved]:
    """The runs of `read_runs` one at a time: thousands need not be in memory together."""
    if is_pack(path):
        yield from read_pack(pack_path(path)).iterate_runs()
        return
    folder = study_folder(path)
    # one folder was named, or there is nothing to combine
    if is_run(folder) or not has_pack(folder):
        yield from iterate_folders(require_runs(folder), folder, notes)
        return
    runs = find_runs(folder)
    if not runs:
        yield from read_pack(pack_path(folder)).iterate_runs()
        return
    try:
        packed = read_pack(pack_path(folder)).runs()
    except InputError as error:
        notes.append(f"{error}; its runs are left out")
        packed = []
    combined = combine_with_pack(iterate_folders(runs, folder, notes), packed, notes)
    yield from sorted(combined, key=name_sort_key)


def iterate_folders(runs: Iterable[Run], folder: Path, notes: list[str]) -> Iterator[Saved]:
    """The runs that can be read; `notes` receives why others cannot."""
    for run in runs:
        try:
            yield read_run(run, folder)
        except InputError as error:
            # a report shows no path outside the study, so the note says which run it is
            reason = str(error).replace(f"{run.folder}/", "")
            notes.append(f"{name_run(run, folder)}: {reason}{LEFT_OUT}")


def combine_with_pack(runs: Iterable[Saved], packed: list[Saved], notes: list[str]) -> list[Saved]:
    """The runs of folders and of a pack, each once.

    The folder of a run counts, with the evaluations of both; if it is unfinished or damaged, the
    packed copy counts.
    """
    copies = {saved.identity: saved for saved in packed}
    names = {saved.name: saved.identity for saved in packed}
    combined = []
    for saved in runs:
        # damage may have changed the facts that the identity is computed from
        is_sound = saved.identity in copies or not saved.notes
        key = saved.identity if is_sound else names.get(saved.name)
        copy = copies.get(key) if key else None
        if copy is None:
            combined.append(saved)
        elif saved.status != DONE or saved.notes:
            reason = saved.status if saved.status != DONE else saved.notes[0]
            notes.append(f"{saved.name}: {reason}; the finished run in {PACK} counts")
        else:
            # popped, so that only copies without a folder remain
            united, difference = unite_copies(saved, copies.pop(copy.identity))
            if difference:
                notes.append(
                    f"{saved.name}: its folder counts; {PACK} has another result ({difference})"
                )
            combined.append(united)
    return [*combined, *copies.values()]
