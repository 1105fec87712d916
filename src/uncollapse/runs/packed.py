"""Whether a study's pack already has a run that is about to be trained."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from uncollapse.errors import InputError, expand_home
from uncollapse.json_types import JsonMapping, JsonObject
from uncollapse.runs.identity import (
    data_file_names,
    data_locations,
    list_changes_except_locations,
    normalize,
)
from uncollapse.runs.layout import PACK, has_pack, run_name
from uncollapse.runs.pack import pack_path, parse_json_object, parse_packed_config, read_pack
from uncollapse.runs.portable import find_data_difference


@dataclass(frozen=True)
class PackedRun:
    """The columns of a packed run that training needs."""

    name: str
    config: JsonObject
    data: JsonObject

    def has_same_data(self, config: JsonMapping, facts: JsonMapping) -> bool:
        """Whether its data are those of a new run; only facts that both have are compared."""
        # runs of older versions have no fingerprint `content`; their file names are compared
        have_fingerprints = None not in (self.data.get("content"), facts.get("content"))
        same_names = data_file_names(self.config) == data_file_names(config)
        return (have_fingerprints or same_names) and not find_data_difference(self.data, facts)

    def has_same_missing_locations(self, config: JsonMapping) -> bool:
        """Whether a new run reads the same locations, and none of them exists on this machine.

        If one exists, its data must be compared instead.
        """
        locations = data_locations(config)
        same = normalize(data_locations(self.config)) == normalize(locations)
        # a location that exists may hold other data by now
        return same and not any(os.path.exists(expand_home(path)) for path in locations.values())


def find_equal_packed_runs(
    study: Path, name: str, config: JsonMapping, base: JsonMapping
) -> list[PackedRun]:
    """The packed runs that have this config, wherever their data are stored.

    InputError if the pack cannot be read, or has a different run by this name.
    """
    if not has_pack(study):
        return []
    path = pack_path(study)
    copies = []
    # head and seed first: comparing configs is slow
    for packed in load_packed_runs(path).get((config["head"], config["seed"]), []):
        lines = list_changes_except_locations(packed.config, config, base)
        if not lines:
            copies.append(packed)
        elif packed.name == name:
            raise InputError(
                f"{path} holds a run {name} with another config (old -> new): {'; '.join(lines)}. "
                "Choose another study=NAME"
            )
    return copies


def name_in_pack(head: str, overrides: JsonMapping, config: JsonMapping) -> str:
    """The name of a run in a pack, where all runs of its study have the same data."""
    kept = {key: value for key, value in overrides.items() if key not in data_locations(config)}
    return run_name(head, kept, config["seed"])


def explain_skip(study: Path) -> str:
    """Why a run that the study's pack contains is not trained."""
    return f"{study / PACK} holds this run; again=true trains it again"


def load_packed_runs(path: Path) -> dict[tuple[str, int], list[PackedRun]]:
    """Packed runs by head and seed; a pack is parsed once per process until it changes."""
    # every run of a sweep checks the same pack
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    # the inode also changes when a file is replaced within the resolution of time stamps
    return load_packed_runs_at(path.resolve(), stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=2)
def load_packed_runs_at(path: Path, *_: int) -> dict[tuple[str, int], list[PackedRun]]:
    """The runs of a pack. The other arguments only make a changed file a new cache entry."""
    runs: dict[tuple[str, int], list[PackedRun]] = {}
    for row in read_pack(path).columns("name", "head", "seed", "config", "data"):
        where = f"{path}, {row['name']}"
        config = parse_packed_config(row, where)
        packed = PackedRun(row["name"], config, parse_json_object(row["data"], where))
        runs.setdefault((row["head"], row["seed"]), []).append(packed)
    return runs
