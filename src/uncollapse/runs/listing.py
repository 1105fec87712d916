"""The output of `study.py list` and `study.py verify`: a study's runs and their problems."""

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
    """One row for each run of a study or pack; `notes` receives what cannot be read."""
    check_is_study_or_pack(path)
    packed = read_pack_runs(path, notes)
    rows = []
    for run in find_folder_runs(path):
        try:
            saved = read_run(run, study_folder(path))
        except InputError as error:
            notes.append(str(error))
            continue
        # popped, so that only runs without a folder remain
        copy = packed.pop(saved.identity, None) if saved.status == DONE else None
        # the results of both copies
        results = joined_results(saved) | joined_results(copy or saved)
        where = "folder" if copy is None else "both"
        rows.append(format_listing_row(saved, where, results, read_weights_digest(run, notes)))
    for saved in packed.values():
        rows.append(format_listing_row(saved, "pack", joined_results(saved), saved.weights))
    return sorted(rows)


def read_pack_runs(path: Path, notes: list[str]) -> dict[str, Saved]:
    """The runs of a study's pack by identity; a damaged pack is a note.

    InputError if the user named a pack and it is damaged.
    """
    try:
        pack = find_pack(path)
        return {saved.identity: saved for saved in pack.runs()} if pack else {}
    except InputError as error:
        if is_pack(path):
            raise
        notes.append(str(error))
        return {}


def format_listing_row(
    saved: Saved, where: str, results: Iterable[str], weights: str
) -> ListingRow:
    return saved.name, where, saved.status, ", ".join(sorted(results)), weights[:12]


def read_weights_digest(run: Run, notes: list[str]) -> str:
    """The digest of the weights in a folder; '' if they are missing or damaged."""
    try:
        return find_weights_digest(run)
    except InputError as error:
        notes.append(str(error))
        return ""


def find_folder_runs(path: Path) -> list[Run]:
    """The runs of a study that have a folder; none for a pack."""
    return [] if is_pack(path) else find_runs(study_folder(path))


# ---------------------------------------------------------------- problems


def find_problems(path: Path) -> tuple[int, list[str]]:
    """How many finished runs there are, and one sentence for each problem."""
    check_is_study_or_pack(path)
    packed: dict[str, Saved] = {}
    problems: list[str] = []
    try:
        if pack := find_pack(path):
            packed = check_pack(pack, problems)
    except InputError as error:
        problems.append(str(error))
    seen = set(packed)  # identities, so that a run in both places counts once
    for run in find_folder_runs(path):
        if run.status != DONE:
            continue
        try:
            seen.add(check_run_folder(run, study_folder(path), packed))
        except InputError as error:
            # counted by its folder, as its identity is unknown
            seen.add(str(run.folder))
            sentence = str(error)
            is_named = str(run.folder) in sentence
            problems.append(sentence if is_named else f"{run.folder}: {sentence}")
    return len(seen), problems


def check_pack(pack: Pack, problems: list[str]) -> dict[str, Saved]:
    """The runs of a pack by identity; `problems` receives contradictions within the pack."""
    runs: dict[str, Saved] = {}
    identities = [row["identity"] for row in pack.columns("identity")]
    names: set[str] = set()
    for saved, stated in zip(pack.runs(), identities, strict=True):
        where = f"{pack.path}, {saved.name}"
        if saved.identity != stated:
            problems.append(f"{where}: its identity is not that of its config")
        if stated in runs or saved.name in names:
            problems.append(f"{where}: the pack contains it twice")
        try:
            # decodes the samples, which nothing else reads here
            saved.views()
        except InputError as error:
            problems.append(str(error))
        names.add(saved.name)
        runs[stated] = saved
    return runs


def check_run_folder(run: Run, study: Path, packed: dict[str, Saved]) -> str:
    """The identity of a finished run.

    InputError if anything in its folder is damaged, or differs from its copy in the pack.
    """
    saved = read_packable(run, study)
    # computed again from the tensors, not from the digest that the file states
    if saved.weights and compute_digest(load_tensors(run.path(WEIGHTS))) != saved.weights:
        raise InputError("its weights do not match the digest that they state")
    copy = packed.get(saved.identity)
    if copy and (difference := find_first_difference(saved, copy)):
        raise InputError(f"the pack has another result of this run ({difference})")
    return saved.identity
