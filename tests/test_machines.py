"""Several machines that share a folder but no locks: each run is trained by one of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, drop_circumstances, folder_of, rows
from machine import SILENCE
from safetensors.torch import load_file

from uncollapse.errors import BusyError
from uncollapse.runs import heartbeat
from uncollapse.runs.heartbeat import PROGRESS, Heartbeat, Sign, read_sign

RUN = ["head=bn_tau", "study=s", "data.train=200", "data.valid=20", "data.test=20", "threads=1"]
RUN += ["model.hidden=16", "model.embedding=8", "trainer.eval_every=10"]
SHORT, LONG = "trainer.epochs=4", "trainer.epochs=150"


def start(results: Path, machine: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "tests/machine.py", machine, *RUN, *words, f"results={results}"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_sign(results: Path, accept: Callable[[Sign], bool]) -> None:
    """Return when the run of seed 0 gives a sign that is accepted."""
    limit = time.time() + 120
    while not any(
        (sign := read_sign(folder)) and accept(sign)
        for folder in results.glob("s/runs/bn_tau/*/seed=0")
    ):
        assert time.time() < limit
        time.sleep(0.02)


def assert_same_run(found: Path, expected: Path) -> None:
    one, other = (folder_of(results, "bn_tau", "s") for results in (found, expected))
    kept = [[drop_circumstances(row) for row in rows(folder)] for folder in (one, other)]
    assert kept[0] == kept[1]
    weights = [load_file(folder / "model.safetensors") for folder in (one, other)]
    assert all((weights[0][name] == tensor).all() for name, tensor in weights[1].items())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a machine that nothing disturbs."""
    results = tmp_path_factory.mktemp("alone")
    process = start(results, "alone", LONG)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return results


@pytest.mark.slow
def test_two_sweeps_train_each_run_once(tmp_path: Path) -> None:
    words = [SHORT, "seed=0,1,2,3", "-m"]
    sweeps = [start(tmp_path, machine, *words) for machine in ("one", "other")]
    ends = [sweep.communicate(timeout=300) for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], ends
    for seed in range(4):
        folder = folder_of(tmp_path, "bn_tau", "s", seed)
        assert (folder / "done").exists() and not list(folder.glob(f"*{PROGRESS}*"))
        told = [out.count(f"seed={seed}] epoch 0.00 step 0 valid") for out, _ in ends]
        assert sorted(told) == [0, 1]
    assert any("taken" in out for out, _ in ends)
    again = start(tmp_path, "third", *words)
    out, _ = again.communicate(timeout=300)
    assert "sweep: 4 jobs: 4 skipped" in out


@pytest.mark.slow
def test_run_of_a_machine_that_is_lost_is_taken_over(alone: Path, tmp_path: Path) -> None:
    first = start(tmp_path, "one", LONG)
    wait_for_sign(tmp_path, lambda sign: sign.step > 25)
    busy = start(tmp_path, "other", LONG)
    _, err = busy.communicate(timeout=300)
    assert busy.returncode == 2 and "one (process" in err and "is working on this run" in err
    first.kill()
    first.communicate()
    begun = time.time()
    second = start(tmp_path, "other", LONG)
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0 and "resumed at step" in out, err
    assert time.time() - begun > SILENCE / 2
    assert_same_run(tmp_path, alone)


@pytest.mark.slow
def test_machine_that_was_suspended_stops(alone: Path, tmp_path: Path) -> None:
    first = start(tmp_path, "one", LONG)
    wait_for_sign(tmp_path, lambda sign: sign.step > 25)
    first.send_signal(signal.SIGSTOP)
    second = start(tmp_path, "other", LONG)
    wait_for_sign(tmp_path, lambda sign: sign.host == "other")
    first.send_signal(signal.SIGCONT)
    _, err = first.communicate(timeout=300)
    assert first.returncode == 2 and "other goes on with its work" in err
    _, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    assert_same_run(tmp_path, alone)


# ---------------------------------------------------------------- claims


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that lets this process be one of another machine."""
    monkeypatch.setattr(heartbeat, "SILENCE", 0.5)
    monkeypatch.setattr(heartbeat, "LOOK", 0.05)
    return lambda name: monkeypatch.setattr(heartbeat, "read_system", lambda: name)


def test_machine_that_gives_signs_is_left_alone(tmp_path: Path, elsewhere: Any) -> None:
    elsewhere("one")
    with Heartbeat(tmp_path, interval=0.1) as first:
        elsewhere("other")
        first.successor = None
        # the thread of the first would now write as the other machine, so its file is written here
        first.stopped.set()
        first.thread.join()
        elsewhere("one")
        first.write()
        elsewhere("other")
        late = Heartbeat(tmp_path)
        begun = time.time()
        late.claim()  # silent for long enough
        assert time.time() - begun > 0.3
        sign = read_sign(tmp_path)
        assert sign and sign.system == "other"
        elsewhere("one")
        first.write()
        with pytest.raises(BusyError, match="goes on with its work"):
            first.note_step(1, 2)
    assert read_sign(tmp_path) == sign, "the file of the other machine stays"


def test_sign_that_changes_is_of_a_living_machine(tmp_path: Path, elsewhere: Any) -> None:
    elsewhere("one")
    first = Heartbeat(tmp_path)
    first.claim()
    wait = time.sleep

    def sleep_and_sign(seconds: float) -> None:
        wait(seconds)
        elsewhere("one")
        first.write()
        elsewhere("other")

    elsewhere("other")
    heartbeat.time.sleep, kept = sleep_and_sign, heartbeat.time.sleep
    try:
        with pytest.raises(BusyError, match="is working on this run"):
            Heartbeat(tmp_path).claim()
    finally:
        heartbeat.time.sleep = kept


def test_what_a_process_of_this_machine_left_is_given_up_at_once(tmp_path: Path) -> None:
    first = Heartbeat(tmp_path)
    first.claim()
    (tmp_path / f".{PROGRESS}.left").touch()
    begun = time.time()
    Heartbeat(tmp_path).claim()
    assert time.time() - begun < heartbeat.LOOK
    assert [file.name for file in tmp_path.iterdir()] == [PROGRESS]


@pytest.mark.parametrize("links", [True, False])
def test_file_is_created_for_one_machine_only(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: Any
) -> None:
    """Another machine creates it after this one has looked."""
    other = Heartbeat(tmp_path)
    if not links:

        def refuse(*paths: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    wait = heartbeat.wait_for_silence

    def look_and_lose(path: Path, found: object) -> None:
        wait(path, found)
        monkeypatch.setattr(heartbeat, "wait_for_silence", wait)
        elsewhere("other")
        other.claim()
        elsewhere("one")

    elsewhere("one")
    monkeypatch.setattr(heartbeat, "wait_for_silence", look_and_lose)
    with pytest.raises(BusyError):
        Heartbeat(tmp_path).claim()
    sign = read_sign(tmp_path)
    assert sign and sign.system == "other"
