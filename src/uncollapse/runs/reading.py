"""The one reader of runs: everything a run says of itself, checked, or one sentence why it cannot be read.

Only the config must be sound. What else is damaged counts as missing, and `notes` says so.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from uncollapse.disk import read_bytes, require_file
from uncollapse.errors import MOST_SEED, InputError, check_integer, shorten
from uncollapse.runs.identity import identity
from uncollapse.runs.layout import CONFIG, DATA, DONE, FAILED, ROWS, SAMPLES, SUMMARY, Run
from uncollapse.runs.results import joined, read_object, read_results
from uncollapse.runs.rows import Rows, last_test, rows_of
from uncollapse.yaml_files import interpolation, read_yaml

PARTS = (
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
VIEWS = (
    "prior",
    "reconstructions",
    "interpolations",
    "neighbours",
    "responses",
    "traversal",
)  # stems in samples/
COMMA = re.compile(r",(?![^\[\](){}]*[\])}])")  # commas between overrides, not those inside a list
VIEW_FILES = tuple(f"{stem}.{suffix}" for stem in VIEWS for suffix in ("txt", "png"))
MOST_VIEW = 16 * 2**20  # bytes


@dataclass(frozen=True)
class Saved:
    """A run as its folder or a pack holds it. `name` is its path from the study; `summary` has all results joined.

    `views` reads the samples that a report shows, by file name. `run` is None for a packed run.
    """

    name: str
    status: str
    config: dict[str, Any]
    command: str
    data: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    failure: str = ""
    views: Callable[[], Mapping[str, bytes]] = dict
    run: Run | None = None
    weights: str = ""  # their digest, which only packing asks for
    notes: list[str] = field(default_factory=list)

    @cached_property
    def identity(self) -> str:
        """By which one run is known from another, wherever its data lie."""
        return identity(self.config, self.data)


def read_run(run: Run, study: Path) -> Saved:
    """What a run folder says. InputError where its config cannot be read, so that nobody can tell which run it is."""
    config = read_config(run)
    status = run.status
    notes: list[str] = []
    data, summary = optional(run, DATA, notes), optional(run, SUMMARY, notes)
    results, damaged = read_results(run, summary)
    notes += damaged.values()
    rows: Rows = Rows()
    try:
        rows = rows_of(run)
        notes += rows.notes()
    except InputError as error:
        notes.append(str(error))
    if status == DONE:
        notes += [
            f"{name} of a finished run is missing"
            for name in (SUMMARY, DATA)
            if not run.holds(name)
        ]
        notes += doubts(summary, rows.rows)
    notes += unreadable_views(run)
    if (stated := summary.get("identity")) not in (None, identity(config)):
        notes.append(
            f"{CONFIG} is not the one that the run was made with (its digest was {stated})"
        )
    return Saved(
        run.folder.relative_to(study).as_posix() if run.folder != study else run.folder.name,
        status,
        config,
        command_of(run, config),
        data,
        rows.rows,
        joined(summary, results),
        failure(run) if status == FAILED else "",
        lambda: views(run),
        run,
        notes=notes,
    )


def doubts(summary: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """What a finished run says twice, in its summary and in its last row of the test split, and differs."""
    row = last_test(rows, "eval")
    if not row:
        return [f"{ROWS} of a finished run holds no row of the test split"]
    both = {
        key: value for key, value in row.items() if key in summary and key not in ("step", "epoch")
    }
    return [
        f"{SUMMARY} and the test row in {ROWS} differ ({key}: {shorten(summary[key])} and {shorten(value)})"
        for key, value in both.items()
        if summary[key] != value
    ][:1]


def optional(run: Run, name: str, notes: list[str]) -> dict[str, Any]:
    """The object in a file; nothing, and a note, where the file is damaged; nothing where there is none."""
    if not run.holds(name):
        return {}
    try:
        return read_object(run, name)
    except InputError as error:
        notes.append(str(error))
        return {}


def read_config(run: Run) -> dict[str, Any]:
    """config.yaml of a run, which may come from anybody. InputError unless it is what training writes: plain values,
    sections that are mappings, a head, a seed, and nothing left to resolve."""
    path = run.path(CONFIG)
    try:
        found = read_yaml(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return checked_config(found, path)


def checked_config(found: Any, path: Path) -> dict[str, Any]:
    """What a config holds. InputError unless it is one."""
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InputError(f"{path}: damaged (not a config of a run)")
    # words as typed, of which nothing is built
    used = {key: value for key, value in found.items() if key != "overrides"}
    if where := interpolation(used, ""):
        raise InputError(
            f"{path}: {where} holds ${{...}}, and a run's config holds none; train.py did not write it"
        )
    for key in PARTS:
        if key in found and not isinstance(found[key], dict):
            raise InputError(f"{path}: damaged ({key} is no section)")
    if not isinstance(found.get("head"), str | int | float) or not str(found["head"]):
        raise InputError(f"{path}: damaged (no head)")
    check_integer(f"{path}: seed", found.get("seed"), 0, MOST_SEED)
    return {**found, "head": str(found["head"])}


def command_of(run: Run, config: Mapping[str, Any]) -> str:
    """The command that made a run: the comment on line 1, or one rebuilt from its config and folder."""
    first = run.read(CONFIG).decode("utf-8", errors="replace").split("\n", 1)[0]
    if first.startswith("#"):
        return first.lstrip("# ").strip()
    others = override_list(config, run.folder.parent.name)
    words = [
        f"head={config['head']}",
        *others,
        f"seed={config['seed']}",
        f"study={config.get('study', 'scratch')}",
    ]
    return " ".join(["python train.py", *words])


def override_list(config: Mapping[str, Any], folder: str) -> list[str]:
    """["tau=0.3", "trainer.epochs=2"] from the config, or from the folder's name where the config does not say."""
    stated = config.get("overrides")
    if isinstance(stated, dict):
        return [f"{key}={value}" for key, value in stated.items()]
    return [] if folder == "default" else COMMA.split(folder)


def failure(run: Run) -> str:
    """The last line of the traceback."""
    try:
        lines = run.read(FAILED).decode("utf-8", errors="replace").strip().splitlines()
    except InputError as error:
        return str(error)
    return lines[-1].strip() if lines else "no message"


def views(run: Run) -> dict[str, bytes]:
    """The samples of a run that a report shows, by file name; those that cannot be read are left out."""
    found = {}
    for name in VIEW_FILES:
        if run.has(SAMPLES, name):
            try:
                found[name] = read_bytes(run.path(SAMPLES, name), MOST_VIEW)
            except InputError:
                continue
    return found


def unreadable_views(run: Run) -> list[str]:
    """A sentence on the first of a run's samples that is no plain file in its folder."""
    if not run.holds(SAMPLES):
        return []
    try:
        present = {*os.listdir(run.path(SAMPLES))}
        for name in sorted(present.intersection(VIEW_FILES)):
            require_file(run.path(SAMPLES, name))
    except InputError as error:
        return [f"{error}; not shown"]
    except OSError as error:
        return [f"{run.folder / SAMPLES}: cannot be read ({error.strerror or error}); not shown"]
    return []
