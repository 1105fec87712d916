"""Weights that a run keeps beside the best: the last ones and those of other rules."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import composed, folder_of, rows, run_here, run_interrupted, summary
from safetensors.torch import load_file

from uncollapse.building import prepare
from uncollapse.errors import InputError
from uncollapse.evaluation.command import main as evaluate_command
from uncollapse.metrics.one_pass import estimate_nll, evaluate
from uncollapse.report import main as report
from uncollapse.runs.checkpoint import load_model

KEEP = "trainer.keep=[last,best_nelbo,best_nll]"
# so many steps on few sentences that the rules choose different weights
RULED = (KEEP, "trainer.nll_samples=8", "trainer.epochs=24", "anneal_epochs=6", "trainer.lr=5e-2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("kept")
    run_here(results, "kl_anneal", *RULED)
    return folder_of(results, "kl_anneal")


def valid_rows(folder: Path) -> list[dict]:
    return [row for row in rows(folder) if row["split"] == "valid"]


def test_each_rule_chooses_its_lowest_evaluation(folder: Path) -> None:
    found, valid = summary(folder), valid_rows(folder)
    assert found["best_nelbo"]["step"] == min(valid, key=lambda row: row["nelbo"])["step"]
    assert found["best_nll"]["step"] == min(valid, key=lambda row: row["valid_nll"])["step"]
    assert found["last"]["step"] == valid[-1]["step"] == 24 * 6
    # the default rule waits for the end of the schedule
    after = [row for row in valid if row["epoch"] >= 6]
    assert found["best_step"] == min(after, key=lambda row: row["objective"])["step"]


def test_weights_of_each_rule_give_its_numbers(folder: Path) -> None:
    cfg = composed("head=kl_anneal", "data.train=96", "data.valid=32", "data.test=32",
                   "data.batch_size=16", "model.embedding=8", "model.hidden=12",
                   "model.latent=4", *RULED)  # fmt: skip
    parts = prepare(cfg, "kl_anneal")
    found = summary(folder)
    for rule in ("last", "best_nelbo", "best_nll"):
        path = folder / f"{rule}.safetensors"
        if found[rule]["step"] == found["best_step"]:
            path = folder / "model.safetensors"
        load_model(path, parts.model)
        again = evaluate(parts.model, parts.data, "test", "eval")
        for name in ("rec", "kl", "nelbo", "shuffle_gap"):
            assert again[name] == pytest.approx(found[rule][name], abs=1e-5)
    steps = {found[rule]["step"] for rule in ("last", "best_nelbo", "best_nll", "best")}
    assert len(steps) > 1, "the rules agree: this tests nothing"


def test_test_rows_name_their_weights(folder: Path) -> None:
    named = {row["weights"]: row["step"] for row in rows(folder) if row["split"] == "test"}
    found = summary(folder)
    assert named["best"] == found["best_step"]
    for rule, step in named.items():
        assert step == found[rule]["step"]


def test_nothing_further_is_kept_on_request(tmp_path: Path) -> None:
    run_here(tmp_path, "plain", "trainer.keep=[]")
    folder = folder_of(tmp_path, "plain")
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"]
    assert "last" not in summary(folder) and "best_nelbo" not in summary(folder)


def test_resumed_run_keeps_the_same_weights(folder: Path, tmp_path: Path) -> None:
    run_interrupted(tmp_path, "kl_anneal", *RULED, step=39)
    run_here(tmp_path, "kl_anneal", *RULED)
    again = folder_of(tmp_path, "kl_anneal")
    assert rows(again) == rows(folder) and summary(again) == summary(folder)
    for path in folder.glob("*.safetensors"):
        one, other = load_file(path), load_file(again / path.name)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_validation_nll_lies_between_exact_likelihood_and_nelbo() -> None:
    cfg = composed("head=plain", "experiment=linear", "data.valid=64")
    parts = prepare(cfg, "plain")
    one, many = (
        estimate_nll(parts.model, parts.data, parts.model.encode, 64, samples)
        for samples in (1, 256)
    )
    row = evaluate(parts.model, parts.data, "valid", "eval")
    assert many < one < row["nelbo"] + 4 * row["nelbo_se"]


def test_nll_is_in_validation_rows_only_if_requested(folder: Path, tmp_path: Path) -> None:
    assert all(row["valid_nll"] < 1.2 * row["nelbo"] for row in valid_rows(folder))
    run_here(tmp_path, "plain")
    assert "valid_nll" not in json.dumps(rows(folder_of(tmp_path, "plain")))


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("trainer.keep=[first]", "trainer.keep=first: .*last, best_nelbo, best_nll"),
        ("trainer.keep=[best_nll]", "give trainer.nll_samples, such as 16"),
        ("trainer.nll_samples=0", "trainer.nll_samples=0"),
        ("trainer.nll_examples=0", "trainer.nll_examples=0"),
    ],
)
def test_bad_settings_are_refused(word: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        prepare(composed("head=plain", word), "plain")


# ---------------------------------------------------------------- evaluation and report by rule


def test_evaluation_and_report_of_another_rule(
    folder: Path, tmp_path: Path, no_figures: None, capsys: pytest.CaptureFixture
) -> None:
    study = shutil.copytree(folder.parents[3], tmp_path / "study")
    place = next(study.glob("runs/kl_anneal/*/seed=0"))
    found = summary(place)
    (rule,) = [r for r in ("last",) if found[r]["step"] != found["best_step"]]
    options = ["--metrics", "nll", "--samples", "20", "--workers", "1"]
    assert evaluate_command([str(study), *options]) == 0
    assert evaluate_command([str(study), *options, "--weights", rule]) == 0
    results = summary(place)["evaluations"]
    assert results["test-nll-K20"]["nll"] != results[f"test-nll-K20@{rule}"]["nll"]
    assert summary(place)["nll"] == results["test-nll-K20"]["nll"]
    assert report([str(study)]) == report([str(study), "--select", rule]) == 0
    default, other = (
        pd.read_csv(study / name / "tables/runs.csv").iloc[0]
        for name in ("report", f"report-{rule}")
    )
    assert default["nll"] == pytest.approx(results["test-nll-K20"]["nll"])
    assert other["nll"] == pytest.approx(results[f"test-nll-K20@{rule}"]["nll"])
    assert other["kl"] == pytest.approx(found[rule]["kl"]) and other["weights"] == rule
    assert default["kl"] == pytest.approx(found["kl"]) and default["weights"] == "best"
    # a second evaluation of either has nothing to do
    capsys.readouterr()
    assert evaluate_command([str(study), *options, "--weights", rule]) == 0
    assert "1 of 1 run was evaluated before" in capsys.readouterr().out
    # the table of rules names what changed
    table = pd.read_csv(study / "report/tables/rules.csv")
    assert {"best_objective", "last", "best_nelbo", "best_nll"} == {*table["rule"]}
    assert "Which weights are kept" in (study / "report/index.html").read_text()


def test_report_of_rule_that_a_run_did_not_keep(
    tmp_path: Path, no_figures: None, capsys: pytest.CaptureFixture
) -> None:
    run_here(tmp_path, "plain", "trainer.keep=[last]")
    assert report([str(tmp_path / "scratch"), "--select", "best_nll"]) == 2
    error = capsys.readouterr().err
    assert "did not keep the weights of best_nll; it has those of best_objective, last" in error
    assert evaluate_command([str(tmp_path / "scratch"), "--weights", "best_nll"]) == 2
    assert "did not keep the weights of best_nll" in capsys.readouterr().err
    assert not list((tmp_path / "scratch").glob("report*"))


@pytest.mark.parametrize("command", ["report", "evaluate"])
def test_unknown_rule_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run_here(tmp_path, "plain")
    study = str(tmp_path / "scratch")
    code = (
        report([study, "--select", "first"])
        if command == "report"
        else evaluate_command([study, "--weights", "first"])
    )
    assert code == 2 and "best_objective, last, best_nelbo, best_nll" in capsys.readouterr().err
