"""Run jobs in several processes, of which each may be killed without harm to the others.

    python -m uncollapse.workers FD PARENT      one of these processes

Jobs travel as pickles over a pipe; cloudpickle also takes functions of a script. A worker keeps
what it has imported for its next job, and ends when its parent does.
"""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Lock, Thread
from typing import Any, Protocol

from uncollapse.device import count_available_cores
from uncollapse.entry import wait_for_parent
from uncollapse.errors import InputError

TRIES = 2  # of a job whose process is killed


class Job(Protocol):
    """What a worker can run."""

    @property
    def name(self) -> str:
        """What the job is called in messages."""

    def run(self) -> Any:
        """Its result."""


@dataclass(frozen=True)
class Lost:
    """In place of a result: the process of the job was killed in every try."""

    reason: str


@dataclass(frozen=True)
class Failure:
    """In place of a result: the job raised an error, which `Job.run` should report itself."""

    error: BaseException


def count_workers(key: str, n_jobs: int) -> int:
    """The number of processes that a setting means; -1: one for each core that is free to use."""
    if type(n_jobs) is not int or n_jobs == 0 or n_jobs < -1:
        raise InputError(f"{key}={n_jobs}: allowed is a number of processes, or -1 for all cores")
    if n_jobs > 0:
        return n_jobs
    return count_available_cores()


def run_in_workers(
    jobs: Sequence[Job], count: int, environments: Sequence[Mapping[str, str]] = ({},)
) -> list[Any]:
    """The results of jobs in their order, from at most `count` processes at a time.

    Each process has variables of its own, such as the GPU it uses: `environments` in turn. A job
    whose process is killed is tried once more; then its result is Lost. An error that a job raised
    is raised here, after the other jobs.
    """
    waiting = deque(enumerate(jobs))
    results: dict[int, Any] = {}
    lock = Lock()
    threads = [
        Thread(
            target=work,
            args=(waiting, results, lock, environments[number % len(environments)]),
            daemon=True,
        )
        for number in range(min(count, len(jobs)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results.values():
        if isinstance(result, Failure):
            raise result.error
    return [results[number] for number in range(len(jobs))]


def work(
    waiting: deque[tuple[int, Job]],
    results: dict[int, Any],
    lock: Lock,
    environment: Mapping[str, str],
) -> None:
    """Take jobs until none is left, each in the process of this thread."""
    worker: Worker | None = None
    try:
        while True:
            with lock:
                if not waiting:
                    return
                number, job = waiting.popleft()
            for tried in range(1, TRIES + 1):
                worker = worker or Worker(environment)
                result = worker.run(job)
                if not isinstance(result, Lost):
                    break
                worker = None
                report_loss(job, result, "started" if tried < TRIES else "")
            results[number] = result
    finally:
        if worker:
            worker.end()


def report_loss(job: Job, lost: Lost, again: str = "") -> None:
    """Print that a job was lost, and whether it is "started" or "submitted" again."""
    rest = f"; it is {again} once more" if again else ""
    print(f"[{job.name}] lost: {lost.reason}{rest}", file=sys.stderr, flush=True)


class Worker:
    """A process that runs one job after the other."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.pipe, theirs = Pipe()
        words = [sys.executable, "-m", "uncollapse.workers"]
        self.process = subprocess.Popen(
            [*words, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, **environment, "PYTHONPATH": python_path()},
        )
        theirs.close()

    def run(self, job: Job) -> Any:
        """The result of a job, or Lost."""
        import cloudpickle

        try:
            self.pipe.send_bytes(cloudpickle.dumps(job))
            return cloudpickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            return Lost(describe_end(self.process.wait()))

    def end(self) -> None:
        """Let the process end, which waits for a further job."""
        self.pipe.close()
        self.process.wait()


def python_path() -> str:
    """The folders in which this process finds modules, such as that of a script."""
    return os.pathsep.join(path for path in map(os.path.abspath, sys.path) if path)


def describe_end(code: int) -> str:
    """What ended a process, from its exit code."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{hint}"


# ---------------------------------------------------------------- in the process of a worker


def main() -> int:
    """Run jobs from the pipe until it is closed."""
    import cloudpickle

    # lines stay complete among those of other processes, and are seen if this one is killed
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    handle, parent = map(int, sys.argv[1:])
    Thread(target=end_with_parent, args=(parent,), daemon=True).start()
    pipe = Connection(handle)
    while True:
        try:
            job = cloudpickle.loads(pipe.recv_bytes())
        except EOFError:
            return 0
        try:
            result = job.run()
        except Exception as error:
            result = Failure(error)
        pipe.send_bytes(cloudpickle.dumps(result))


def end_with_parent(parent: int) -> None:
    """End this process when its parent has ended: nobody waits for its result."""
    wait_for_parent(parent)
    os._exit(1)


if __name__ == "__main__":
    # the module by its own name, under which its classes are pickled
    from uncollapse.workers import main as run_jobs

    sys.exit(run_jobs())
