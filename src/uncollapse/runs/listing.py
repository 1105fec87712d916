"""What a study holds, run by run, and what is wrong with it."""

from collections.abc import Iterable
from pathlib import Path

from uncollapse.errors import InputError
from uncollapse.runs.checkpoint import digest, load_tensors
from uncollapse.runs.layout import DONE, WEIGHTS, Run, home, is_pack, runs_in
from uncollapse.runs.merge import check_given, packable
from uncollapse.runs.pack import Pack, pack_of, weights_digest
from uncollapse.runs.portable import first_difference, results_of
from uncollapse.runs.reading import Saved, read_run

Row = tuple[str, str, str, str, str]  # run, where, status, evaluations, weights


def listed(path: Path, notes: list[str]) -> list[Row]:
    """One row for each run of a study or a pack; what cannot be read stands in `notes`."""
    check_given(path)
    try:
        pack = pack_of(path)
        packed = {saved.identity: saved for saved in pack.runs()} if pack else {}
    except InputError as error:
        if is_pack(path):
            raise
        packed = {}
        notes.append(str(error))
    rows = []
    for run in folder_runs(path):
        try:
            saved = read_run(run, home(path))
        except InputError as error:
            notes.append(str(error))
            continue
        both = packed.pop(saved.identity, None) if saved.status == DONE else None
        results = results_of(saved) | results_of(both or saved)
        where = "folder" if both is None else "both"
        rows.append(row(saved, where, results, weights_in(run, notes)))
    rows += [row(saved, "pack", results_of(saved), saved.weights) for saved in packed.values()]
    return sorted(rows)


def row(saved: Saved, where: str, results: Iterable[str], weights: str) -> Row:
    return saved.name, where, saved.status, ", ".join(sorted(results)), weights[:12]


def weights_in(run: Run, notes: list[str]) -> str:
    """The digest of the weights in a folder; '' where there are none, or damaged ones."""
    try:
        return weights_digest(run)
    except InputError as error:
        notes.append(str(error))
        return ""


def folder_runs(path: Path) -> list[Run]:
    return [] if is_pack(path) else runs_in(home(path))


# ---------------------------------------------------------------- what is wrong


def problems(path: Path) -> tuple[int, list[str]]:
    """How many finished runs there are, and a sentence for each thing that is wrong with one."""
    check_given(path)
    packed: dict[str, Saved] = {}
    found: list[str] = []
    try:
        if pack := pack_of(path):
            packed = checked_pack(pack, found)
    except InputError as error:
        found.append(str(error))
    known = set(packed)
    for run in folder_runs(path):
        if run.status != DONE:
            continue
        try:
            known.add(check_folder(run, home(path), packed))
        except InputError as error:
            known.add(str(run.folder))
            reason = str(error)
            found.append(reason if str(run.folder) in reason else f"{run.folder}: {reason}")
    return len(known), found


def checked_pack(pack: Pack, found: list[str]) -> dict[str, Saved]:
    """The runs of a pack by identity; in `found`, those that are not what the pack says of them."""
    runs: dict[str, Saved] = {}
    stated = [row["identity"] for row in pack.columns("identity")]
    names: set[str] = set()
    for saved, said in zip(pack.runs(), stated, strict=True):
        where = f"{pack.path}, {saved.name}"
        if saved.identity != said:
            found.append(f"{where}: its identity is not that of its config")
        if said in runs or saved.name in names:
            found.append(f"{where}: it is there twice")
        try:
            saved.views()
        except InputError as error:
            found.append(str(error))
        names.add(saved.name)
        runs[said] = saved
    return runs


def check_folder(run: Run, folder: Path, packed: dict[str, Saved]) -> str:
    """The identity of a finished run. InputError unless all in its folder is sound and as the pack has it."""
    saved = packable(run, folder)
    if saved.weights and digest(load_tensors(run.path(WEIGHTS))) != saved.weights:
        raise InputError("its weights are not those that it states")
    same = packed.get(saved.identity)
    if same and (difference := first_difference(saved, same)):
        raise InputError(f"the pack has another result of this run ({difference})")
    return saved.identity
