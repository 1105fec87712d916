"""What a study's pack holds of a run that is about to be trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from uncollapse.errors import InputError
from uncollapse.runs.identity import changes_but_places, locations, normal, place_names
from uncollapse.runs.layout import PACK, has_pack, run_name
from uncollapse.runs.pack import config_of, mapping, pack_path, read_pack
from uncollapse.runs.portable import other_data


@dataclass(frozen=True)
class Held:
    """A packed run as far as training must know it."""

    name: str
    config: dict[str, Any]
    data: dict[str, Any]

    def has_data(self, config: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
        """Whether its data are those of a run that would begin now."""
        told = self.data.get("content") is not None and facts.get("content") is not None
        same = told or place_names(self.config) == place_names(config)
        return same and not other_data(self.data, facts)


def held_runs(study: Path, name: str, config: Mapping[str, Any], base: Mapping[str, Any]) -> list[Held]:
    """The packed runs of this head and seed that are this very run, wherever the data of each lie.

    InputError where the pack cannot be read, or has another run by this name.
    """
    if not has_pack(study):
        return []
    path = pack_path(study)
    found = []
    for held in known(path).get((config["head"], config["seed"]), []):
        lines = changes_but_places(held.config, config, base)
        if not lines:
            found.append(held)
        elif held.name == name:
            raise InputError(
                f"{path} holds a run {name} with another config (old -> new): {'; '.join(lines)}. "
                "Choose another study=NAME"
            )
    return found


def request_name(head: str, overrides: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The name that a run will have in a pack, but where data differ within its study."""
    kept = {key: value for key, value in overrides.items() if key not in locations(config)}
    return run_name(head, kept, config["seed"])


def holds(study: Path) -> str:
    """Why a run that a study's pack holds is not trained."""
    return f"{study / PACK} holds this run; again=true trains it again"


def same_places(held: Held, config: Mapping[str, Any]) -> bool:
    """Whether both read their data from the same places, as far as a pack says where."""
    return normal(locations(held.config)) == normal(locations(config))


def known(path: Path) -> dict[tuple[str, int], list[Held]]:
    """Packed runs by head and seed; read once, however many jobs of one process ask."""
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return known_at(path.resolve(), found.st_mtime_ns, found.st_size, found.st_ino)


@lru_cache(maxsize=2)
def known_at(path: Path, *_: int) -> dict[tuple[str, int], list[Held]]:
    runs: dict[tuple[str, int], list[Held]] = {}
    for row in read_pack(path).columns("name", "head", "seed", "config", "data"):
        where = f"{path}, {row['name']}"
        held = Held(row["name"], config_of(row, where), mapping(row["data"], where))
        runs.setdefault((row["head"], row["seed"]), []).append(held)
    return runs
