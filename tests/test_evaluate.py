"""scripts/evaluate.py resumes at the next example and does not change training files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, fill, folder_of, mounted, run_here

from uncollapse.evaluation import nll, resumable
from uncollapse.evaluation.command import main
from uncollapse.evaluation.nll import group_examples
from uncollapse.evaluation.opened import OpenedRun, open_run
from uncollapse.evaluation.settings import Settings
from uncollapse.metrics.one_pass import EVAL_SEED
from uncollapse.runs.layout import Run

TRAINED = (
    "config.yaml",
    "metrics.jsonl",
    "model.safetensors",
    "state.pt",
    "data.json",
    "vocabulary.txt",
    "done",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two heads on 150 labelled training sentences."""
    results = tmp_path_factory.mktemp("evaluated")
    for head in ("plain", "bn_mu"):
        run_here(results, head, "data.train=150")
    return results


@pytest.fixture
def study(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "results")
    return tmp_path / "results" / "scratch"


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_study_is_evaluated_into_run_summaries(study: Path, capsys: pytest.CaptureFixture) -> None:
    folders = [folder_of(study.parent, head) for head in ("plain", "bn_mu")]
    before = [({name: (f / name).read_bytes() for name in TRAINED}, summary(f)) for f in folders]
    assert main([str(study), "--samples", "20"]) == 0
    for folder, (files, old) in zip(folders, before, strict=True):
        assert {name: (folder / name).read_bytes() for name in TRAINED} == files
        new = summary(folder)
        assert {key: new[key] for key in old} == old
        assert new["nll_samples"] == 20 and new["nll_examples"] == 32 and new["nll_se"] > 0
        assert new["nll"] < new["nelbo"] + 4 * new["nelbo_se"]
        data = json.loads((folder / "data.json").read_text())
        assert new["oracle_gap"] == pytest.approx(new["nll"] - data["oracle_nll"]["test"])
        # paired with the exact log p of the same sentences
        assert new["oracle_gap_se"] < new["nll_se"]
        assert new["nll_ppl"] == pytest.approx(np.exp(new["nll"] * 32 / new["tokens"]))
        assert new["probe_labels"] == 100 and set(new["probe_curves"]["factors"]) >= {
            "topic",
            "tense",
        }
        assert new["evaluations"]["test-nll-K20"]["nll"] == new["nll"]
    capsys.readouterr()
    assert main([str(study), "--samples", "20"]) == 0
    assert capsys.readouterr().out == "2 of 2 runs were evaluated before\n"


def test_largest_evaluation_comes_first_and_all_are_kept(study: Path) -> None:
    folder = folder_of(study.parent, "plain")
    for words in (
        ["--samples", "30"],
        ["--samples", "5"],
        ["--samples", "90", "--examples", "7"],
        ["--split", "valid"],
    ):
        assert (
            main(
                [
                    str(folder),
                    "--metrics",
                    "nll",
                    *(words if "--samples" in words else [*words, "--samples", "9"]),
                ]
            )
            == 0
        )
    found = summary(folder)
    assert found["nll_samples"] == 30 and found["nll_examples"] == 32
    assert set(found["evaluations"]) == {
        "test-nll-K30",
        "test-nll-K5",
        "test-nll-K90-N7",
        "valid-nll-K9",
    }
    assert found["evaluations"]["test-nll-K90-N7"]["nll_examples"] == 7


def test_statistics_equal_training_and_cover_other_splits(study: Path) -> None:
    folder = folder_of(study.parent, "bn_mu")
    assert main([str(folder), "--metrics", "statistics"]) == 0
    assert (
        main([str(folder), "--metrics", "statistics", "--split", "valid", "--examples", "20"]) == 0
    )
    found = summary(folder)
    again = found["evaluations"]["test-statistics"]
    assert all(
        found[name] == again[name]
        for name in ("rec", "kl", "mi", "shuffle_gap", "kl_per_dim", "collapse")
    )
    assert found["evaluations"]["valid-statistics-N20"]["rec"] != found["rec"]


@pytest.mark.parametrize("samples", [3, 700])
def test_batched_nll_equals_single_sentence_nll(study: Path, samples: int) -> None:
    """The nll computed independently.

    One sentence at a time, densities of torch.distributions, the decoder called for one code at a
    time.
    """
    folder = folder_of(study.parent, "plain")
    assert (
        main([str(folder), "--metrics", "nll", "--samples", str(samples), "--examples", "4"]) == 0
    )
    subject = open_run(Run(folder), {}, print)
    settings = Settings(("nll",), samples=samples, examples=4)
    found = []
    with torch.no_grad():
        for number, group in enumerate(group_examples(subject, settings)):
            batch = subject.data.batch("test", group)
            q = subject.model.encode(batch)
            z = q.sample(samples, torch.Generator().manual_seed(EVAL_SEED + number))
            normal, prior = (
                torch.distributions.Normal(q.mean, q.std),
                torch.distributions.Normal(0.0, 1.0),
            )
            ratio = (normal.log_prob(z) - prior.log_prob(z)).sum(-1)
            weights = torch.stack([-subject.model.nll(batch, one) for one in z]) - ratio
            found += (np.log(samples) - weights.double().logsumexp(0)).tolist()
    assert len(found) == 4 and summary(folder)["nll"] == pytest.approx(np.mean(found), abs=1e-4)


def test_workers_do_not_change_numbers(study: Path) -> None:
    plain = folder_of(study.parent, "plain")
    other = study.parent / "other"
    shutil.copytree(plain, other)
    main([str(plain), "--metrics", "nll", "--samples", "40", "--workers", "1"])
    main([str(other), "--metrics", "nll", "--samples", "40", "--workers", "3"])
    assert summary(plain)["evaluations"] == summary(other)["evaluations"]


def kill_evaluation(folder: Path, rows: Path) -> None:
    """Start an evaluation of nll, and kill it when it has written a few rows."""
    words = ["--metrics", "nll", "--samples", "3000", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "scripts/evaluate.py", str(folder), *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (rows.exists() and rows.read_text().count("\n") > 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_killed_evaluation_resumes_with_same_result(study: Path) -> None:
    folder = folder_of(study.parent, "plain")
    complete = study.parent / "complete"
    shutil.copytree(folder, complete)
    assert main([str(complete), "--metrics", "nll", "--samples", "3000"]) == 0
    rows = folder / "evaluations" / "test-nll-K3000.jsonl"
    kill_evaluation(folder, rows)
    done = rows.read_text().count("\n") - 1
    assert 0 < done < 32 and not (folder / "evaluations" / "test-nll-K3000.json").exists()
    with rows.open("a") as file:
        file.write('{"group": 31, "nll": [1.')  # a truncated line
    calls = []
    kept = nll.weigh_group

    def counted(*words: object) -> dict:
        calls.append(words)
        return kept(*words)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nll, "weigh_group", counted)
        assert main([str(folder), "--metrics", "nll", "--samples", "3000"]) == 0
    assert len(calls) == 32 - done
    assert summary(folder)["evaluations"] == summary(complete)["evaluations"]


def test_interrupt_keeps_finished_results(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder, kept = folder_of(study.parent, "plain"), nll.weigh_group

    def weighted(subject: OpenedRun, settings: Settings, number: int, group: np.ndarray) -> dict:
        if number == 5:
            raise KeyboardInterrupt
        return kept(subject, settings, number, group)

    monkeypatch.setattr(nll, "weigh_group", weighted)
    assert main([str(folder), "--metrics", "nll", "--samples", "600", "--workers", "1"]) == 130
    assert "continues" in capsys.readouterr().err
    assert (folder / "evaluations" / "test-nll-K600.jsonl").read_text().count("\n") == 6
    assert "nll" not in summary(folder)


def test_every_metric_uses_the_same_random_subset(study: Path) -> None:
    folder = folder_of(study.parent, "plain")
    words = ["--metrics", "nll, statistics,nll", "--examples", "10", "--samples", "3"]
    assert main([str(folder), *words]) == 0
    found = summary(folder)["evaluations"]
    assert (
        found["test-statistics-N10"]["examples"] == found["test-nll-K3-N10"]["nll_examples"] == 10
    )
    settings = Settings(("nll",), samples=3, examples=10)
    opened = open_run(Run(folder), {}, print)
    taken = np.concatenate(group_examples(opened, settings))
    assert sorted(taken) == sorted(opened.examples("test", 10))
    # not only sentences of a few lengths, which would be similar
    lengths = opened.data.lengths("test")
    assert len(set(lengths[taken])) > 0.5 * min(10, len(set(lengths)))
    assert main([str(folder), "--metrics", "nll", "--examples", "99", "--samples", "3"]) == 0
    assert "test-nll-K3" in summary(folder)["evaluations"]


def test_different_data_than_in_training_is_refused(
    study: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = folder_of(study.parent, "plain")
    facts = json.loads((folder / "data.json").read_text())
    (folder / "data.json").write_text(json.dumps({**facts, "test": 31}))
    assert main([str(folder), "--samples", "2"]) == 2
    assert "changed since training (test: 31 -> 32)" in capsys.readouterr().err


def test_damaged_files_are_named_and_other_runs_continue(
    study: Path, capsys: pytest.CaptureFixture
) -> None:
    plain, other = (folder_of(study.parent, head) for head in ("plain", "bn_mu"))
    (other / "summary.json").rename(other / "away")
    assert main([str(study), "--metrics", "nll", "--samples", "2"]) == 2
    error = capsys.readouterr().err
    assert "summary.json" in error and "1 of 2 runs" in error and "nll" in summary(plain)
    (other / "away").rename(other / "summary.json")
    (other / "evaluations").mkdir()
    (other / "evaluations" / "test-probe.json").write_text('{"probe')
    assert main([str(other), "--metrics", "probe"]) == 0  # computed again
    assert "test-probe.json: damaged" in capsys.readouterr().out and "probe" in summary(other)
    assert (other / "evaluations" / "test-probe.json.1").read_text() == '{"probe'
    (other / "config.yaml").write_text("a: [")
    assert main([str(other), "--metrics", "nll", "--samples", "4"]) == 2
    assert "config.yaml: damaged" in capsys.readouterr().err


def test_study_path_can_be_relative(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.parent)
    assert main(["scratch", "--metrics", "nll", "--samples", "2"]) == 0
    assert all("nll" in summary(folder_of(study.parent, head)) for head in ("plain", "bn_mu"))


def test_full_disk_gives_one_sentence_and_evaluation_resumes(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = folder_of(study.parent, "plain")
    before = (folder / "summary.json").read_bytes()

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(resumable, "write_atomic", full)
        assert main([str(folder), "--samples", "2"]) == 2
    assert (
        "No space left" in capsys.readouterr().err
        and (folder / "summary.json").read_bytes() == before
    )
    assert main([str(folder), "--samples", "2"]) == 0


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_unwritable_disk_gives_one_sentence(
    study: Path, small_disk: Path, state: str, capsys: pytest.CaptureFixture
) -> None:
    folder = small_disk / "run"
    shutil.copytree(folder_of(study.parent, "plain"), folder)
    before = (folder / "summary.json").read_bytes()
    fill(small_disk) if state == "full" else mounted(small_disk, "-o", "remount,ro")
    assert main([str(folder), "--samples", "2"]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("error: ")
        and error.count("\n") == 1
        and "cannot be read or written" in error
    )
    assert (folder / "summary.json").read_bytes() == before and not list(folder.rglob(".*.new"))


def test_encoded_means_keep_requested_order(study: Path) -> None:
    subject = open_run(Run(folder_of(study.parent, "bn_mu")), {}, print)
    asked = np.array([7, 100, 3, 42, 0])
    together = subject.encoded_means("train", asked)
    for example, code in zip(asked, together, strict=True):
        alone = subject.encoded_means("train", np.array([example]))[0]
        np.testing.assert_allclose(code, alone, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--samples", "0"], ["--samples=0", "at least 1"]),
        (["--samples", "-3"], ["--samples=-3", "at least 1"]),
        (["--metrics", "nnl"], ["nnl", "nll, probe, statistics"]),
        (["--split", "dev"], ["dev", "train, valid, test"]),
        (["--examples", "1"], ["--examples=1", "at least 2"]),
        (["--labels", "many"], ["--labels many", "100,1000"]),
        (["--labels", "10000", "--metrics", "probe"], ["labels=10000", "150"]),
        (["--labels", "1"], ["--labels=1", "at least 2"]),
        (["--samples", "99999999999"], ["--samples=99999999999", "1,000,000"]),
        (["--metrics", ""], ["--metrics", "nll, probe, statistics"]),
        (["--metrics", "probe", "--split", "train"], ["--split train", "valid, test"]),
        (["--workers", "0"], ["--workers=0", "at least 1"]),
    ],
)
def test_bad_arguments_give_one_sentence_and_change_nothing(
    study: Path, words: list[str], parts: list[str], capsys: pytest.CaptureFixture
) -> None:
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    assert main([str(folder_of(study.parent, "plain")), *words]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("error: ")
        and error.count("\n") == 1
        and all(part in error for part in parts)
    ), error
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


def test_unevaluable_runs_give_the_reason(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = folder_of(study.parent, "plain")
    other = folder_of(study.parent, "bn_mu")

    def sentence(*words: str) -> str:
        assert main([*words, "--samples", "2"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        return error

    assert "no folder" in sentence(str(tmp_path / "nowhere"))
    (folder / "done").rename(folder / "not-done")
    assert "not" in sentence(str(folder)) and main([str(study), "--samples", "2"]) == 0
    assert "1 of 2 runs are not finished" in capsys.readouterr().out
    (folder / "not-done").rename(folder / "done")

    weights = folder / "model.safetensors"
    weights.rename(tmp_path / "weights")
    assert "no model.safetensors" in sentence(str(folder))
    shutil.copy(other / "model.safetensors", weights)
    assert "not the weights of this run's model" in sentence(str(folder))
    assert main([str(study), "--samples", "2"]) == 2  # the other run is evaluated nevertheless
    error = capsys.readouterr().err
    assert (
        "not the weights" in error
        and "1 of 2 runs could not be evaluated" in error
        and "nll" in summary(other)
    )
    (tmp_path / "weights").rename(weights)


def test_metrics_beside_an_impossible_one_are_computed(
    study: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["--metrics", "probe,nll,statistics", "--samples", "2", "--labels", "151"]
    for _ in range(2):  # the second time nll and statistics are there already
        assert main([str(study), *words]) == 2
        error = capsys.readouterr().err
        assert error.splitlines()[-1] == (
            "error: in 2 of 2 runs some metrics could not be computed, for the reasons above"
        )
        assert error.count("labels=151") == 2 and error.count("\n") == 3
    folder = folder_of(study.parent, "plain")
    assert (folder / "evaluations/test-statistics.json").exists() and "nll" in summary(folder)
    assert main([str(folder), *words]) == 2  # a single run
    assert capsys.readouterr().err.startswith("error: labels=151")
    assert main([str(study), "--metrics", "probe", "--labels", "151"]) == 2
    assert "2 of 2 runs could not be evaluated, for" in capsys.readouterr().err
    shutil.copy(folder_of(study.parent, "bn_mu") / "model.safetensors", folder)
    assert main([str(study), *words]) == 2
    assert "1 of 2 runs could not be evaluated and in 1 of 2" in capsys.readouterr().err


def test_changed_weights_restart_evaluation(study: Path, capsys: pytest.CaptureFixture) -> None:
    folder = folder_of(study.parent, "plain")
    trained = (folder / "summary.json").read_bytes()
    assert main([str(folder), "--metrics", "nll", "--samples", "2"]) == 0
    (folder / "evaluations" / "test-nll-K2.json").unlink()
    (folder / "summary.json").write_bytes(trained)  # otherwise the result is taken from there
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({name: 1.5 * w for name, w in weights.items()}, folder / "model.safetensors")
    assert main([str(folder), "--metrics", "nll", "--samples", "2"]) == 2
    assert "other weights" in capsys.readouterr().err


def test_non_finite_weights_are_reported(study: Path, capsys: pytest.CaptureFixture) -> None:
    from safetensors.torch import load_file, save_file

    folder = folder_of(study.parent, "plain")
    weights = load_file(folder / "model.safetensors")
    weights["posterior.linear.bias"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors")
    assert main([str(folder), "--metrics", "nll", "--samples", "2"]) == 2
    assert "not finite" in capsys.readouterr().err


def test_help_is_quick_and_lists_options() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/evaluate.py", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and all(
        f"--{word}" in done.stdout for word in ("samples", "split", "metrics", "labels")
    )
