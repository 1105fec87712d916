"""Ctrl-C at any moment gives one line and exit code 130 and leaves no process; bad arguments."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, SMALL, run_here

LONG = [*SMALL[:-1], "trainer.epochs=400"]
COMMANDS = {
    "train.py": ["train.py", "head=bn_tau", *LONG],
    "a sweep": ["train.py", "-m", "seed=0,1", *LONG],
    "workers": ["train.py", "-m", "seed=0,1", "hydra/launcher=joblib", *LONG],
    "evaluate.py": ["scripts/evaluate.py", "STUDY", "--samples", "20000"],
    "report.py": ["scripts/report.py", "STUDY"],
    "study.py": ["scripts/study.py", "pack", *["STUDY"] * 500],
    "prepare_data.py": ["scripts/prepare_data.py", "synthetic", "--out", "OUT"],
    "bench": ["scripts/bench", "training"],
}


def start_command(words: list[str], folder: Path) -> subprocess.Popen:
    """A command in a process group of its own, as a terminal starts it."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [
        {"STUDY": f"{folder}/scratch", "OUT": f"{folder}/out"}.get(word, word) for word in words
    ]
    results = [f"results={folder}"] if words[0] == "train.py" else []
    return subprocess.Popen(
        [sys.executable, *words, *results],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored if tests run in the background
    )


def stop_command(process: subprocess.Popen, number: int = signal.SIGINT) -> tuple[int, str]:
    """Exit code and standard error after a signal to the group.

    Waits for every process that holds the pipes.
    """
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=30)
    return process.returncode, err


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    run_here(results, "plain", "trainer.epochs=1")
    return results


@pytest.mark.parametrize("seconds", [0.3, pytest.param(1.3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_during_startup_prints_one_line(
    command: str, seconds: float, study: Path, tmp_path: Path
) -> None:
    results = study if command in ("evaluate.py", "report.py", "study.py") else tmp_path
    for _ in range(3):
        process = start_command(COMMANDS[command], results)
        time.sleep(seconds)
        code, err = stop_command(process)
        if code != 0:
            break
        seconds /= 2  # it had done its work already: a fast machine
    assert code == 130, err
    assert err.strip().splitlines()[-1].startswith("stopped") and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["train.py", "a sweep", "workers"])
@pytest.mark.slow
def test_ctrl_c_in_training_prints_one_line_without_failing_the_run(
    command: str, tmp_path: Path
) -> None:
    process = start_command(COMMANDS[command], tmp_path)
    assert process.stdout is not None
    next(line for line in process.stdout if "step 6 valid" in line)
    code, err = stop_command(process)
    assert code == 130
    assert [line.split(";")[0] for line in err.strip().splitlines()] == ["stopped"]
    assert list(tmp_path.rglob("state.pt")) and not list(tmp_path.rglob("failed"))


@pytest.mark.slow
def test_workers_end_with_their_parent_process(tmp_path: Path) -> None:
    process = start_command(COMMANDS["workers"], tmp_path)
    assert process.stdout is not None
    next(line for line in process.stdout if "step 6 valid" in line)
    process.kill()
    process.communicate(timeout=10)  # returns when the last of them has closed its end of the pipe
    assert process.returncode == -signal.SIGKILL


def test_background_command_ignores_ctrl_c(tmp_path: Path) -> None:
    code = (
        "import sys; from uncollapse.entry import run_guarded; "
        "sys.exit(run_guarded(lambda: __import__('time').sleep(1) or 0))"
    )
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "os.execv(sys.executable, sys.argv[1:])"
    )
    words = [sys.executable, "-c", ignoring, sys.executable, "-c", code]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_guard_imports_nothing() -> None:
    code = (
        "import sys; before = {*sys.modules}; import uncollapse.entry; "
        "print(sorted({*sys.modules} - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['uncollapse', 'uncollapse.entry']"


REFUSED = {
    "scripts/evaluate.py x --metrcs nll": "--metrcs nll: not understood; did you mean --metrics?",
    "scripts/evaluate.py x --sample 5": "--sample 5: not understood; did you mean --samples?",
    "scripts/study.py pack x --without": "--without: not understood",
    "scripts/evaluate.py": "the following arguments are required: folder",
    "scripts/evaluate.py x --samples many": "argument --samples: invalid int value: 'many'",
    "scripts/study.py pock x": "COMMAND: invalid choice: 'pock'; did you mean pack? allowed are",
    "scripts/report.py a --b": "--b: not understood",
    (
        "scripts/new_remedy.py mine --slot posterir"
    ): "--slot: invalid choice: 'posterir'; did you mean posterior? allowed are",
    "scripts/prepare_data.py ptb": "the following arguments are required: --out",
    "scripts/bench trainin": "question: invalid choice: 'trainin'; did you mean training?",
}


@pytest.mark.parametrize("words", REFUSED)
def test_unknown_argument_gives_one_sentence(words: str) -> None:
    done = subprocess.run(
        [sys.executable, *words.split()], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {REFUSED[words]}") and not done.stdout
