"""A sign of life that a working process writes into its folder, and how others read it.

Written every few seconds while a run is trained or a sweep is driven, removed at the end. A file
that is left behind is of a process that was killed.
"""

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any

from uncollapse.disk import temporary_path
from uncollapse.runs.json_values import parse_json

INTERVAL = 3.0  # seconds between two signs
SILENCE = 60.0  # seconds without a sign after which a process counts as lost
PROGRESS = "progress.json"
MOST_BYTES = 10_000


class Heartbeat:
    """Signs of life in a folder, as a context. `step` and `steps` may be set at any time."""

    def __init__(self, folder: Path, interval: float = INTERVAL):
        self.path, self.interval = folder / PROGRESS, interval
        self.step, self.steps = 0, 0
        self.first_step: int | None = None  # of this process; a resumed run does not start at 0
        self.started = time.time()
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
        """Give the first sign, and more until `stop`."""
        self.write()
        self.thread.start()

    def stop(self) -> None:
        """End the signs, as the work is over."""
        self.stopped.set()
        self.thread.join()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def note_step(self, step: int, steps: int) -> None:
        """Note that step `step` of `steps` was made."""
        if self.first_step is None:
            self.first_step, self.started = step, time.time()
        self.step, self.steps = step, steps

    def repeat(self) -> None:
        while not self.stopped.wait(self.interval):
            self.write()

    def write(self) -> None:
        """Replace the file. No harm is done where that fails, so it is not reported."""
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
        temporary = temporary_path(self.path)
        with suppress(OSError):
            # not synced to disk: after a power cut nobody is alive
            temporary.write_text(json.dumps(sign))
            os.replace(temporary, self.path)


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


def read_sign(folder: Path) -> Sign | None:
    """The last sign in a folder; None without a readable one."""
    try:
        with (folder / PROGRESS).open("rb") as file:
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
