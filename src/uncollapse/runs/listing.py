"""What a study holds, run by run, and what is wrong with it."""

from collections.abc import Iterable
from pathlib import Path

from uncollapse.errors import InputError
from uncollapse.runs.checkpoint import compute_digest, load_tensors
from uncollapse.runs.layout import DONE, WEIGHTS, Run, find_runs, is_pack, study_folder
from uncollapse.runs.merge import check_is_study_or_pack, read_packable
from uncollapse.runs.pack import Pack, find_pack, find_weights_digest
from uncollapse.runs.portable import find_first_difference, joined_results
from uncollapse.runs.reading import Saved, read_run

ListingRow = tuple[str, str, str, str, str]  # run, where, status, evaluations, weights


def list_study(path: Path, notes: list[str]) -> list[ListingRow]:
    """One row for each run of a study or a pack; what cannot be read stands in `notes`."""
    check_is_study_or_pack(path)
    try:
        pack = find_pack(path)
        packed = {saved.identity: saved for saved in pack.runs()} if pack else {}
    except InputError as error:
        if is_pack(path):
            raise
        packed = {}
        notes.append(str(error))
    rows = []
    for run in find_folder_runs(path):
        try:
            saved = read_run(run, study_folder(path))
        except InputError as error:
            notes.append(str(error))
            continue
        both = packed.pop(saved.identity, None) if saved.status == DONE else None
        results = joined_results(saved) | joined_results(both or saved)
        where = "folder" if both is None else "both"
        rows.append(format_listing_row(saved, where, results, read_weights_digest(run, notes)))
    rows += [format_listing_row(saved, "pack", joined_results(saved), saved.weights) for saved in packed.values()]
    return sorted(rows)


def format_listing_row(saved: Saved, where: str, results: Iterable[str], weights: str) -> ListingRow:
    return saved.name, where, saved.status, ", ".join(sorted(results)), weights[:12]


def read_weights_digest(run: Run, notes: list[str]) -> str:
    """The digest of the weights in a folder; '' where there are none, or damaged ones."""
    try:
        return find_weights_digest(run)
    except InputError as error:
        notes.append(str(error))
        return ""


def find_folder_runs(path: Path) -> list[Run]:
    return [] if is_pack(path) else find_runs(study_folder(path))


# ---------------------------------------------------------------- what is wrong


def find_problems(path: Path) -> tuple[int, list[str]]:
    """How many finished runs there are, and a sentence for each thing that is wrong with one."""
    check_is_study_or_pack(path)
    packed: dict[str, Saved] = {}
    found: list[str] = []
    try:
        if pack := find_pack(path):
            packed = check_pack(pack, found)
    except InputError as error:
        found.append(str(error))
    known = set(packed)
    for run in find_folder_runs(path):
        if run.status != DONE:
            continue
        try:
            known.add(check_run_folder(run, study_folder(path), packed))
        except InputError as error:
            known.add(str(run.folder))
            reason = str(error)
            found.append(reason if str(run.folder) in reason else f"{run.folder}: {reason}")
    return len(known), found


def check_pack(pack: Pack, found: list[str]) -> dict[str, Saved]:
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


def check_run_folder(run: Run, folder: Path, packed: dict[str, Saved]) -> str:
    """The identity of a finished run. InputError unless all in its folder is sound and as the pack has it."""
    saved = read_packable(run, folder)
    if saved.weights and compute_digest(load_tensors(run.path(WEIGHTS))) != saved.weights:
        raise InputError("its weights are not those that it states")
    same = packed.get(saved.identity)
    if same and (difference := find_first_difference(saved, same)):
        raise InputError(f"the pack has another result of this run ({difference})")
    return saved.identity
