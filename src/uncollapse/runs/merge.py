"""Packing a study, and merging the packs of several machines.

All runs are collected and compared before anything is written.
"""

import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from uncollapse.disk import hold_lock, write_if_changed
from uncollapse.errors import InputError
from uncollapse.json_types import JsonObject
from uncollapse.runs.identity import list_differences, strip_locations
from uncollapse.runs.layout import (
    DONE,
    Run,
    check_is_study,
    find_runs,
    has_pack,
    is_pack,
    is_run,
    study_folder,
)
from uncollapse.runs.pack import find_pack, find_weights_digest, pack_path
from uncollapse.runs.pack_writing import build_pack
from uncollapse.runs.portable import (
    combine_views,
    data_section,
    find_data_difference,
    make_runs_portable,
    unite_copies,
)
from uncollapse.runs.reading import Saved, name_run, read_run


@dataclass
class RunCollection:
    """Runs by identity, each with where it was first found; and a list of those left out."""

    runs: dict[str, tuple[str, Saved]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # sentences

    def add(self, saved: Saved, where: str) -> str:
        """Add a run, or join it to an earlier copy; return the first contradiction, or ''."""
        if saved.identity not in self.runs:
            self.runs[saved.identity] = where, saved
            return ""
        place, first = self.runs[saved.identity]
        united, difference = unite_copies(first, saved)
        if not difference:
            # the later copy may have newer samples
            united = replace(united, views=combine_views(first, saved))
            self.runs[saved.identity] = place, united
        return difference

    def check_names(self) -> None:
        """InputError for two different runs with one name."""
        names: dict[str, tuple[str, Saved]] = {}
        for where, saved in self.runs.values():
            other, first = names.setdefault(saved.name, (where, saved))
            # the same object means that the name is new
            if first is not saved:
                lines = list_differences(
                    strip_locations(first.config), strip_locations(saved.config)
                )
                lines = lines or [find_data_difference(first.data, saved.data) or "their data"]
                raise InputError(
                    f"{saved.name} is one run in {other} and another in {where} ({lines[0]}); "
                    "keep them in two studies. Nothing was changed"
                )


# ---------------------------------------------------------------- collecting runs


def collect_runs(path: Path) -> RunCollection:
    """Every finished run of a pack, or of a study: those in its pack and those in its folders."""
    collection = RunCollection()
    folder, packed = study_folder(path), []
    if pack := find_pack(path):
        packed = pack.runs()
        # first, so that a packed run is never replaced by one in a folder
        for saved in packed:
            collection.add(saved, str(pack.path))
    if not is_pack(path):
        in_folders = read_packable_runs(folder, collection.left_out)
        # compared with packed runs, because locations in names depend on both
        for saved in make_runs_portable(in_folders, packed):
            place = str(saved.run.folder if saved.run else folder)
            if difference := collection.add(saved, place):
                first = collection.runs[saved.identity][0]
                collection.left_out.append(
                    f"{place}: the same run as {first}, with another result ({difference}); "
                    "move one of the two away"
                )
    collection.check_names()
    return collection


def read_packable_runs(folder: Path, left_out: list[str]) -> Iterator[Saved]:
    """The runs of a study's folders that can be packed; `left_out` receives why others cannot."""
    for run in find_runs(folder):
        try:
            yield read_packable(run, folder)
        except (InputError, OSError) as error:
            reason = str(error)
            if isinstance(error, OSError):
                reason = f"cannot be read ({error.strerror or error})"
            name = name_run(run, folder)
            # some messages already contain the folder
            left_out.append(reason if str(run.folder) in reason else f"{name}: {reason}")


def read_packable(run: Run, folder: Path) -> Saved:
    """A finished run, with its weights' digest.

    InputError if it is unfinished, damaged, or being written by another process.
    """
    if run.status != DONE:
        raise InputError(run.status)
    # a shared lock fails while the run is being trained or evaluated
    with run.lock(shared=True):
        saved = read_run(run, folder)
        if saved.notes:
            raise InputError(saved.notes[0])
        if not saved.summary or not saved.rows:
            raise InputError("its summary or its rows are missing")
        # a pack has no weights, so their digest is all that later identifies them
        return replace(saved, weights=find_weights_digest(run))


# ---------------------------------------------------------------- packing a study


def pack_study(study: Path, examples: bool = True) -> tuple[Path, RunCollection]:
    """Write the pack of a study; its path and what it was made from.

    InputError if there is nothing to pack, or two copies of a run contradict each other.
    """
    check_is_study_or_pack(study)
    folder = study_folder(study)
    # two packs written at the same time would each lack the runs of the other
    with hold_lock(folder, "study"):
        collection = collect_runs(folder)
        return write_pack(folder, collection, examples), collection


def check_is_study_or_pack(path: Path) -> None:
    """InputError unless the user named a study or a pack; one run is neither."""
    check_is_study(path)
    if is_run(path):
        raise InputError(f"{path}: the folder of one run; give its study, or a pack")


def write_pack(folder: Path, collection: RunCollection, examples: bool = True) -> Path:
    """Write the runs into the study's pack, unless it has the same content already."""
    if not collection.runs:
        reasons = format_reasons(collection.left_out)
        raise InputError(f"{folder}: no finished run to pack{reasons}")
    content = build_pack([saved for _, saved in collection.runs.values()], examples)
    folder.mkdir(parents=True, exist_ok=True)
    path = pack_path(folder)
    write_if_changed(path, content)
    return path


# ---------------------------------------------------------------- merging studies


def merge_studies(study: Path, sources: list[Path]) -> tuple[Path, RunCollection]:
    """Merge packs and studies into the pack of `study`; its path and what it was made from.

    InputError, with nothing written, if they contradict each other.
    """
    if os.path.lexists(study) and (is_run(study) or not study.is_dir()):
        raise InputError(f"{study}: not a study; give the folder of one to merge into")
    # a new study has no folder yet that could be locked
    with hold_lock(study, "study") if study.is_dir() else nullcontext():
        collection = collect_merged(study, sources)
        return write_pack(study_folder(study), collection), collection


def collect_merged(study: Path, sources: list[Path]) -> RunCollection:
    """The runs of a study and of other packs and studies. InputError if they contradict."""
    collections = [(source, collect_source(source)) for source in sources]
    if has_pack(study) or find_runs(study):
        # the study's own runs come first: messages name them as the earlier ones
        collections = [(study, collect_runs(study_folder(study))), *collections]
    # each pair once
    for number, (source, collection) in enumerate(collections):
        for other, earlier in collections[:number]:
            check_shared_data(other, earlier, source, collection)
    merged = RunCollection(
        left_out=[line for _, collection in collections for line in collection.left_out]
    )
    for _, collection in collections:
        for where, saved in collection.runs.values():
            # the first copy is remembered for the message, before `add` may replace it
            first, _ = merged.runs.get(saved.identity, (where, saved))
            if difference := merged.add(saved, where):
                raise InputError(
                    f"{saved.name} is in {first} and in {where}, and they differ ({difference}); "
                    "the same run must be identical. Nothing was changed"
                )
    merged.check_names()
    return merged


def collect_source(path: Path) -> RunCollection:
    """The runs of a pack or study that the user named. InputError if there are none."""
    check_is_study_or_pack(path)
    collection = collect_runs(path)
    if not collection.runs:
        raise InputError(f"{path}: no finished run in it{format_reasons(collection.left_out)}")
    return collection


def format_reasons(left_out: list[str]) -> str:
    """The first reasons for runs left out, in brackets."""
    if not left_out:
        return ""
    return f" ({'; '.join(left_out[:3])}{' ...' if len(left_out) > 3 else ''})"


def check_shared_data(one: Path, first: RunCollection, other: Path, second: RunCollection) -> None:
    """InputError if two packs request the same data, but none of their data are the same."""
    mine, yours = group_data_by_section(first), group_data_by_section(second)
    for section in mine.keys() & yours.keys():
        # a study may use several versions of the data, so one match is enough
        lines = [find_data_difference(a, b) for a in mine[section] for b in yours[section]]
        if all(lines):
            raise InputError(
                f"{other}: its runs are on other data than those of {one} ({lines[0]}); "
                "runs on other data belong to another study. Nothing was changed"
            )


def group_data_by_section(collection: RunCollection) -> dict[str, list[JsonObject]]:
    """The different data of the runs, by the data section of their configs."""
    sections: dict[str, dict[str, JsonObject]] = {}
    for _, saved in collection.runs.values():
        key = json.dumps(saved.data, sort_keys=True)
        sections.setdefault(data_section(saved), {})[key] = saved.data
    return {section: list(data.values()) for section, data in sections.items()}
