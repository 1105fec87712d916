"""Signs of life of runs and sweeps, and what `study status` says of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import pytest
from conftest import ROOT

from uncollapse.errors import InputError
from uncollapse.runs import heartbeat, status
from uncollapse.runs.heartbeat import PROGRESS, SILENCE, Heartbeat, Sign, is_alive, read_sign
from uncollapse.runs.layout import JOBS
from uncollapse.runs.status import describe_entry, describe_status, read_status
from uncollapse.runs.study_cli import main as study
from uncollapse.sweep import list_jobs

NOW = 1_000_000.0


def make_sign(**changes: object) -> Sign:
    facts = {
        "host": "a",
        "system": heartbeat.read_system(),
        "pid": os.getpid(),
        "started": NOW - 50,
    }
    facts |= {"time": NOW, "first_step": 100, "step": 300, "steps": 1000}
    return Sign(**(facts | changes))  # type: ignore[arg-type]


def write_sign(folder: Path, **changes: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROGRESS).write_text(json.dumps(vars(make_sign(**changes))))


def start_run(place: Path, name: str) -> Path:
    folder = place / "runs" / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    return folder


def test_heartbeat_writes_until_its_work_ends(tmp_path: Path) -> None:
    beat = Heartbeat(tmp_path, interval=0.01)
    with beat:
        first = read_sign(tmp_path)
        assert first and first.pid == os.getpid() and first.steps == 0
        assert first.seconds_left is None and is_alive(first)
        beat.note_step(41, 100)
        beat.note_step(51, 100)
        limit = time.time() + 20
        while (sign := read_sign(tmp_path)) and sign.step != 51 and time.time() < limit:
            time.sleep(0.01)
        assert sign and (sign.first_step, sign.step, sign.steps) == (41, 51, 100)
        assert sign.time > first.time
    assert not list(tmp_path.iterdir())


def test_time_left_counts_the_steps_of_this_process_only() -> None:
    # 200 steps in 50 s; 700 remain
    assert make_sign().seconds_left == pytest.approx(175)
    assert make_sign(step=100).seconds_left is None
    assert make_sign(step=1000).seconds_left == 0


def test_silence_and_a_process_that_is_gone_mean_death() -> None:
    assert is_alive(make_sign(), NOW + SILENCE - 1) and not is_alive(make_sign(), NOW + SILENCE)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.send_signal(signal.SIGKILL)
    limit = time.time() + 20
    # not waited for: it is a zombie, which does not work either
    while is_alive(make_sign(pid=ended.pid), NOW) and time.time() < limit:
        time.sleep(0.01)
    assert not is_alive(make_sign(pid=ended.pid), NOW)
    ended.wait()
    assert not is_alive(make_sign(pid=ended.pid), NOW)
    # elsewhere the number means another process
    assert is_alive(make_sign(pid=ended.pid, system="another"), NOW)


def test_watching_may_begin_before_its_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "s"
    sweep = Timer(0.3, start_run, (study, "a/default/seed=0"))
    sweep.start()
    status.wait_for_status(study, patience=30)
    sweep.join()
    assert "does not exist yet" in capsys.readouterr().err
    with pytest.raises(InputError, match="none"):
        status.wait_for_status(tmp_path / "none", patience=0.1)
    start = time.monotonic()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        status.wait_for_status(tmp_path / "empty")
    assert time.monotonic() - start < 10, "a folder of something else is refused at once"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "{", '{"host": "a"}', json.dumps(vars(make_sign(step="many")))]
)
def test_damaged_sign_counts_as_none(content: str, tmp_path: Path) -> None:
    (tmp_path / PROGRESS).write_text(content)
    assert read_sign(tmp_path) is None


def test_runs_and_jobs_have_the_state_they_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "s"
    monkeypatch.setattr(heartbeat.time, "time", lambda: NOW + 5)
    start_run(place, "a/default/seed=0").joinpath("done").touch()
    start_run(place, "b/default/seed=0").joinpath("failed").write_text("Trace\nloss is nan\n")
    write_sign(start_run(place, "c/default/seed=0"))
    write_sign(start_run(place, "d/default/seed=0"), time=NOW - 120, system="far", host="far")
    start_run(place, "e/default/seed=0")
    sweep = place / "hydra/1"
    write_sign(sweep)
    jobs = [f"head={head} seed={seed} study=s" for head in "cg" for seed in (0, 1)]
    lines = [
        {"jobs": jobs},
        {"words": jobs[0]},
        {"words": jobs[3]},
        {"status": "refused", "words": jobs[3], "message": "tau=2: allowed"},
    ]
    # a line that was cut off
    (sweep / JOBS).write_text("\n".join(map(json.dumps, lines)) + '\n{"wor')
    found = read_status(place)
    assert [(entry.name, entry.state) for entry in found.entries] == [
        ("c/default/seed=0", "running"),
        ("d/default/seed=0", "lost"),
        ("b/default/seed=0", "failed"),
        ("head=g seed=1", "refused"),
        ("e/default/seed=0", "stopped"),
        ("head=c seed=1", "waiting"),
        ("head=g seed=0", "waiting"),
        ("a/default/seed=0", "done"),
    ]
    # 175 s of the run that goes on, and two of 250 s after it
    assert found.seconds_left == pytest.approx(175 + 2 * 250)
    said = {entry.state: describe_entry(entry) for entry in found.entries}
    assert said["running"] == "step 300 of 1,000, 3 min left, on a"
    assert said["lost"].startswith("last heard of 2 min ago at step 300, on far; the same command")
    assert said["failed"] == "loss is nan" and said["refused"] == "tau=2: allowed"
    (line,) = describe_status(place, found)
    counts = "1 running, 1 lost, 1 failed, 1 refused, 1 stopped, 2 waiting, 1 done"
    assert line == f"s: {counts}; about 11 min left"
    assert study(["status", str(place)]) == 0
    printed = capsys.readouterr().out
    assert line in printed and "waiting  head=g seed=0" in printed and "a/default" not in printed
    # the sweep is killed: its jobs wait for nothing
    write_sign(sweep, time=NOW - SILENCE - 6)
    found = read_status(place)
    assert "waiting" not in found.count()
    assert "was killed with 2 jobs not started" in describe_status(place, found)[1]


def test_status_of_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study(["status", str(tmp_path)]) == 2
    assert "is not a study" in capsys.readouterr().err
    pack = ROOT / "results/digits/runs.parquet"
    assert study(["status", str(pack)]) == 2
    assert "a pack has finished runs only" in capsys.readouterr().err
    assert study(["status", str(pack.parent)]) == 0
    assert "digits: no run in its folder" in capsys.readouterr().out


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0 s"),
        (99, "99 s"),
        (100, "2 min"),
        (5900, "98 min"),
        (11_100, "3 h 05 min"),
        (200_000, "2 days 8 h"),
    ],
)
def test_durations_are_rounded(seconds: float, text: str) -> None:
    assert status.format_duration(seconds) == text


def test_jobs_of_a_sweep_are_listed_as_hydra_starts_them() -> None:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", ["head=plain"], return_hydra_config=True)
    config.hydra.overrides.task = ["head=a,b", "seed=range(0,2)", "study=s"]
    config.hydra.sweeper.params = {"trainer.epochs": "1,2"}
    jobs = list_jobs(config)
    assert len(jobs) == 8 and jobs[0] == "trainer.epochs=1 head=a seed=0 study=s"
    assert jobs[-1] == "trainer.epochs=2 head=b seed=1 study=s"
    config.hydra.sweeper._target_ = "other.Sweeper"
    assert list_jobs(config) == []
