"""`report STUDY --watch`: the page of a study on a port of this machine, while its sweep runs.

Nothing is written. The page is built again when runs change, but not so often that it would slow
down training on the same machine. What is being trained, and which runs have ended since the page
was built, is read every two seconds.
"""

import json
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread

from uncollapse.console import format_row
from uncollapse.errors import InputError
from uncollapse.json_types import JsonObject
from uncollapse.report.assets import HERE, content_policy
from uncollapse.report.files import load_template
from uncollapse.report.server import Served, open_server
from uncollapse.report.text import clean_text
from uncollapse.runs.json_values import parse_json
from uncollapse.runs.layout import DONE, EVALUATIONS, FAILED, PACK, ROWS_FILE, SUMMARY, find_runs
from uncollapse.runs.status import (
    RUNNING,
    WAITING,
    Entry,
    StudyStatus,
    describe_entry,
    describe_status,
    read_status,
)

INTERVAL = 2.0  # seconds between two looks at the study
# shares of time spent on building the page: after a run has ended, and otherwise
URGENT_SHARE, SHARE = 1 / 2, 1 / 10
MOST_LISTED = 40  # runs and jobs that the page lists
RESULT_FILES = (DONE, FAILED, SUMMARY, EVALUATIONS)  # that change when a run has ended
IN_NEXT_PAGE = "the table has it with the next update"
TAIL_BYTES = 200_000  # of the file of rows, in which its last row is looked for

Stamps = tuple[tuple[str, int], ...]  # (file, time of its last change)


def watch_study(folder: Path, rule: str, host: str, port: int) -> None:
    """Serve the page of a study and follow its runs until Ctrl-C.

    InputError if the port cannot be used.
    """
    from uncollapse.report.page import build_page

    name = clean_text(folder.resolve().name)
    follower = Follower(folder, partial(build_page, folder, rule), partial(render_reason, name))
    follower.shown.frame = render_frame(name)
    with open_server(host, port, follower.shown) as server:
        follower.start()
        print(f"{name} on {server.address} (Ctrl-C ends this)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            follower.ended.set()


def render_frame(name: str) -> bytes:
    """The frame around the page, which asks for news."""
    script = (HERE / "scripts/watch.js").read_text(encoding="utf-8")
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    style = (HERE / "watch.css").read_text(encoding="utf-8")
    policy = content_policy([script], [style], "'none'") + "; connect-src 'self'; frame-src 'self'"
    return (
        load_template("watch.html")
        .render(name=name, script=script, style=style, policy=policy)
        .encode()
    )


def render_reason(name: str, reason: str) -> bytes:
    """A page that says why there is no report yet."""
    return load_template("watch_reason.html").render(name=name, reason=reason).encode()


class Follower(Thread):
    """Keeps `shown` up to date from the folder of a study.

    `build` makes the page; an InputError says why there is none yet, and `build_empty` shows that.
    Files may vanish or be half-written at any moment, so that any other error only ends one look:
    the frame names it, and its traceback is printed once.
    """

    def __init__(
        self, folder: Path, build: Callable[[], bytes], build_empty: Callable[[str], bytes]
    ):
        super().__init__(name="follower", daemon=True)
        self.folder, self.build, self.build_empty = folder, build, build_empty
        self.shown, self.ended = Served(), Event()
        self.ends: Stamps = ()
        self.rows: Stamps = ()
        self.built, self.cost = 0.0, 0.0  # when the page was built, and in how many seconds
        self.described: JsonObject = {"head": clean_text(folder.name), "notes": [], "runs": []}
        self.problem = ""  # why the last look failed
        self.printed: set[str] = set()  # problems whose traceback was printed

    def run(self) -> None:
        self.follow()
        while not self.ended.wait(INTERVAL):
            self.follow()

    def follow(self) -> None:
        """Read the study once, and build the page if it is due."""
        ends = self.ends
        problem = self.attempt(self.update_status)
        if self.shown.page:
            # before a build, which may take seconds
            self.publish(problem)
        problem = self.attempt(self.update_page) or problem
        if self.ends != ends:
            # runs that have ended are on the page now
            problem = self.attempt(self.update_status) or problem
        self.problem = problem
        if not self.shown.page:
            self.shown.page = self.build_empty(problem)
        self.publish(problem)

    def attempt(self, step: Callable[[], None]) -> str:
        """Take a step; why it failed, or ''."""
        try:
            step()
        except Exception as error:
            return self.explain(error)
        return ""

    def publish(self, problem: str) -> None:
        """Let the frame see what was read."""
        status = {**self.described, "page": self.shown.page_tag, "problem": problem}
        self.shown.status = json.dumps(status).encode()

    def explain(self, error: Exception) -> str:
        """A sentence on an error; prints its traceback if it is new."""
        message = clean_text(f"{type(error).__name__}: {error}".removesuffix(": "))
        if message not in self.printed:
            self.printed.add(message)
            traceback.print_exception(error)
        return f"The study could not be read ({message}); trying again."

    def update_page(self) -> None:
        runs = [run.folder for run in find_runs(self.folder)]
        ends = read_stamps([self.folder / PACK, *list_files(runs, RESULT_FILES)])
        rows = read_stamps(list_files(runs, (ROWS_FILE,)))
        if self.is_due(ends, rows, time.monotonic()):
            start = time.monotonic()
            try:
                self.shown.page = self.build_page()
            finally:
                self.built = time.monotonic()
                self.cost = self.built - start
            self.ends, self.rows = ends, rows

    def is_due(self, ends: Stamps, rows: Stamps, now: float) -> bool:
        """Whether runs have changed or the last look failed, and the last build is long ago."""
        if not self.shown.page:
            return True
        share = URGENT_SHARE if ends != self.ends else SHARE
        has_changed = bool(self.problem) or (ends, rows) != (self.ends, self.rows)
        return has_changed and now - self.built >= self.cost / share

    def build_page(self) -> bytes:
        try:
            return self.build()
        except InputError as error:
            return self.build_empty(str(error))

    def update_status(self) -> None:
        """Read what the frame shows of the sweep, as text."""
        status = read_status(self.folder)
        head, *rest = describe_status(self.folder, status)
        newer = self.list_newer(status)
        listed = [
            entry
            for entry in status.entries
            if entry.state not in (DONE, WAITING) or entry.name in newer
        ]
        shown = [describe_run(self.folder, entry) for entry in listed[:MOST_LISTED]]
        self.described = {
            "head": head,
            "notes": [*rest, *list_more(listed), *list_waiting(status)],
            "runs": shown,
        }

    def list_newer(self, status: StudyStatus) -> set[str]:
        """The runs that have ended since the page was built, so that it lacks their rows."""
        known = {path for path, _ in self.ends}
        marks = {
            entry.name: self.folder / "runs" / entry.name / DONE
            for entry in status.entries
            if entry.state == DONE
        }
        # a packed run may have no folder
        return {name for name, mark in marks.items() if str(mark) not in known and mark.exists()}


def list_files(runs: Iterable[Path], names: Iterable[str]) -> list[Path]:
    """The files of these names in every run, whether they exist or not."""
    return [run / name for run in runs for name in names]


def read_stamps(paths: Iterable[Path]) -> Stamps:
    """When the files that exist were changed last."""
    found = []
    for path in paths:
        with suppress(OSError):
            found.append((str(path), path.stat().st_mtime_ns))
    return tuple(found)


def describe_run(study: Path, entry: Entry) -> JsonObject:
    """The name, state and progress of a run, and its last row."""
    share = entry.sign.step / entry.sign.steps if entry.sign and entry.sign.steps else None
    split = {RUNNING: "valid", DONE: "test"}.get(entry.state)
    row = read_last_row(study / "runs" / entry.name / ROWS_FILE, split) if split else ""
    return {
        "name": entry.name,
        "state": entry.state,
        "text": IN_NEXT_PAGE if entry.state == DONE else describe_entry(entry),
        "share": share,
        "row": row,
    }


def list_more(listed: list[Entry]) -> list[str]:
    more = len(listed) - MOST_LISTED
    return [f"and {more:,} more that are not done"] if more > 0 else []


def list_waiting(status: StudyStatus) -> list[str]:
    """The next jobs, in one line."""
    waiting = [entry.name for entry in status.entries if entry.state == WAITING]
    if not waiting:
        return []
    more = f" and {len(waiting) - 3:,} more" if len(waiting) > 3 else ""
    return [f"waiting: {'; '.join(waiting[:3])}{more}"]


def read_last_row(path: Path, split: str) -> str:
    """The newest row of a run on a split, as its console prints it; '' without one."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).split(b"\n")
    except OSError:
        return ""
    for line in reversed(lines):
        row, _ = parse_json(line)
        if isinstance(row, dict) and row.get("split") == split and row.get("mode") == "eval":
            try:
                return format_row(row)
            except (KeyError, TypeError, ValueError):  # a row of someone else
                return ""
    return ""
