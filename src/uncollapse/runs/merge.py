"""Packing a study, and joining the packs of several machines: all runs are found and compared before one byte is written."""

import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uncollapse.disk import hold_lock, write_atomic
from uncollapse.errors import InputError
from uncollapse.runs.identity import drop_locations, list_differences
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
from uncollapse.runs.pack import build_pack, find_pack, find_weights_digest, pack_path
from uncollapse.runs.portable import (
    combine_views,
    data_section,
    find_data_difference,
    make_runs_portable,
    unite_copies,
)
from uncollapse.runs.reading import Saved, read_run


@dataclass
class RunCollection:
    """Runs by identity, each with where it was found first; and sentences about what was left out."""

    runs: dict[str, tuple[str, Saved]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def add(self, saved: Saved, where: str) -> str:
        """Add a run. Where it is there already and differs it stays as it is: the first difference."""
        if saved.identity not in self.runs:
            self.runs[saved.identity] = where, saved
            return ""
        place, first = self.runs[saved.identity]
        united, difference = unite_copies(first, saved)
        if not difference:  # samples may have been made anew
            self.runs[saved.identity] = place, replace(united, views=combine_views(first, saved))
        return difference

    def check_names(self) -> None:
        """InputError for two runs by one name."""
        names: dict[str, tuple[str, Saved]] = {}
        for where, saved in self.runs.values():
            other, first = names.setdefault(saved.name, (where, saved))
            if first is not saved:
                lines = list_differences(drop_locations(first.config), drop_locations(saved.config))
                lines = lines or [find_data_difference(first.data, saved.data) or "their data"]
                raise InputError(
                    f"{saved.name} is one run in {other} and another in {where} ({lines[0]}); "
                    "keep them in two studies. Nothing was changed"
                )


def collect_runs(path: Path) -> RunCollection:
    """Every finished run of a pack, or of a study: those of its pack, and those of its folders."""
    found = RunCollection()
    folder, packed = study_folder(path), []
    if pack := find_pack(path):
        packed = pack.runs()
        for saved in packed:
            found.add(saved, str(pack.path))
    if not is_pack(path):
        for saved in make_runs_portable(read_packable_runs(folder, found.left_out), packed):
            place = str(saved.run.folder if saved.run else folder)
            if difference := found.add(saved, place):
                first = found.runs[saved.identity][0]
                found.left_out.append(
                    f"{place}: the same run as {first}, with another result ({difference}); move one of the two away"
                )
    found.check_names()
    return found


def read_packable_runs(folder: Path, left_out: list[str]) -> Iterator[Saved]:
    """The runs in folders that can be packed, with the digests of their weights; of the others, why not."""
    for run in find_runs(folder):
        try:
            yield read_packable(run, folder)
        except (InputError, OSError) as error:
            reason = (
                error
                if isinstance(error, InputError)
                else f"cannot be read ({error.strerror or error})"
            )
            name = run.folder.relative_to(folder).as_posix()
            left_out.append(str(reason) if str(run.folder) in str(reason) else f"{name}: {reason}")


def read_packable(run: Run, folder: Path) -> Saved:
    """A finished run. InputError where it is not finished, damaged, or being written."""
    if run.status != DONE:
        raise InputError(run.status)
    with run.lock(shared=True):
        saved = read_run(run, folder)
        if saved.notes:
            raise InputError(saved.notes[0])
        if not saved.summary or not saved.rows:
            raise InputError("its summary or its rows are missing")
        return replace(saved, weights=find_weights_digest(run))


def pack_study(study: Path, examples: bool = True) -> tuple[Path, RunCollection]:
    """Write the pack of a study; its path and what was found.

    InputError where there is nothing to pack or what is there contradicts itself.
    """
    check_is_study_or_pack(study)
    folder = study_folder(study)
    with hold_lock(folder, "study"):
        found = collect_runs(folder)
        return write_pack(folder, found, examples), found


def check_is_study_or_pack(path: Path) -> None:
    """InputError unless a user named a study or a pack."""
    check_is_study(path)
    if is_run(path):
        raise InputError(f"{path}: the folder of one run; give its study, or a pack")


def write_pack(folder: Path, found: RunCollection, examples: bool = True) -> Path:
    """Put the runs into the study's pack, unless it is the same already."""
    if not found.runs:
        raise InputError(f"{folder}: no finished run to pack{format_reasons(found.left_out)}")
    content = build_pack([saved for _, saved in found.runs.values()], examples)
    folder.mkdir(parents=True, exist_ok=True)
    path = pack_path(folder)
    if not os.path.lexists(path) or path.read_bytes() != content:
        write_atomic(path, content)
    return path


def merge_studies(study: Path, sources: list[Path]) -> tuple[Path, RunCollection]:
    """Join packs and studies into the pack of `study`; its path and all that was found.

    InputError, and nothing written, where they contradict each other.
    """
    if os.path.lexists(study) and (is_run(study) or not study.is_dir()):
        raise InputError(f"{study}: not a study; give the folder of one to merge into")
    with hold_lock(study, "study") if study.is_dir() else nullcontext():
        found = collect_merged(study, sources)
        return write_pack(study_folder(study), found), found


def collect_merged(study: Path, sources: list[Path]) -> RunCollection:
    """What a study and other packs and studies hold together."""
    own = [(study, collect_runs(study_folder(study)))] if has_pack(study) or find_runs(study) else []
    parts = [*own, *((source, collect_source(source)) for source in sources)]
    for number, (source, part) in enumerate(parts):
        for other, earlier in parts[:number]:
            check_shared_data(other, earlier, source, part)
    found = RunCollection(left_out=[line for _, part in parts for line in part.left_out])
    for _, part in parts:
        for where, saved in part.runs.values():
            first, _ = found.runs.get(saved.identity, (where, saved))
            if difference := found.add(saved, where):
                raise InputError(
                    f"{saved.name} is in {first} and in {where}, and they differ ({difference}); "
                    "the same run must be identical. Nothing was changed"
                )
    found.check_names()
    return found


def collect_source(path: Path) -> RunCollection:
    """The runs of a pack or study that a user named. InputError where there are none."""
    check_is_study_or_pack(path)
    found = collect_runs(path)
    if not found.runs:
        raise InputError(f"{path}: no finished run in it{format_reasons(found.left_out)}")
    return found


def format_reasons(left_out: list[str]) -> str:
    return f" ({'; '.join(left_out[:3])}{' ...' * (len(left_out) > 3)})" if left_out else ""


def check_shared_data(one: Path, first: RunCollection, other: Path, second: RunCollection) -> None:
    """InputError where two packs ask for the same data and none of one's is any of the other's."""
    mine, yours = group_data_by_section(first), group_data_by_section(second)
    for section in mine.keys() & yours.keys():
        lines = [find_data_difference(a, b) for a in mine[section] for b in yours[section]]
        if all(lines):
            raise InputError(
                f"{other}: its runs are on other data than those of {one} ({lines[0]}); "
                "runs on other data belong to another study. Nothing was changed"
            )


def group_data_by_section(found: RunCollection) -> dict[str, list[dict[str, Any]]]:
    """The different data of the runs, by what their configs say of data."""
    sections: dict[str, dict[str, dict[str, Any]]] = {}
    for _, saved in found.runs.values():
        key = json.dumps(saved.data, sort_keys=True)
        sections.setdefault(data_section(saved), {})[key] = saved.data
    return {section: list(data.values()) for section, data in sections.items()}
