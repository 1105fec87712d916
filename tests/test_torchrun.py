"""One run over several processes: the numbers of one process, one writer, resumption, refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, drop_circumstances, folder_of, list_processes
from safetensors.torch import load_file

from uncollapse.processes import Team
from uncollapse.training.division import find_share, join_shares

RUN = ["head=bn_tau", "model=transformer", "study=s", "model.width=16", "model.layers=1"]
RUN += ["data.train=96", "data.valid=16", "data.test=16", "data.batch_size=10", "threads=1"]
# small steps: training enlarges rounding errors, and Adam those of tiny gradients at once
RUN += ["trainer.epochs=3", "trainer.eval_every=5", "trainer.optimizer=sgd", "trainer.lr=1e-4"]
TOLERANCE = 1e-5  # relative, of numbers after 30 steps in float32


def start(results: Path, processes: int, *words: str) -> subprocess.Popen[str]:
    """train.py in one process, or in several by torchrun, as a group of processes."""
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    results.mkdir(exist_ok=True)
    (results / "temporary").mkdir(exist_ok=True)
    return subprocess.Popen(
        [*command, "train.py", *(words or RUN), f"results={results}"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(results / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def train(results: Path, processes: int, *words: str) -> tuple[int, str, str]:
    """The exit code and what was printed."""
    process = start(results, processes, *words)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def kill_trainers(results: Path) -> int:
    """Kill the processes that train, which torchrun has started; how many there were."""
    trainers = [
        pid
        for pid, words in list_processes()
        if f"results={results}" in words and "torch.distributed.run" not in words
    ]
    for pid in trainers:
        os.kill(pid, signal.SIGKILL)
    return len(trainers)


def read_rows(results: Path) -> list[dict[str, Any]]:
    lines = (folder_of(results, "bn_tau", "s") / "metrics.jsonl").read_text().splitlines()
    return [drop_circumstances(json.loads(line)) for line in lines]


def assert_same_run(found: Path, expected: Path) -> None:
    """Rows and weights agree up to rounding."""
    one, other = read_rows(found), read_rows(expected)
    assert [row["step"] for row in one] == [row["step"] for row in other]
    for here, there in zip(one, other, strict=True):
        assert here.keys() == there.keys()
        numbers = {k: v for k, v in there.items() if isinstance(v, float) and "seconds" not in k}
        assert {k: here[k] for k in numbers} == pytest.approx(numbers, rel=TOLERANCE, abs=1e-5)
    folders = [folder_of(results, "bn_tau", "s") for results in (found, expected)]
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    for name, tensor in weights[1].items():
        torch.testing.assert_close(weights[0][name], tensor, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one process."""
    results = tmp_path_factory.mktemp("alone")
    code, _, err = train(results, 1)
    assert code == 0, err
    return results


@pytest.mark.parametrize(("count", "size"), [(7, 2), (8, 2), (1, 2), (2, 3), (9, 4)])
def test_shares_are_put_together_in_order(count: int, size: int) -> None:
    values = torch.arange(count)
    shares = [values[find_share(count, Team(rank, size))] for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    assert torch.equal(join_shares(torch.stack(shares), count), values)


@pytest.mark.slow
def test_gradients_are_those_of_one_process() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node=2", "division_check.py"],
        cwd=ROOT / "tests",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("model=") == 12


@pytest.mark.slow
def test_two_processes_train_the_run_of_one(alone: Path, tmp_path: Path) -> None:
    code, out, err = train(tmp_path, 2)
    assert code == 0, err
    assert_same_run(tmp_path, alone)
    # one of them writes and prints
    assert out.count(" step 30 test: ") == 1
    summary = json.loads((folder_of(tmp_path, "bn_tau", "s") / "summary.json").read_text())
    assert summary["processes"] == 2
    assert not list((tmp_path / "temporary").glob("uncollapse-*"))
    code, out, err = train(tmp_path, 2)
    assert code == 0 and out.count("skipped: ") == 1, err


@pytest.mark.slow
def test_run_is_resumed_with_another_number_of_processes(alone: Path, tmp_path: Path) -> None:
    process = start(tmp_path, 2)
    while process.poll() is None and not list(tmp_path.glob("s/runs/*/*/*/state.pt")):
        time.sleep(0.002)
    killed = kill_trainers(tmp_path)
    process.communicate()
    assert killed == 2 and process.returncode
    assert not list(tmp_path.glob("s/runs/*/*/*/done"))
    code, out, err = train(tmp_path, 1)
    assert code == 0 and "resumed at step" in out, err
    assert_same_run(tmp_path, alone)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-m", "seed=0,1"], "they train one run"),
        (["head=semi_amortized"], "SemiAmortized cannot be divided"),
        (["head=nosuch"], "no such head"),
    ],
)
@pytest.mark.slow
def test_what_processes_cannot_share_is_refused(
    words: list[str], reason: str, tmp_path: Path
) -> None:
    code, _, err = train(tmp_path, 2, *RUN[1:], *words)
    assert code != 0 and reason in err
    assert not list(tmp_path.glob("s/runs"))
