"""Jobs in processes of which one may be killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from uncollapse.errors import InputError
from uncollapse.runs.heartbeat import exists
from uncollapse.workers import Lost, count_workers, describe_end, run_in_workers


@dataclass
class Square:
    """Squares a number. `file` counts its tries; the first `deaths` of them kill its process."""

    number: int
    file: Path
    deaths: int = 0

    @property
    def name(self) -> str:
        return f"square of {self.number}"

    def run(self) -> tuple[int, int]:
        with self.file.open("a") as file:
            file.write("x")
        if len(self.file.read_text()) <= self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.number < 0:
            raise ValueError("no roots here")
        return self.number**2, os.getpid()


def test_killed_process_loses_its_own_job_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    deaths = {2: 1, 4: 2}
    jobs = [Square(n, tmp_path / str(n), deaths.get(n, 0)) for n in range(6)]
    results = run_in_workers(jobs, 2)
    assert results[4] == Lost(describe_end(-signal.SIGKILL))
    rest = [result for number, result in enumerate(results) if number != 4]
    assert [square for square, _ in rest] == [0, 1, 4, 9, 25]
    # two at a time, of which three were killed and replaced
    assert os.getpid() not in {pid for _, pid in rest}
    assert [len((tmp_path / str(n)).read_text()) for n in range(6)] == [1, 1, 2, 1, 2, 1]
    said = capfd.readouterr().err
    assert said.count("[square of 4] lost: its process was killed by SIGKILL, as the system") == 2
    assert said.count("; it is started once more") == 2


def test_process_is_kept_for_further_jobs(tmp_path: Path) -> None:
    results = run_in_workers([Square(n, tmp_path / str(n)) for n in range(3)], 1)
    assert len({pid for _, pid in results}) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(results[0][1], 0)


def test_error_of_a_job_is_raised_after_the_others(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no roots here"):
        run_in_workers([Square(-1, tmp_path / "bad"), Square(3, tmp_path / "good")], 1)
    assert (tmp_path / "good").read_text() == "x"


def test_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from uncollapse.workers import run_in_workers\n"
        "class Job:\n"
        "    name = 'long'\n"
        "    def run(self):\n"
        "        print(os.getpid(), flush=True)\n"
        "        time.sleep(100)\n"
        "run_in_workers([Job()], 1)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    limit = time.time() + 60
    while exists(worker) and time.time() < limit:
        time.sleep(0.1)
    assert not exists(worker)


def test_ends_are_described() -> None:
    assert describe_end(3) == "its process ended with exit code 3"
    assert describe_end(-signal.SIGTERM) == "its process was killed by SIGTERM"
    assert describe_end(-99) == "its process was killed by signal 99"


@pytest.mark.parametrize("count", [0, -2, 1.5, "two", True])
def test_wrong_number_of_processes_is_refused(count: object) -> None:
    with pytest.raises(InputError, match=f"n_jobs={count}: allowed"):
        count_workers("n_jobs", count)  # type: ignore[arg-type]


def test_all_cores_are_used_when_asked() -> None:
    assert count_workers("n_jobs", -1) == len(os.sched_getaffinity(0))
    assert count_workers("n_jobs", 7) == 7
