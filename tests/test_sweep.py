"""Multiruns: every job runs even if others fail, and failures are listed at the end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest
from conftest import ROOT, SMALL, type_command

from uncollapse.runs.heartbeat import Sign, read_sign


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
@pytest.mark.slow
def test_failed_job_is_listed_and_does_not_stop_others(launcher: str, tmp_path: Path) -> None:
    done = type_command(
        "-m",
        "head=bn_tau",
        "tau=0.2,1.2,0.4",
        f"hydra/launcher={launcher}",
        *SMALL,
        f"results={tmp_path}",
        fresh=launcher == "joblib",
    )
    assert done.returncode == 1
    finished = sorted(
        p.parent.parent.name for p in (tmp_path / "scratch/runs/bn_tau").glob("*/seed=0/done")
    )
    assert len(finished) == 2 and "tau=0.2" in finished[0] and "tau=0.4" in finished[1]
    tail = done.stdout.split("sweep: ")[1]
    assert tail.startswith("3 jobs: ") and "2 done" in tail and "1 refused" in tail
    assert "tau=1.2: out of range" in tail
    assert not list(Path.cwd().glob("multirun*"))


@pytest.mark.parametrize(
    ("variants", "launcher"),
    [
        ("plain,bn_tau", "basic"),
        pytest.param("plain,kl_anneal,bn_mu,bn_tau", "joblib", marks=pytest.mark.slow),
    ],
)
def test_sweep_of_variants_and_two_seeds(variants: str, launcher: str, tmp_path: Path) -> None:
    words = [
        "-m",
        f"head={variants}",
        "seed=0,1",
        f"hydra/launcher={launcher}",
        *SMALL,
        f"results={tmp_path}",
    ]
    done = type_command(*words, fresh=launcher == "joblib")
    assert done.returncode == 0, done.stderr
    summaries = [
        json.loads(p.read_text()) for p in (tmp_path / "scratch/runs").glob("*/*/*/summary.json")
    ]
    assert {(s["head"], s["seed"]) for s in summaries} == {
        (h, s) for h in variants.split(",") for s in (0, 1)
    }
    again = type_command(*words)
    count = len(summaries)
    assert again.stdout.count("skipped: ") == count and f"{count} skipped" in again.stdout


@pytest.mark.slow
def test_study_defines_a_sweep_that_can_be_narrowed(tmp_path: Path) -> None:
    done = type_command(
        "experiment=tau_grid", "head=rms_tau", "tau=0.3", "seed=0", *SMALL, f"results={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "tau_grid/runs").glob("*/*/*/done")
    assert "rms_tau" in str(folder) and "tau=0.3" in str(folder)


@pytest.mark.slow
def test_jobs_in_one_process_are_independent(tmp_path: Path) -> None:
    """The basic launcher runs all jobs in one process.

    The second must have the same result as alone.
    """
    type_command("-m", "head=bn_mu,plain", *SMALL, f"results={tmp_path / 'both'}")
    type_command("head=plain", *SMALL, f"results={tmp_path / 'alone'}")
    both, alone = (
        next((tmp_path / n / "scratch/runs/plain").glob("*/*/model.safetensors")).read_bytes()
        for n in ("both", "alone")
    )
    assert both == alone


@pytest.mark.slow
def test_job_whose_process_is_killed_is_started_once_more(tmp_path: Path) -> None:
    words = [*SMALL, "trainer.epochs=40", "trainer.eval_every=20", f"results={tmp_path}"]
    command = [sys.executable, "train.py", "-m", "head=plain", "seed=0,1,2", *words]
    command += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    sweep = subprocess.Popen(command, cwd=ROOT, stdout=PIPE, stderr=PIPE, text=True)
    place = tmp_path / "scratch/runs/plain"
    limit = time.time() + 120
    while not (signs := trained(place)) and time.time() < limit:
        time.sleep(0.02)
    os.kill(signs[0].pid, signal.SIGKILL)
    out, err = sweep.communicate(timeout=200)
    assert sweep.returncode == 0 and "sweep: 3 jobs: 3 done" in out
    assert err.count("lost: its process was killed by SIGKILL") == 1
    assert "it is started once more" in err
    assert len(list(place.glob("*/*/done"))) == 3 and not list(place.glob("*/*/progress.json"))


def trained(place: Path) -> list[Sign]:
    """The signs of runs that have made a step."""
    signs = [read_sign(file.parent) for file in place.glob("*/*/progress.json")]
    return [sign for sign in signs if sign and sign.step > 0]
