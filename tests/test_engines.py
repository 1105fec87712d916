"""One study on every engine: equal results, also where a worker, a job or the sweep is killed.

Ray and Slurm are tried where they are installed: `pip install '.[ray,slurm]'`, and Debian's
slurm-wlm and munge for a Slurm of one node on this machine, which takes root. ENGINES_NEEDED names
those that must be there. KILLS says how often each kind of process is killed.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, drop_circumstances, list_processes

from uncollapse.runs.layout import require_runs

SIZES = ["model=linear", "data=gaussian", "data.train=256", "data.valid=16", "data.test=16"]
SIZES += ["data.batch_size=8", "trainer.epochs=12", "trainer.eval_every=32", "threads=1"]
GRID = ["-m", "study=s", "head=plain,bn_mu", "seed=0,1,2,3", *SIZES]
ENGINES = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "ray": ["hydra/launcher=ray"],
    "slurm": ["hydra/launcher=slurm_cpu", "hydra.launcher.memory=1", "hydra.launcher.minutes=5"],
}
# words in the command line of the processes that run jobs
WORKERS = {"joblib": "uncollapse.workers", "ray": "ray::run_pickled", "slurm": "submitit"}
KILLS = int(os.environ.get("KILLS", "1"))
MOST_REQUESTS = 40  # of one study, until it is complete
SLURM = ROOT / "scripts/dev/slurm.sh"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a Slurm of one node, which ends with these tests."""
    folder = tmp_path_factory.mktemp("slurm")
    environment = {**os.environ, "SLURM_FOLDER": str(folder)}
    subprocess.run([SLURM, "start"], env=environment, check=True, timeout=120)
    yield {"SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run([SLURM, "stop"], env=environment, check=True, timeout=60)


def explain_absence(engine: str) -> str:
    """Why an engine cannot be tried on this machine; '' if it can."""
    if engine == "ray" and not find_spec("ray"):
        return "ray is not installed"
    if engine == "slurm":
        if not find_spec("submitit"):
            return "submitit is not installed"
        if missing := [name for name in ("slurmctld", "munged") if not shutil.which(name)]:
            return f"there is no {missing[0]}"
        if os.getuid():
            return "slurmd needs root"
    return ""


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """The name of an engine, and the environment of a sweep on it."""
    name: str = request.param
    if absence := explain_absence(name):
        assert name not in os.environ.get("ENGINES_NEEDED", "").split(), absence
        pytest.skip(absence)
    return name, request.getfixturevalue("slurm") if name == "slurm" else {}


def start_sweep(engine: tuple[str, dict[str, str]], results: Path) -> subprocess.Popen[str]:
    """A sweep of eight runs, in a process of its own."""
    name, environment = engine
    words = [*GRID, *ENGINES[name], f"results={results}", f"hydra.sweep.dir={results}/sweep"]
    return subprocess.Popen(
        [sys.executable, "train.py", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_study(results: Path) -> dict[str, Any]:
    """The rows, the summary and the weights of every finished run, without clock times."""
    found: dict[str, Any] = {}
    for run in require_runs(results / "s"):
        if not (run.folder / "done").exists():
            continue
        name = str(run.folder.relative_to(results))
        lines = (run.folder / "metrics.jsonl").read_text().splitlines()
        found[f"{name} rows"] = [drop_circumstances(json.loads(line)) for line in lines]
        summary = json.loads((run.folder / "summary.json").read_text())
        found[f"{name} summary"] = drop_circumstances(summary)
        for path in sorted(run.folder.glob("*.safetensors")):
            found[f"{name} {path.name}"] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The study as one process trains it, run after run."""
    results = tmp_path_factory.mktemp("one")
    done = subprocess.run(
        [sys.executable, "train.py", *GRID, f"results={results}", f"hydra.sweep.dir={results}/w"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "8 done" in done.stdout
    return read_study(results)


@pytest.mark.slow
def test_study_is_the_same_on_every_engine(
    engine: tuple[str, dict[str, str]], expected: dict[str, Any], tmp_path: Path
) -> None:
    sweep = start_sweep(engine, tmp_path)
    said, _ = sweep.communicate(timeout=900)
    assert sweep.returncode == 0, said
    found = read_study(tmp_path)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


@pytest.mark.parametrize("victim", ["worker", "sweep"])
@pytest.mark.slow
def test_study_is_complete_after_kills(
    victim: str, engine: tuple[str, dict[str, str]], expected: dict[str, Any], tmp_path: Path
) -> None:
    """Each kill is at a random moment; asking for the study again completes it."""
    chance, killed, results = random.Random(KILLS), 0, tmp_path / "0"
    while killed < KILLS:
        results = tmp_path / str(killed)
        for _ in range(MOST_REQUESTS):
            sweep = start_sweep(engine, results)
            if killed < KILLS:
                killed += kill_one(victim, WORKERS[engine[0]], sweep, results, chance)
            said, _ = sweep.communicate(timeout=900)
            if sweep.returncode == 0:
                break
            time.sleep(1)  # jobs of a sweep that was killed may still be running
        found = read_study(results)
        assert found.keys() == expected.keys(), said
        assert [name for name in expected if found[name] != expected[name]] == []


def kill_one(
    victim: str, words: str, sweep: subprocess.Popen[str], results: Path, chance: random.Random
) -> bool:
    """Kill the sweep, or a process that runs one of its jobs, after its first sign of work."""
    while not list(results.glob("s/runs/*/*/*/metrics.jsonl")):
        if sweep.poll() is not None:
            return False
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 3))
    if victim == "sweep":
        sweep.kill()
        return True
    workers = [
        pid for pid, line in list_processes() if words in " ".join(line) and belongs(pid, results)
    ]
    if not workers:
        return False
    os.kill(chance.choice(workers), signal.SIGKILL)
    return True


def belongs(pid: int, results: Path) -> bool:
    """Whether a process has a file open in a folder, or has it in its command line."""
    process = Path(f"/proc/{pid}")
    try:
        if str(results) in (process / "cmdline").read_text():
            return True
        return any(str(results) in str(entry.readlink()) for entry in (process / "fd").iterdir())
    except OSError:
        return False
