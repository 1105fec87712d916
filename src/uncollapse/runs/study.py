"""Every run of a study, in folders and in its pack."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from uncollapse.disk import resolved
from uncollapse.errors import InputError
from uncollapse.runs.identity import changes
from uncollapse.runs.layout import DONE, PACK, Run, has_pack, is_pack, is_run, run_folders, runs_in
from uncollapse.runs.pack import order, pack_path, read_pack
from uncollapse.runs.portable import unite
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


# ---------------------------------------------------------------- everything that a report reads


def home(path: Path) -> Path:
    """The folder that a study, a run's folder or a pack belongs to."""
    path = Path(path)
    return resolved(path.parent if is_pack(path) else path)


def read_runs(path: Path, notes: list[str]) -> list[Saved]:
    """Every run of a study, the one whose folder it is, or those of a pack; a sentence in `notes`
    for each that cannot be read. A run that lies in a folder and in the pack counts once."""
    return [*each_run(path, notes)]


def each_run(path: Path, notes: list[str]) -> Iterator[Saved]:
    """What `read_runs` finds, one run at a time: thousands need not be in memory together."""
    if is_pack(path):
        yield from read_pack(pack_path(path)).each_run()
        return
    folder = home(path)
    if is_run(folder) or not has_pack(folder):
        yield from each_folder(run_folders(folder), folder, notes)
        return
    runs = runs_in(folder)
    try:
        pack = read_pack(pack_path(folder))
        packed = pack.runs() if runs else []
    except InputError as error:
        if not runs:
            raise
        notes.append(f"{error}; its runs are left out")
        packed = []
    if runs:
        yield from sorted(together(each_folder(runs, folder, notes), packed, notes), key=order)
    else:
        yield from pack.each_run()


def each_folder(runs: Iterable[Run], folder: Path, notes: list[str]) -> Iterator[Saved]:
    for run in runs:
        try:
            yield read_run(run, folder)
        except InputError as error:
            notes.append(f"{error}; left out")


def together(runs: Iterable[Saved], packed: list[Saved], notes: list[str]) -> list[Saved]:
    """Runs of folders and of a pack. One that is in both counts as its folder tells it, with the
    evaluations of both; the packed one counts where the folder is not finished."""
    held = {saved.identity: saved for saved in packed}
    found = []
    for saved in runs:
        same = held.get(saved.identity)
        if same is not None and saved.status != DONE:
            notes.append(f"{saved.name}: {saved.status}; the finished run of {PACK} counts")
            continue
        if same is not None:
            saved, difference = unite(saved, held.pop(saved.identity))
            if difference:
                notes.append(f"{saved.name}: its folder counts; {PACK} has another result ({difference})")
        found.append(saved)
    return [*found, *held.values()]
