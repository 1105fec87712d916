"""A run's folder, results/<study>/runs/<head>/<overrides>/seed=<n>/: its files by name, its status, its lock.

Nothing heavy is imported here, so that a wrong folder is refused at once.
"""

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from uncollapse.disk import (
    hold_lock,
    join_inside,
    read_bytes,
    resolve_path,
    set_aside,
    write_atomic,
)
from uncollapse.errors import InputError

SCHEMA = 1  # of a run folder and of a pack: raised when an older version would misread it
PACK = "runs.parquet"  # of a study: its finished runs in one file
PACK_ONLY_HINT = "packed runs have no weights to look at; train them again (again=true)"
RUN_PATH_IN_STUDY = "runs/<head>/<overrides>/seed=<n>"
RUN_PATH = f"results/<study>/{RUN_PATH_IN_STUDY}"

CONFIG, DATA, VOCABULARY = "config.yaml", "data.json", "vocabulary.txt"
ROWS_FILE, SUMMARY = "metrics.jsonl", "summary.json"
WEIGHTS, STATE = "model.safetensors", "state.pt"
DONE, FAILED = "done", "failed"
EVALUATIONS, UNLABELLED = "evaluations", "unlabelled"
SAMPLES_FOLDER, SAMPLES_KNOWN = "samples", "samples-no-unknown"  # the second without unknown words
WANDB = "wandb_id"
TRAINING_FILES = (CONFIG, DATA, VOCABULARY, ROWS_FILE, SUMMARY, WEIGHTS, STATE, DONE, FAILED)  # by training
TRACE_FILES = (ROWS_FILE, SUMMARY, WEIGHTS, STATE, DONE)  # what only a run leaves behind


@dataclass(frozen=True)
class Run:
    """One run's folder. Asking for a path raises InputError where a link leads out of it, or out of its study."""

    folder: Path

    @cached_property
    def place(self) -> Path:
        """The folder. InputError where a link on the way from its study leads out of that."""
        if len(self.folder.parents) > 3:
            join_inside(self.study, *self.folder.parts[-4:])
        return self.folder

    def path(self, *names: str) -> Path:
        return join_inside(self.place, *names)

    def has(self, *names: str) -> bool:
        """Whether there is such a file, in the folder itself."""
        try:
            return self.path(*names).is_file()
        except (InputError, OSError):
            return False

    def read(self, *names: str) -> bytes:
        """What a file holds. InputError, in one sentence, where it cannot be read."""
        return read_bytes(self.path(*names))

    def write(self, *names: str, data: bytes) -> None:
        """Put a file there, complete or not at all. What is no plain file makes way under another name."""
        path = self.path(*names)
        path.parent.mkdir(exist_ok=True)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            set_aside(path)
        write_atomic(path, data)

    def set_aside(self, name: str) -> Path | None:
        """Rename a file to `name.1`, `name.2` ...; None where there is none."""
        path = self.place / name
        return set_aside(path) if os.path.lexists(path) else None

    def holds(self, name: str) -> bool:
        """Whether there is anything of that name, be it no file."""
        return os.path.lexists(self.folder / name)

    @property
    def study(self) -> Path:
        """results/<study>, for a folder that lies where runs do."""
        return self.folder.parents[3]

    @property
    def exists(self) -> bool:
        """Whether a run was begun here: its config is written before its first step."""
        return self.holds(CONFIG)

    @property
    def status(self) -> str:
        """done wins over failed: a run that failed once may have been resumed to its end."""
        return next((name for name in (DONE, FAILED) if self.has(name)), "unfinished")

    def lock(self, *, shared: bool = False) -> AbstractContextManager[None]:
        """Keep other processes out. InputError where one is at work."""
        return hold_lock(self.place, "run", shared=shared)

    def require_config(self) -> None:
        """InputError where files of a run lie without its config, which training would write over, or where links lead out."""
        for name in TRAINING_FILES:
            self.path(name)
        if not self.exists and (left := [name for name in TRACE_FILES if self.holds(name)]):
            raise InputError(
                f"{self.folder}: {', '.join(left)} of a run, but no {CONFIG}, so nobody knows which run it is; "
                f"put {CONFIG} back or move the folder away. Nothing was changed"
            )


# ---------------------------------------------------------------- where runs lie


def locate_run(results: str, study: str, head: str, overrides: Mapping[str, Any], seed: int) -> Run:
    """The run of a study with this head, these overrides and this seed."""
    return Run(Path(results) / study / run_name(head, overrides, seed))


def run_name(head: str, overrides: Mapping[str, Any], seed: int) -> str:
    """A run's path from its study: runs/<head>/<overrides>/seed=<n>."""
    return f"runs/{head}/{format_folder_name(overrides)}/seed={seed}"


def format_title(head: str, overrides: Mapping[str, Any], seed: int) -> str:
    """A run's name on the terminal: head, overrides and seed, apart by spaces."""
    return " ".join([head, *(f"{key}={value}" for key, value in overrides.items()), f"seed={seed}"])


def format_command(head: str, seed: int, words: Iterable[str]) -> str:
    """The words that make this one run again, wherever results lie."""
    others = [
        word for word in words if not word.startswith(("head=", "seed=", "results=", "again="))
    ]
    return shlex.join(["python", "train.py", f"head={head}", *others, f"seed={seed}"])


def format_folder_name(overrides: Mapping[str, Any]) -> str:
    """The overrides as one folder name, or "default"; what paths dislike becomes `-`, and then a digest keeps names apart."""
    name = ",".join(f"{key}={value}" for key, value in overrides.items()) or "default"
    safe = re.sub(r"[^\w.,=+-]+", "-", name)
    if safe != name or len(safe.encode()) > 200:  # a file system takes 255 bytes
        safe = f"{safe.encode()[:180].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return safe


def is_run(folder: Path) -> bool:
    """Whether a run was begun there. One that has lost its config counts, so that its readers can say so."""
    return any(os.path.lexists(folder / name) for name in (CONFIG, *TRACE_FILES))


def find_runs(study: Path, head: str = "*", seed: object = "*") -> list[Run]:
    """The runs that were begun in a study, or those of one head or seed, by name."""
    found = (study / "runs").glob(f"{head}/*/seed={seed}")
    return [Run(folder) for folder in sorted(found) if is_run(folder)]


def require_runs(folder: Path) -> list[Run]:
    """The runs of a study, or the one whose folder it is. InputError where there is none."""
    if is_pack(folder):
        raise InputError(f"{folder}: {PACK_ONLY_HINT}")
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.")
    if is_run(folder):
        return [Run(folder)]
    if found := find_runs(folder):
        return found
    if has_pack(folder):
        raise InputError(f"{folder} has its runs in {PACK} alone: {PACK_ONLY_HINT}")
    raise InputError(describe_missing_study(folder))


def is_pack(path: Path) -> bool:
    """Whether a path is that of a pack, and not of a study."""
    return path.suffix == Path(PACK).suffix and os.path.lexists(path) and not path.is_dir()


def study_folder(path: Path) -> Path:
    """The folder that a study, a run's folder or a pack belongs to."""
    path = Path(path)
    return resolve_path(path.parent if is_pack(path) else path)


def has_pack(study: Path) -> bool:
    """Whether there is anything by a pack's name in a study."""
    return os.path.lexists(study / PACK)


def check_is_study(path: Path) -> None:
    """InputError unless there are runs: a study, one run's folder, or a pack."""
    if not is_pack(path) and not has_pack(path):
        require_runs(path)


def describe_missing_study(folder: Path) -> str:
    """Says what was looked for, and which folder was perhaps meant."""
    near = (
        [folder.parent]
        if folder.name == "runs"
        else sorted(path.parent for path in folder.glob("*/runs"))
    )
    hint = f"; perhaps you mean {', '.join(map(str, near[:3]))}" if near else ""
    return f"{folder} is not a study: no {RUN_PATH_IN_STUDY}/{CONFIG} in it, no {PACK}, and no {CONFIG} of a single run{hint}."
