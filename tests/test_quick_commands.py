"""Commands with nothing to compute answer quickly, and summarise thousands of runs in a line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, folder_of, run_here

from uncollapse.evaluation.command import MOST_ERRORS, main
from uncollapse.runs.layout import Run
from uncollapse.runs.results import repair_results

HEAVY = {
    "torch",
    "numpy",
    "pandas",
    "matplotlib",
    "scipy",
    "sklearn",
    "pyarrow",
    "hydra",
    "omegaconf",
    "datasets",
}


def run_fresh(module: str, *words: str) -> tuple[int, set[str], float]:
    """Exit code of a command in a fresh process, heavy packages it imported, and seconds."""
    code = f"""
import sys, json, time
start = time.perf_counter()
from {module} import main
try:
    code = main({list(words)!r})
except SystemExit as stop:
    code = stop.code
print(json.dumps([code, sorted({HEAVY!r} & set(sys.modules)), time.perf_counter() - start]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    code, found, seconds = json.loads(done.stdout.splitlines()[-1])
    return code, set(found), seconds


@pytest.mark.parametrize(
    ("module", "words", "code"),
    [
        ("uncollapse.evaluation.command", ["--help"], 0),
        ("uncollapse.evaluation.command", [], 2),
        ("uncollapse.evaluation.command", ["x", "--samples", "many"], 2),
        ("uncollapse.evaluation.command", ["x", "--split", "dev"], 2),
        ("uncollapse.evaluation.command", ["/nowhere"], 2),
        ("uncollapse.evaluation.command", ["conf"], 2),
        ("uncollapse.report", ["--help"], 0),
        ("uncollapse.report", [], 2),
        ("uncollapse.report", ["/nowhere"], 2),
        ("uncollapse.report", ["conf"], 2),
        ("uncollapse.runs.study_cli", ["--help"], 0),
        ("uncollapse.runs.study_cli", ["pack", "--help"], 0),
        ("uncollapse.runs.study_cli", [], 2),
        ("uncollapse.runs.study_cli", ["pock", "x"], 2),
        ("uncollapse.runs.study_cli", ["verify", "conf"], 2),
        ("uncollapse.finished.export", ["--help"], 0),
        ("uncollapse.finished.export", ["conf", "--split", "test", "--out", "x.npz"], 2),
        ("uncollapse.data.sets", ["--help"], 0),
        ("uncollapse.data.sets", [], 2),
        ("uncollapse.data.sets", ["nope", "--out", "x"], 2),
    ],
)
def test_help_and_refusals_import_nothing_heavy(module: str, words: list[str], code: int) -> None:
    found, heavy, seconds = run_fresh(module, *words)
    assert (found, heavy) == (code, set()) and seconds < 1


@pytest.mark.parametrize("script", ["evaluate", "report", "study", "prepare_data", "export"])
def test_scripts_call_lightweight_entry_points(script: str) -> None:
    code = (
        "import sys, runpy\nsys.argv = ['x', '--help']\ntry: "
        f"runpy.run_path('scripts/{script}.py', run_name='__main__')\n"
    )
    code += f"except SystemExit: pass\nassert not {HEAVY!r} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


# ---------------------------------------------------------------- studies of thousands of runs


def put_run(study: Path, seed: int, evaluated: bool = True, done: bool = True) -> Path:
    """A run folder with the files that evaluate.py reads before it opens a run."""
    folder = study / "runs/plain/default" / f"seed={seed}"
    (folder / "evaluations").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"head: plain\nseed: {seed}\n")
    names = ["test-nll-K500", "test-probe"] if evaluated else []
    for name in names:
        (folder / "evaluations" / f"{name}.json").write_text("{}")
    (folder / "summary.json").write_text(json.dumps({"evaluations": {name: {} for name in names}}))
    (folder / "data.json").write_text('{"test": 40}')
    if done:
        (folder / "done").touch()
    return folder


def test_evaluated_study_prints_one_line_without_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for seed in range(3000):
        put_run(tmp_path / "s", seed)
    assert main([str(tmp_path / "s")]) == 0
    output = capsys.readouterr()
    assert output.out == "3,000 of 3,000 runs were evaluated before\n" and not output.err
    assert run_fresh("uncollapse.evaluation.command", str(tmp_path / "s"))[:2] == (0, set())


def test_remaining_runs_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for seed in range(1100):
        put_run(tmp_path / "s", seed, evaluated=seed > 1, done=seed < 1098)
    assert main([str(tmp_path / "s")]) == 2  # the two cannot be opened: they have no weights
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "2 of 1,100 runs are not finished and are left out",
        "1,096 of 1,098 runs were evaluated before",
    ]
    assert (
        output.err.count("no model.safetensors") == 2 and "2 of 1,098 runs could not" in output.err
    )


def test_many_errors_are_truncated_with_count(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for seed in range(60):
        put_run(tmp_path / "s", seed, evaluated=False)
    assert main([str(tmp_path / "s")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == MOST_ERRORS + 1
    assert (
        "60 of 60 runs could not be evaluated" in lines[-1]
        and "the first 20 are shown" in lines[-1]
    )


@pytest.mark.parametrize(
    ("words", "full"),
    [
        ([], True),
        (["--samples", "7"], False),
        (["--split", "valid"], False),
        (["--metrics", "samples"], False),
        (["--examples", "40"], True),
        (["--examples", "39"], False),
    ],
)
def test_run_is_complete_only_for_the_requested_metrics(
    tmp_path: Path, words: list[str], full: bool
) -> None:
    folder = put_run(tmp_path / "s", 0)
    (folder / "evaluations/test-statistics.json").write_text("{}")
    repair_results(Run(folder))
    assert main([str(folder), *words]) == (0 if full else 2)  # 2: no weights to go on with


def test_result_missing_from_summary_is_added_later(tmp_path: Path) -> None:
    folder = put_run(tmp_path / "s", 0)
    # as if killed between the last result and the summary
    (folder / "summary.json").write_text('{"kl": 1.0}')
    assert main([str(folder)]) == 0
    assert set(json.loads((folder / "summary.json").read_text())["evaluations"]) == {
        "test-nll-K500",
        "test-probe",
    }


def test_data_without_labels_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from uncollapse.data.text import TextData
    from uncollapse.evaluation import evaluate

    run_here(tmp_path, "plain", "trainer.epochs=1")
    folder = folder_of(tmp_path, "plain")
    honest = evaluate.open_run

    def unlabelled(*words: object) -> object:
        subject = honest(*words)  # type: ignore[arg-type]
        assert isinstance(subject.data, TextData)
        object.__setattr__(subject.data, "labels", {})
        return subject

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "open_run", unlabelled)
        assert main([str(folder), "--samples", "2"]) == 0
    shutil.rmtree(folder / "samples", ignore_errors=True)
    (folder / "model.safetensors").unlink()
    capsys.readouterr()
    assert main([str(folder), "--samples", "2"]) == 0
    assert capsys.readouterr().out == "1 of 1 run was evaluated before\n"
    assert main([str(folder), "--samples", "2", "--metrics", "probe"]) == 2, (
        "a metric named with --metrics must be computed, or fail"
    )


def test_damaged_config_is_reported_when_all_is_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (put_run(tmp_path / "s", 0) / "config.yaml").write_text("head: plain\nseed: 0\nmodel: 5\n")
    put_run(tmp_path / "s", 1)
    assert main([str(tmp_path / "s")]) == 2
    output = capsys.readouterr()
    assert "1 of 2 runs were evaluated before" in output.out
    assert (
        "config.yaml: damaged (model is not a section)" in output.err
        and output.err.count("\n") == 2
    )


def test_job_that_is_skipped_needs_no_torch() -> None:
    code = "import sys, uncollapse.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
