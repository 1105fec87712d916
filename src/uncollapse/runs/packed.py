"""What a study's pack has of a run that is about to be trained."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from uncollapse.errors import InputError, expand_home
from uncollapse.runs.identity import (
    data_file_names,
    data_locations,
    list_changes_except_locations,
    normalize,
)
from uncollapse.runs.layout import PACK, has_pack, run_name
from uncollapse.runs.pack import pack_path, parse_object, parse_packed_config, read_pack
from uncollapse.runs.portable import find_data_difference


@dataclass(frozen=True)
class PackedRun:
    """A packed run as far as training must know it."""

    name: str
    config: dict[str, Any]
    data: dict[str, Any]

    def has_data(self, config: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
        """Whether its data are those of a run that would begin now."""
        stated = self.data.get("content") is not None and facts.get("content") is not None
        same = stated or data_file_names(self.config) == data_file_names(config)
        return same and not find_data_difference(self.data, facts)

    def has_places(self, config: Mapping[str, Any]) -> bool:
        """Whether both read the same places, and no data lie there on this machine: those would
        have to be compared."""
        here = data_locations(config)
        same = normalize(data_locations(self.config)) == normalize(here)
        return same and not any(os.path.exists(expand_home(place)) for place in here.values())


def find_packed_copies(
    study: Path, name: str, config: Mapping[str, Any], base: Mapping[str, Any]
) -> list[PackedRun]:
    """The packed runs of this head and seed that are this very run, wherever the data of each lie.

    InputError where the pack cannot be read, or has another run by this name.
    """
    if not has_pack(study):
        return []
    path = pack_path(study)
    copies = []
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


def name_in_pack(head: str, overrides: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The name that a run will have in a pack, unless data differ within its study."""
    kept = {key: value for key, value in overrides.items() if key not in data_locations(config)}
    return run_name(head, kept, config["seed"])


def explain_skip(study: Path) -> str:
    """Why a run that a study's pack holds is not trained."""
    return f"{study / PACK} holds this run; again=true trains it again"


def load_packed_runs(path: Path) -> dict[tuple[str, int], list[PackedRun]]:
    """Packed runs by head and seed; read once, however many jobs of one process ask."""
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return load_packed_runs_at(path.resolve(), stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=2)
def load_packed_runs_at(path: Path, *_: int) -> dict[tuple[str, int], list[PackedRun]]:
    runs: dict[tuple[str, int], list[PackedRun]] = {}
    for row in read_pack(path).columns("name", "head", "seed", "config", "data"):
        where = f"{path}, {row['name']}"
        packed = PackedRun(row["name"], parse_packed_config(row, where), parse_object(row["data"], where))
        runs.setdefault((row["head"], row["seed"]), []).append(packed)
    return runs
