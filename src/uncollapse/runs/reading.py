"""The only reader of run folders; everything in them is checked.

Only the config must be intact. Anything else that is damaged counts as missing; `notes` says so.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from uncollapse.disk import read_bytes, require_plain_file
from uncollapse.errors import MAX_SEED, InputError, check_integer, shorten
from uncollapse.json_types import Json, JsonMapping, JsonObject
from uncollapse.runs.identity import compute_identity
from uncollapse.runs.layout import (
    CONFIG,
    DATA,
    DONE,
    FAILED,
    ROWS_FILE,
    SAMPLES_FOLDER,
    SUMMARY,
    Run,
)
from uncollapse.runs.results import join_results, read_object, read_results
from uncollapse.runs.rows import ParsedRows, last_test_row, read_run_rows
from uncollapse.yaml_files import find_interpolation, read_yaml

CONFIG_SECTIONS = (
    "posterior",
    "objective",
    "procedure",
    "decoder",
    "data",
    "model",
    "trainer",
    "log",
    "overrides",
)
# the files in samples/ that a report shows
VIEW_STEMS = (
    "prior",
    "reconstructions",
    "interpolations",
    "neighbours",
    "responses",
    "traversal",
)
VIEW_FILES = tuple(f"{stem}.{suffix}" for stem in VIEW_STEMS for suffix in ("txt", "png"))
MAX_VIEW_BYTES = 16 * 2**20
OVERRIDE_COMMA = re.compile(r",(?![^\[\](){}]*[\])}])")  # between overrides, not inside a list


@dataclass(frozen=True)
class Saved:
    """A run as its folder or a pack holds it."""

    name: str  # its path within the study
    status: str
    config: JsonObject
    command: str
    data: JsonObject = field(default_factory=dict)
    rows: list[JsonObject] = field(default_factory=list)
    summary: JsonObject = field(default_factory=dict)  # with the results of evaluations joined
    failure: str = ""
    views: Callable[[], Mapping[str, bytes]] = dict  # reads the samples shown in a report
    run: Run | None = None  # None for a packed run
    weights: str = ""  # their digest; only packing needs it
    notes: list[str] = field(default_factory=list)

    @cached_property
    def identity(self) -> str:
        """The digest that identifies this run, wherever its data are stored."""
        return compute_identity(self.config, self.data)


def read_run(run: Run, study: Path) -> Saved:
    """The run in a folder. InputError if its config is damaged: nothing else identifies it."""
    config = read_config(run)
    status = run.status
    notes: list[str] = []
    data, summary = read_optional(run, DATA, notes), read_optional(run, SUMMARY, notes)
    results, damaged = read_results(run, summary)
    notes += damaged.values()
    rows = read_noted_rows(run, notes)
    # files of an unfinished run are incomplete by nature
    if status == DONE:
        notes += find_missing_files(run)
        notes += find_contradictions(summary, rows)
    notes += find_unreadable_view(run)
    saved = Saved(
        name=name_run(run, study),
        status=status,
        config=config,
        command=read_command(run, config),
        data=data,
        rows=rows,
        summary=join_results(summary, results),
        failure=read_failure(run) if status == FAILED else "",
        views=lambda: read_view_files(run),  # read on demand: samples are large
        run=run,
        notes=notes,
    )
    stated = summary.get("identity")
    # written without facts about the data, so that only a changed config is noticed here; both
    # digests are equal where the data are not from files
    if stated not in (None, saved.identity) and stated != compute_identity(config):
        notes.append(
            f"{CONFIG} is not the one that the run was made with (its digest was {stated})"
        )
    return saved


def name_run(run: Run, study: Path) -> str:
    """The folder of a run within its study; its last part if it is the study."""
    if run.folder == study:
        return run.folder.name
    return run.folder.relative_to(study).as_posix()


def read_noted_rows(run: Run, notes: list[str]) -> list[JsonObject]:
    """The rows of a run; `notes` receives what is wrong with the file."""
    try:
        parsed: ParsedRows = read_run_rows(run)
    except InputError as error:
        notes.append(str(error))
        return []
    notes += parsed.notes()
    return parsed.rows


def find_missing_files(run: Run) -> list[str]:
    """A sentence for each file that a finished run lacks."""
    missing = [name for name in (SUMMARY, DATA) if not run.holds(name)]
    return [f"{name} of a finished run is missing" for name in missing]


def find_contradictions(summary: JsonMapping, rows: Sequence[JsonObject]) -> list[str]:
    """The first number that differs between a finished run's summary and its last test row."""
    row = last_test_row(rows, "eval")
    if not row:
        return [f"{ROWS_FILE} of a finished run has no row of the test split"]
    for key, value in row.items():
        # the summary has the step of training, the row that of the best weights
        if key in summary and key not in ("step", "epoch") and summary[key] != value:
            values = f"{shorten(summary[key])} and {shorten(value)}"
            return [f"{SUMMARY} and the test row in {ROWS_FILE} differ ({key}: {values})"]
    return []


def read_optional(run: Run, name: str, notes: list[str]) -> JsonObject:
    """The object in a file; {} if there is none, or, with a note, if the file is damaged."""
    if not run.holds(name):
        return {}
    try:
        return read_object(run, name)
    except InputError as error:
        notes.append(str(error))
        return {}


# ---------------------------------------------------------------- config


def read_config(run: Run) -> JsonObject:
    """The config of a run, which may come from anyone. InputError if training did not make it."""
    path = run.path(CONFIG)
    try:
        config = read_yaml(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return check_config(config, path)


def check_config(config: Json, path: Path) -> JsonObject:
    """A config with its head as text.

    InputError unless its sections are mappings, it has a head and a seed, and nothing is left to
    resolve.
    """
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise InputError(f"{path}: damaged (not a config of a run)")
    # overrides are kept as typed; nothing is built from them
    used = {key: value for key, value in config.items() if key != "overrides"}
    if where := find_interpolation(used, ""):
        raise InputError(
            f"{path}: {where} contains ${{...}}, which `train` resolves before it saves a config"
        )
    for key in CONFIG_SECTIONS:
        if key in config and not isinstance(config[key], dict):
            raise InputError(f"{path}: damaged ({key} is not a section)")
    head = config.get("head")
    if not isinstance(head, str | int | float) or not str(head):
        raise InputError(f"{path}: damaged (no head)")
    check_integer(f"{path}: seed", config.get("seed"), 0, MAX_SEED)
    return {**config, "head": str(head)}


def read_command(run: Run, config: JsonMapping) -> str:
    """The command that made a run: line 1 of its config, or rebuilt from the config and folder."""
    first = run.read(CONFIG).decode("utf-8", errors="replace").split("\n", 1)[0]
    if first.startswith("#"):
        return first.lstrip("# ").strip()
    overrides = list_overrides(config, run.folder.parent.name)
    head, seed, study = config["head"], config["seed"], config.get("study", "scratch")
    words = [f"head={head}", *overrides, f"seed={seed}", f"study={study}"]
    return " ".join(["python train.py", *words])


def list_overrides(config: JsonMapping, folder: str) -> list[str]:
    """["tau=0.3", "trainer.epochs=2"], from the config or else from the folder's name."""
    stated = config.get("overrides")
    if isinstance(stated, dict):
        return [f"{key}={value}" for key, value in stated.items()]
    # folders are named after overrides, joined by commas
    return [] if folder == "default" else OVERRIDE_COMMA.split(folder)


# ---------------------------------------------------------------- failure and samples


def read_failure(run: Run) -> str:
    """The last line of a failed run's traceback."""
    try:
        lines = run.read(FAILED).decode("utf-8", errors="replace").strip().splitlines()
    except InputError as error:
        return str(error)
    return lines[-1].strip() if lines else "no message"


def read_view_files(run: Run) -> dict[str, bytes]:
    """The samples of a run that a report shows, by file name, without unreadable ones."""
    views = {}
    for name in VIEW_FILES:
        if run.has(SAMPLES_FOLDER, name):
            try:
                # bounded, as a view may have been replaced by anything
                views[name] = read_bytes(run.path(SAMPLES_FOLDER, name), MAX_VIEW_BYTES)
            except InputError:
                continue
    return views


def find_unreadable_view(run: Run) -> list[str]:
    """A sentence on the first of a run's samples that is not a plain file in its folder."""
    if not run.holds(SAMPLES_FOLDER):
        return []
    try:
        present = {*os.listdir(run.path(SAMPLES_FOLDER))}
        for name in sorted(present.intersection(VIEW_FILES)):
            require_plain_file(run.path(SAMPLES_FOLDER, name))
    except InputError as error:
        return [f"{error}; not shown"]
    except OSError as error:
        reason = error.strerror or error
        return [f"{run.folder / SAMPLES_FOLDER}: cannot be read ({reason}); not shown"]
    return []
