"""A sign of life that a working process writes into its folder, and how others read it.

Written every few seconds while a run is trained or a sweep is driven, removed at the end. A file
that is left behind is of a process that was killed.

It is a lease as well: file systems of a network may keep the locks of one machine from another, but
create a file for one of them only. So no machine works in a folder in which another one goes on to
give signs, and a process that was silent for a minute, and finds the signs of another, stops.
"""

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Thread
from types import TracebackType
from typing import Any
from uuid import uuid4

from uncollapse.errors import BusyError
from uncollapse.runs.json_values import parse_json

INTERVAL = 3.0  # seconds between two signs
LOOK = 1.0  # seconds between two looks at the signs of another machine
SILENCE = 60.0  # seconds without a sign after which a process counts as lost
PROGRESS = "progress.json"
MOST_BYTES = 10_000


class Heartbeat:
    """Signs of life in a folder, as a context. `step` and `steps` may be set at any time."""

    def __init__(self, folder: Path, interval: float = INTERVAL):
        self.path, self.interval = folder / PROGRESS, interval
        # a name of its own, as other machines may write at the same time
        self.temporary = folder / f".{PROGRESS}.{uuid4().hex[:8]}"
        self.step, self.steps = 0, 0
        self.first_step: int | None = None  # of this process; a resumed run does not start at 0
        self.started = self.written = time.time()
        self.successor: Sign | None = None  # of the process that has taken over
        self.stopped = Event()
        # a daemon, so that it never keeps an interrupted process alive
        self.thread = Thread(target=self.repeat, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Give the first sign, and more until `stop`. BusyError if another machine gives signs."""
        self.claim()
        self.thread.start()

    def stop(self) -> None:
        """End the signs, as the work is over."""
        self.stopped.set()
        self.thread.join()
        if not self.find_successor():
            remove_signs(self.path.parent)

    def claim(self) -> None:
        """Create the file, which is no other process's then.

        The caller holds the folder's lock, so what a process of this machine left is given up.
        BusyError as soon as another machine gives a sign; without one for a minute, its file is set
        aside.
        """
        found = read_sign(self.path.parent)
        if found is None or not shares_locks(found):
            wait_for_silence(self.path, found)
        with suppress(FileNotFoundError):
            os.rename(self.path, self.temporary)
            instead = read_sign_file(self.temporary)
            if instead != found and instead is not None:
                # another machine was quicker, and this is its new file
                os.rename(self.temporary, self.path)
                raise BusyError(describe_other(self.path.parent, instead))
            self.temporary.unlink()
        try:
            create_whole(self.path, self.describe(), self.temporary)
        except FileExistsError:
            raise BusyError(describe_other(self.path.parent, read_sign(self.path.parent))) from None
        # a machine that is about to create the file comes too late anyway
        remove_temporary_signs(self.path.parent)

    def note_step(self, step: int, steps: int) -> None:
        """Note that step `step` of `steps` was made. BusyError if another machine took over."""
        # a process that was suspended must look before it writes anything
        if time.time() - self.written > SILENCE / 2:
            self.write()
        if self.successor:
            raise BusyError(
                f"{self.path.parent}: this process gave no sign for a minute, and "
                f"{self.successor.host} goes on with its work"
            )
        if self.first_step is None:
            self.first_step, self.started = step, time.time()
        self.step, self.steps = step, steps

    def repeat(self) -> None:
        while not self.stopped.wait(self.interval):
            self.write()

    def find_successor(self) -> "Sign | None":
        """The sign of another process where this one's should be."""
        sign = read_sign(self.path.parent)
        is_own = sign is None or (sign.system, sign.pid) == (read_system(), os.getpid())
        return None if is_own else sign

    def write(self) -> None:
        """Replace the file, unless another process has taken over.

        No harm is done where that fails, so it is not reported.
        """
        self.successor = self.find_successor()
        if self.successor:
            return
        with suppress(OSError):
            # not synced to disk: after a power cut nobody is alive
            self.temporary.write_text(self.describe())
            os.replace(self.temporary, self.path)
        self.written = time.time()

    def describe(self) -> str:
        """The sign as it is written."""
        sign = {
            "host": socket.gethostname(),
            "system": read_system(),
            "pid": os.getpid(),
            "started": self.started,
            "time": time.time(),
            "first_step": self.first_step or 0,
            "step": self.step,
            "steps": self.steps,
        }
        return json.dumps(sign)


@dataclass(frozen=True)
class Sign:
    """What a heartbeat wrote last."""

    host: str
    system: str
    pid: int
    started: float
    time: float
    first_step: int
    step: int
    steps: int

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the steps of this process; None before its second step."""
        made, spent = self.step - self.first_step, self.time - self.started
        if made <= 0 or spent <= 0:
            return None
        return (self.steps - self.step) * spent / made


def remove_signs(folder: Path) -> None:
    """Remove the signs in a folder whose work is over, if it can be written."""
    with suppress(OSError):
        (folder / PROGRESS).unlink(missing_ok=True)
        remove_temporary_signs(folder)


def remove_temporary_signs(folder: Path) -> None:
    """Remove what processes left that were killed while they gave a sign."""
    for left in folder.glob(f".{PROGRESS}.*"):
        left.unlink(missing_ok=True)


def read_sign(folder: Path) -> Sign | None:
    """The last sign in a folder; None without a readable one."""
    return read_sign_file(folder / PROGRESS)


def read_sign_file(path: Path) -> Sign | None:
    """The sign in a file; None without a readable one."""
    try:
        with path.open("rb") as file:
            value, _ = parse_json(file.read(MOST_BYTES))
    except OSError:
        return None
    return parse_sign(value) if isinstance(value, dict) else None


def parse_sign(value: dict[str, Any]) -> Sign | None:
    """A sign from its JSON object; None if an entry is missing or of another type."""
    try:
        return Sign(
            host=str(value["host"]),
            system=str(value["system"]),
            pid=int(value["pid"]),
            started=float(value["started"]),
            time=float(value["time"]),
            first_step=int(value["first_step"]),
            step=int(value["step"]),
            steps=int(value["steps"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def is_alive(sign: Sign, now: float | None = None) -> bool:
    """Whether the process that wrote a sign seems to go on.

    It was heard of lately and, if it runs on this machine, it exists.
    """
    if (time.time() if now is None else now) - sign.time >= SILENCE:
        return False
    return sign.system != read_system() or exists(sign.pid)


def shares_locks(sign: Sign) -> bool:
    """Whether the process that wrote a sign runs under the same kernel, which keeps its locks."""
    return sign.system.split(" ")[0] == read_system().split(" ")[0]


def wait_for_silence(path: Path, found: Sign | None) -> None:
    """Return when a file of signs is a minute old, or gone. BusyError as soon as it changes.

    found: the sign in it; None for one that cannot be read.
    """
    while (age := measure_age(path)) is not None and age < SILENCE:
        time.sleep(min(LOOK, SILENCE - age))
        now = read_sign_file(path)
        if now is not None and now != found:
            raise BusyError(describe_other(path.parent, now))


def create_whole(path: Path, text: str, temporary: Path) -> None:
    """Create a file with its content at once. FileExistsError if it exists."""
    try:
        temporary.write_text(text)
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # no links there: others may see the file before its content
        with path.open("x") as file:
            file.write(text)
    finally:
        temporary.unlink(missing_ok=True)


def measure_age(path: Path) -> float | None:
    """The seconds since a file was written, by the clock of its file system; None without it.

    The clocks of two machines may differ, but one of them dates all files.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file, TemporaryFile(dir=path.parent) as new:
        return os.fstat(new.fileno()).st_mtime - os.fstat(file.fileno()).st_mtime


def describe_other(folder: Path, sign: Sign | None) -> str:
    """Who works in a folder, for a message."""
    who = f"{sign.host} (process {sign.pid})" if sign else "another machine"
    return f"{folder}: {who} is working on this run"


def exists(pid: int) -> bool:
    """Whether a process of that number is working."""
    with suppress(OSError):
        # "12 (name) Z ...": killed, but its parent has not noticed yet
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


@cache
def read_system() -> str:
    """What identifies the system in which a process number has its meaning.

    The running kernel and the namespace of processes, as containers have their own; the host where
    these are unknown.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()
