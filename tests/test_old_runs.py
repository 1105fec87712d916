"""Run folders written by older versions can be opened, resumed, evaluated and reported.

The folder names are the commits that wrote them."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import composed

from uncollapse.evaluation.command import main as evaluate
from uncollapse.run import run as train
from uncollapse.runs.layout import Run
from uncollapse.runs.study import read_runs

pytestmark = [
    pytest.mark.usefixtures("quick_figures"),
    # these runs are so small that eps counts
    pytest.mark.filterwarnings("ignore:.*variance below 100 eps"),
]

OLD = Path(__file__).parent / "fixtures" / "old_runs"
SHARED = ["data.train=48", "data.valid=16", "data.test=16", "data.batch_size=16"]
LSTM = [*SHARED, "model.embedding=1", "model.hidden=1", "model.latent=2"]
FINISHED = {
    "117fdba": [*LSTM, "trainer.epochs=1"],
    "72af04e": [*SHARED, "data=gaussian", "model=linear", "trainer.epochs=1"],
}
UNFINISHED = {
    "117fdba": [*LSTM, "trainer.epochs=2", "trainer.optimizer=sgd"],
    "72af04e": [*LSTM, "trainer.epochs=2"],
}
CLOSE = {"rel": 1e-5, "abs": 1e-5}  # another machine rounds differently


@pytest.fixture(params=FINISHED)
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def study(version: str, tmp_path: Path) -> Path:
    shutil.copytree(OLD / version, tmp_path / "old")
    return tmp_path / "old"


def ask(study: Path, head: str, words: list[str]) -> str:
    words = ["study=old", "threads=1", *words]
    return train(composed(f"head={head}", f"results={study.parent}", *words), head, words)


def only(study: Path, head: str) -> Path:
    (folder,) = (study / "runs" / head).glob("*/seed=0")
    return folder


def test_old_runs_are_read_without_a_note(study: Path) -> None:
    notes: list[str] = []
    found = {saved.config["head"]: saved for saved in read_runs(study, notes)}
    assert not notes and not any(saved.notes for saved in found.values())
    assert (found["plain"].status, found["bn_mu"].status) == ("done", "unfinished")
    assert (
        found["plain"].summary["evaluations"].keys() == {"test-nll-K5-N8"}
        and found["bn_mu"].summary == {}
    )
    assert found["plain"].summary["nll"] > 0 and len(found["bn_mu"].rows) == 4


def test_finished_old_run_is_skipped(version: str, study: Path) -> None:
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    assert ask(study, "plain", FINISHED[version]) == "skipped"
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


def test_unfinished_old_run_resumes_to_same_result(version: str, study: Path) -> None:
    assert ask(study, "bn_mu", UNFINISHED[version]) == "done"
    folder, expected = only(study, "bn_mu"), json.loads((study / "expected.json").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    assert {key: summary[key] for key in ("step", "best_step")} == {
        key: expected[key] for key in ("step", "best_step")
    }
    for key in ("rec", "kl", "nelbo", "mi", "shuffle_gap"):
        assert summary[key] == pytest.approx(expected[key], **CLOSE), key
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row, old in zip(rows, expected["rows"], strict=True):
        assert {key: row[key] for key in ("step", "split", "mode")} == {
            key: old[key] for key in ("step", "split", "mode")
        }
        assert (row["rec"], row["kl"]) == pytest.approx((old["rec"], old["kl"]), **CLOSE)


def test_old_evaluation_is_kept_and_resumes(
    version: str, study: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = only(study, "plain")
    words = [str(folder), "--metrics", "nll", "--samples", "5", "--examples", "8"]
    assert evaluate(words) == 0 and "1 of 1 run was evaluated before" in capsys.readouterr().out
    old = json.loads((folder / "summary.json").read_text())
    (folder / "evaluations" / "test-nll-K5-N8.json").unlink()
    (folder / "summary.json").write_text(
        json.dumps({k: v for k, v in old.items() if k not in ("evaluations", "nll")})
    )
    assert evaluate(words) == 0
    assert ("lack columns" in capsys.readouterr().out) == (
        version == "117fdba"
    )  # which kept fewer columns
    new = json.loads((folder / "summary.json").read_text())
    assert new["nll"] == pytest.approx(old["nll"], **CLOSE)
    assert evaluate([str(folder), "--metrics", "statistics"]) == 0
    assert Run(folder).has("evaluations", "test-statistics.json")


def test_report_shows_old_runs(study: Path, capsys: pytest.CaptureFixture) -> None:
    from uncollapse.report import main

    assert main([str(study)]) == 0
    assert "1 done, 1 unfinished" in capsys.readouterr().out
    assert (study / "report" / "index.html").is_file()
