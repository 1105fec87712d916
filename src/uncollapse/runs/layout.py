"""A run's folder, results/<study>/runs/<head>/<overrides>/seed=<n>/: file names, status and lock.

Nothing heavy is imported here, so that a wrong folder is refused at once.
"""

import hashlib
import os
import re
import shlex
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from uncollapse.disk import (
    hold_lock,
    join_inside,
    read_bytes,
    resolve_path,
    set_aside,
    write_atomic,
)
from uncollapse.errors import InputError
from uncollapse.json_types import JsonMapping

SCHEMA = 1  # format of run folders and packs; raised when older versions would misread them
PACK = "runs.parquet"  # a study's finished runs in one file
PACK_ONLY_HINT = "packed runs have no weights; train them again (again=true)"
RUN_PATH_IN_STUDY = "runs/<head>/<overrides>/seed=<n>"
RUN_PATH = f"results/<study>/{RUN_PATH_IN_STUDY}"

CONFIG, DATA, VOCABULARY = "config.yaml", "data.json", "vocabulary.txt"
ROWS_FILE, SUMMARY = "metrics.jsonl", "summary.json"
WEIGHTS, STATE = "model.safetensors", "state.pt"
DONE, FAILED = "done", "failed"
OWN_CODE_FILE = "own_code.json"  # digests of the user's own modules at the last start
EVALUATIONS, UNLABELLED = "evaluations", "unlabelled"
# the second folder: samples drawn without the word <unk>
SAMPLES_FOLDER, SAMPLES_KNOWN = "samples", "samples-no-unknown"
WANDB = "wandb_id"
JOBS = "jobs.jsonl"  # of a sweep, in its folder results/<study>/hydra/<time>/
# the files that training writes
TRAINING_FILES = (
    CONFIG, DATA, VOCABULARY, ROWS_FILE, SUMMARY, WEIGHTS, STATE, DONE, FAILED, OWN_CODE_FILE
)  # fmt: skip
TRACE_FILES = (ROWS_FILE, SUMMARY, WEIGHTS, STATE, DONE)  # any of them shows that a run was here

MAX_FOLDER_BYTES = 200  # file systems allow 255 bytes in a name


@dataclass(frozen=True)
class Run:
    """The folder of one run.

    Every method that builds a path raises InputError where a link leads out of the folder, or on
    the way to it out of its study.
    """

    folder: Path

    @cached_property
    def checked_folder(self) -> Path:
        """The folder. InputError if a link between the study and the folder leads elsewhere."""
        # a folder outside a study, such as a copied run, has no study to stay in
        if len(self.folder.parents) > 3:
            join_inside(self.study, *self.folder.parts[-4:])
        return self.folder

    def path(self, *names: str) -> Path:
        return join_inside(self.checked_folder, *names)

    def has(self, *names: str) -> bool:
        """Whether such a file exists within the folder."""
        try:
            return self.path(*names).is_file()
        except (InputError, OSError):
            return False

    def read(self, *names: str) -> bytes:
        """The content of a file. InputError if it cannot be read."""
        return read_bytes(self.path(*names))

    def write(self, *names: str, data: bytes) -> None:
        """Write a file atomically. A link, folder or pipe of that name is renamed first."""
        path = self.path(*names)
        path.parent.mkdir(exist_ok=True)
        # something else with this name is kept, and not written through
        if path.is_symlink() or (path.exists() and not path.is_file()):
            set_aside(path)
        write_atomic(path, data)

    def set_aside(self, name: str) -> Path | None:
        """Rename a file to `name.1`, `name.2` ...; None if there is no such file."""
        path = self.checked_folder / name
        return set_aside(path) if os.path.lexists(path) else None

    def holds(self, name: str) -> bool:
        """Whether anything has that name: a file, a folder or a broken link."""
        return os.path.lexists(self.folder / name)

    @property
    def study(self) -> Path:
        """results/<study>, for a folder that is where runs are."""
        return self.folder.parents[3]

    @property
    def exists(self) -> bool:
        """Whether a run was started here: its config is written before its first step."""
        return self.holds(CONFIG)

    @property
    def status(self) -> str:
        """done, failed or unfinished. A run that failed may have been resumed, so done wins."""
        return next((name for name in (DONE, FAILED) if self.has(name)), "unfinished")

    def lock(self, *, shared: bool = False) -> AbstractContextManager[None]:
        """Keep other processes out. BusyError if one is working on the run."""
        return hold_lock(self.checked_folder, "run", shared=shared)

    def require_config(self) -> None:
        """InputError for files of a run without its config, and for links that lead elsewhere.

        Training would overwrite such files.
        """
        for name in TRAINING_FILES:
            self.path(name)
        # files without a config cannot be identified, and must not be overwritten
        if not self.exists and (left := [name for name in TRACE_FILES if self.holds(name)]):
            raise InputError(
                f"{self.folder}: {', '.join(left)} of a run, but no {CONFIG} to say which run "
                f"it is; put {CONFIG} back or move the folder away. Nothing was changed"
            )


# ---------------------------------------------------------------- names of runs


def locate_run(results: str, study: str, head: str, overrides: JsonMapping, seed: int) -> Run:
    """The run of a study with this head, these overrides and this seed."""
    return Run(Path(results) / study / run_name(head, overrides, seed))


def run_name(head: str, overrides: JsonMapping, seed: int) -> str:
    """A run's path within its study: runs/<head>/<overrides>/seed=<n>."""
    return f"runs/{head}/{format_folder_name(overrides)}/seed={seed}"


def format_title(head: str, overrides: JsonMapping, seed: int) -> str:
    """A run's name on the terminal: head, overrides and seed, separated by spaces."""
    return " ".join([head, *(f"{key}={value}" for key, value in overrides.items()), f"seed={seed}"])


def format_command(head: str, seed: int, words: Iterable[str]) -> str:
    """The command that trains this run again, whatever folder its results go to."""
    dropped = ("head=", "seed=", "results=", "again=")
    others = [word for word in words if not word.startswith(dropped)]
    return shlex.join([*train_words(), f"head={head}", *others, f"seed={seed}"])


def train_words() -> list[str]:
    """How the command is typed in the current folder, which may be a checkout with its script."""
    return ["python", "train.py"] if os.path.exists("train.py") else ["uncollapse", "train"]


def format_folder_name(overrides: JsonMapping) -> str:
    """The overrides as the name of one folder, or "default".

    Characters that are awkward in a path become `-`; a digest then keeps different names apart.
    """
    name = ",".join(f"{key}={value}" for key, value in overrides.items()) or "default"
    safe = re.sub(r"[^\w.,=+-]+", "-", name)
    # cut in bytes, as file systems count; a character cut in two is dropped
    if safe != name or len(safe.encode()) > MAX_FOLDER_BYTES:
        start = safe.encode()[: MAX_FOLDER_BYTES - 20].decode(errors="ignore")
        safe = f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return safe


# ---------------------------------------------------------------- finding runs


def is_run(folder: Path) -> bool:
    """Whether a run was started there, even if its config is lost; readers then report that."""
    return any(os.path.lexists(folder / name) for name in (CONFIG, *TRACE_FILES))


def find_runs(study: Path, head: str = "*", seed: object = "*") -> list[Run]:
    """The runs that were started in a study, or those of one head or seed, sorted by name."""
    folders = (study / "runs").glob(f"{head}/*/seed={seed}")
    # folders without any of these files were never started
    return [Run(folder) for folder in sorted(folders) if is_run(folder)]


def require_runs(folder: Path) -> list[Run]:
    """The runs of a study, or the one run whose folder it is. InputError if there is none."""
    if is_pack(folder):
        raise InputError(f"{folder}: {PACK_ONLY_HINT}")
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.")
    if is_run(folder):
        return [Run(folder)]
    if runs := find_runs(folder):
        return runs
    if has_pack(folder):
        raise InputError(f"{folder} has its runs only in {PACK}: {PACK_ONLY_HINT}")
    raise InputError(describe_missing_study(folder))


def is_pack(path: Path) -> bool:
    """Whether a path is that of a pack, not of a study's folder."""
    # lexists, so that a broken link to a pack is reported and not ignored
    return path.suffix == Path(PACK).suffix and os.path.lexists(path) and not path.is_dir()


def study_folder(path: Path) -> Path:
    """The folder of a study, given its path or that of its pack; a run's own folder for a run."""
    path = Path(path)
    return resolve_path(path.parent if is_pack(path) else path)


def has_pack(study: Path) -> bool:
    """Whether anything in a study has a pack's name."""
    return os.path.lexists(study / PACK)


def check_is_study(path: Path) -> None:
    """InputError unless the path is a study with runs, the folder of one run, or a pack."""
    if not is_pack(path) and not has_pack(path):
        require_runs(path)


def describe_missing_study(folder: Path) -> str:
    """The message for a folder without runs: which files were expected, and a likely folder."""
    near = (
        # the user may have named the folder below or above a study
        [folder.parent]
        if folder.name == "runs"
        else sorted(path.parent for path in folder.glob("*/runs"))
    )
    hint = f"; did you mean {', '.join(map(str, near[:3]))}?" if near else "."
    return (
        f"{folder} is not a study: no {RUN_PATH_IN_STUDY}/{CONFIG} in it, no {PACK}, "
        f"and no {CONFIG} of a single run{hint}"
    )
