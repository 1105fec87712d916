"""What goes on in a study: which runs are trained, wait, are done, failed or lost.

Read from the folders alone, so from any machine that sees them, while sweeps work in them.
"""

import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from uncollapse.errors import InputError
from uncollapse.runs.heartbeat import Sign, is_alive, read_sign
from uncollapse.runs.json_values import read_json_lines
from uncollapse.runs.layout import (
    DONE,
    FAILED,
    JOBS,
    PACK,
    Run,
    check_is_study,
    find_runs,
    has_pack,
    is_pack,
)
from uncollapse.runs.reading import read_failure

# the states of a run or a job, in the order in which they are listed
RUNNING, WAITING, LOST, STOPPED, REFUSED = "running", "waiting", "lost", "stopped", "refused"
STATES = (RUNNING, LOST, FAILED, REFUSED, STOPPED, WAITING, DONE)
MEANINGS = {
    RUNNING: "a process trains it",
    LOST: "its process was killed, or has not been heard of for a minute",
    FAILED: "it ended with an error",
    REFUSED: "its settings were refused before it started",
    STOPPED: "it was interrupted; the same command continues it",
    WAITING: "a sweep will start it",
    DONE: "it is complete",
}
PATIENCE = 30.0  # seconds for a sweep to make its folder


@dataclass(frozen=True)
class Entry:
    """A run, or a job of a sweep that has no run yet."""

    name: str
    state: str
    reason: str = ""  # of a failure or a refusal
    sign: Sign | None = None  # of the process that trains or trained it


@dataclass(frozen=True)
class Sweep:
    """A sweep that is going on, or was killed."""

    folder: Path
    sign: Sign
    is_alive: bool
    waiting: tuple[str, ...]  # words of jobs that have not started
    refused: tuple[Entry, ...]


@dataclass(frozen=True)
class StudyStatus:
    """The runs of a study by state, and its sweeps."""

    entries: tuple[Entry, ...]  # in the order of STATES
    sweeps: tuple[Sweep, ...]

    def count(self) -> dict[str, int]:
        """The number of entries in each state that occurs."""
        counts = Counter(entry.state for entry in self.entries)
        return {state: counts[state] for state in STATES if counts[state]}

    @property
    def seconds_left(self) -> float | None:
        """A rough estimate until the sweeps end: jobs that wait take as long as those that run."""
        running = [entry.sign for entry in self.entries if entry.state == RUNNING and entry.sign]
        left = [seconds for sign in running if (seconds := sign.seconds_left) is not None]
        if not running or len(left) < len(running):
            return None
        waiting = sum(entry.state == WAITING for entry in self.entries)
        lengths = [estimate_length(sign) for sign in running]
        return sum(left) / len(running) + waiting / len(running) * sum(lengths) / len(running)


def estimate_length(sign: Sign) -> float:
    """The seconds that a run takes from its first step to its last, at its present speed."""
    made = max(sign.step - sign.first_step, 1)
    return sign.steps * (sign.time - sign.started) / made


def read_status(study: Path) -> StudyStatus:
    """The state of every run in a study's folder, and of the jobs of its sweeps."""
    runs = [read_entry(run) for run in find_runs(study)]
    sweeps = [sweep for file in find_sweeps(study) if (sweep := read_sweep(file))]
    waiting = [
        Entry(words, WAITING) for sweep in sweeps if sweep.is_alive for words in sweep.waiting
    ]
    refused = [entry for sweep in sweeps for entry in sweep.refused]
    entries = sorted([*runs, *waiting, *refused], key=lambda entry: STATES.index(entry.state))
    return StudyStatus(tuple(entries), tuple(sweeps))


def find_sweeps(study: Path) -> list[Path]:
    """The lists of jobs of a study's sweeps, the oldest first."""
    return sorted(study.glob(f"hydra/*/{JOBS}"))


def read_entry(run: Run) -> Entry:
    """The state of a run."""
    name = str(run.folder.relative_to(run.study / "runs"))
    if run.status == DONE:
        return Entry(name, DONE)
    sign = read_sign(run.folder)
    # a run that failed may be trained again
    if sign and is_alive(sign):
        return Entry(name, RUNNING, sign=sign)
    if run.status == FAILED:
        return Entry(name, FAILED, read_failure(run))
    return Entry(name, LOST if sign else STOPPED, sign=sign)


def read_sweep(file: Path) -> Sweep | None:
    """A sweep from its list of jobs; None for one that has ended or cannot be read."""
    sign = read_sign(file.parent)
    if not sign:
        return None
    entries = [entry for entry in read_json_lines(file) if isinstance(entry, dict)]
    jobs = [str(words) for entry in entries for words in as_list(entry.get("jobs"))]
    started = {entry.get("words") for entry in entries}
    refused = [
        Entry(str(entry.get("words")), REFUSED, str(entry.get("message")))
        for entry in entries
        if entry.get("status") == REFUSED
    ]
    waiting = [words for words in jobs if words not in started]
    short = shorten_words([*waiting, *(entry.name for entry in refused)], jobs)
    names = short[len(waiting) :]
    named = [replace(entry, name=name) for name, entry in zip(names, refused, strict=True)]
    return Sweep(file.parent, sign, is_alive(sign), tuple(short[: len(waiting)]), tuple(named))


def as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def shorten_words(names: list[str], jobs: list[str]) -> list[str]:
    """The words of jobs without those that all jobs share."""
    shared = set.intersection(*(set(job.split()) for job in jobs)) if len(jobs) > 1 else set()
    short = [" ".join(word for word in name.split() if word not in shared) for name in names]
    return [new or name for new, name in zip(short, names, strict=True)]


# ---------------------------------------------------------------- text


def describe_entry(entry: Entry, now: float | None = None) -> str:
    """What is known about an entry beside its name and state: progress, time left, host, reason."""
    sign = entry.sign
    if entry.state == RUNNING and sign:
        if not sign.steps:
            return f"starts or is tested, on {sign.host}"
        share = f"step {sign.step:,} of {sign.steps:,}"
        left = sign.seconds_left
        rest = f", {format_duration(left)} left" if left else ", tested" if left == 0 else ""
        return f"{share}{rest}, on {sign.host}"
    if entry.state == LOST and sign:
        ago = (time.time() if now is None else now) - sign.time
        return (
            f"last heard of {format_duration(ago)} ago at step {sign.step:,}, on {sign.host}; the "
            "same command continues it"
        )
    return entry.reason or ("" if entry.state in (WAITING, DONE) else MEANINGS[entry.state])


def wait_for_status(study: Path, patience: float = PATIENCE) -> None:
    """As `check_has_status`, but a folder that does not exist may yet be made by a sweep that was
    started together with this process."""
    if not study.exists():
        print(f"{study} does not exist yet; waiting for a sweep to start it", file=sys.stderr)
        end = time.monotonic() + patience
        while not is_ready(study) and time.monotonic() < end:
            time.sleep(0.2)
    check_has_status(study)


def is_ready(study: Path) -> bool:
    try:
        check_has_status(study)
    except InputError:
        return False
    return True


def check_has_status(study: Path) -> None:
    """InputError for anything but a study's folder with runs, or with a sweep that starts."""
    if is_pack(study):
        raise InputError(f"{study}: a pack has finished runs only; give the study's folder")
    if not find_sweeps(study):
        check_is_study(study)


def format_duration(seconds: float) -> str:
    """'40 s', '12 min', '3 h 05 min', '2 days 4 h'."""
    if seconds < 100:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} days {hours} h"


def describe_status(study: Path, status: StudyStatus) -> list[str]:
    """The lines of `uncollapse study status`, without the runs that are done."""
    counts = ", ".join(f"{number:,} {state}" for state, number in status.count().items())
    left = status.seconds_left
    rest = f"; about {format_duration(left)} left" if left else ""
    none = f"no run in its folder, finished ones in its {PACK}" if has_pack(study) else "no run yet"
    lines = [f"{study.name}: {counts or none}{rest}"]
    lines += [
        f"the sweep in {sweep.folder} was killed with {len(sweep.waiting):,} jobs not started; the "
        "same command continues it"
        for sweep in status.sweeps
        if not sweep.is_alive
    ]
    return lines
