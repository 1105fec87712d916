"""Files of another version, links to other folders, and a run's sample files."""

import os
import re
import shutil
from pathlib import Path

import pytest
from conftest import composed, folder_of

from uncollapse.errors import InputError
from uncollapse.evaluation.command import main as evaluate
from uncollapse.run import run as train
from uncollapse.runs.layout import Run
from uncollapse.runs.results import read_results, read_summary
from uncollapse.runs.study import read_runs
from uncollapse.runs.study_cli import main as study

WORDS = [
    "data=gaussian",
    "model=linear",
    "data.train=32",
    "data.valid=16",
    "data.test=16",
    "threads=1",
]
WORDS += ["trainer.epochs=1"]
STATISTICS = ["--metrics", "statistics", "--examples", "8"]


def ask(results: Path, seed: int, head: str = "plain") -> str:
    words = [*WORDS, f"seed={seed}"]
    return train(composed(f"head={head}", f"results={results}", *words), head, words)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("misplaced")
    for seed in (0, 1):
        ask(results, seed)
    assert evaluate([str(results / "scratch"), *STATISTICS]) == 0
    return results


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "results"))


def notes_on(results: Path) -> list[str]:
    notes: list[str] = []
    return (
        notes
        + [note for saved in read_runs(results / "scratch", notes) for note in saved.notes]
        + notes
    )


# ---------------------------------------------------------------- files of another version


def test_checkpoint_of_a_newer_version_is_not_resumed(results: Path) -> None:
    import torch

    folder = folder_of(results, "plain")
    (folder / "done").unlink()
    state = torch.load(folder / "state.pt", weights_only=True)
    del state["digest"]
    torch.save({**state, "schema": 2}, folder / "state.pt")
    with pytest.raises(InputError, match=r"state\.pt: written by a newer version"):
        ask(results, 0)


def test_run_started_by_older_version_ends_without_a_note(results: Path) -> None:
    folder = folder_of(results, "plain")
    for name in ("done", "summary.json", "state.pt", "model.safetensors", "metrics.jsonl"):
        (folder / name).unlink()
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(re.sub(r"\n  decay_reload: false", "", config))
    assert ask(results, 0) == "done" and notes_on(results) == []


# ---------------------------------------------------------------- links to folders elsewhere


@pytest.mark.parametrize("level", range(4))
def test_linked_study_folder_is_neither_read_nor_written(
    level: int, results: Path, tmp_path: Path
) -> None:
    folder = folder_of(results, "plain")
    place = [folder, *folder.parents][level]
    place.rename(tmp_path / "outside")
    place.symlink_to(tmp_path / "outside")
    shutil.rmtree(
        next((tmp_path / "outside").rglob("seed=0/evaluations"), tmp_path / "outside/evaluations")
    )
    before = sorted((tmp_path / "outside").rglob("*"))
    with pytest.raises(InputError, match="a link that leads out of"):
        ask(results, 0)
    evaluate([str(results / "scratch"), *STATISTICS])
    assert any("a link that leads out of" in note for note in notes_on(results))
    assert sorted((tmp_path / "outside").rglob("*")) == before


def test_circular_links_give_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from uncollapse.report import main as report

    (tmp_path / "round").symlink_to("round")
    for command in (evaluate, report, lambda words: study(["list", *words])):
        assert command([str(tmp_path / "round")]) == 2
        assert capsys.readouterr().err.count("\n") == 1


# ---------------------------------------------------------------- folders inside a run


@pytest.mark.parametrize("kind", ["link", "file"])
def test_unlistable_results_are_read_from_summary(kind: str, results: Path, tmp_path: Path) -> None:
    folder = folder_of(results, "plain")
    (folder / "evaluations").rename(tmp_path / "outside")
    if kind == "link":
        (folder / "evaluations").symlink_to(tmp_path / "outside")
    else:
        (folder / "evaluations").write_text("no folder")
    found, damaged = read_results(Run(folder), read_summary(Run(folder)))
    assert found.keys() == {"test-statistics-N8"} and len(damaged) == 1
    assert notes_on(results) == [*damaged.values()]


@pytest.mark.parametrize("kind", ["linked folder", "linked file", "pipe"])
def test_unreadable_samples_are_reported(kind: str, results: Path, tmp_path: Path) -> None:
    folder = folder_of(results, "plain") / "samples"
    (tmp_path / "outside").mkdir()
    if kind == "linked folder":
        folder.symlink_to(tmp_path / "outside")
    else:
        folder.mkdir()
        make = os.mkfifo if kind == "pipe" else lambda path: path.symlink_to(tmp_path / "outside")
        make(folder / "prior.txt")
    (note,) = notes_on(results)
    assert str(folder) in note and note.endswith("not shown")


def test_fraction_rounded_above_one_is_accepted(tmp_path: Path) -> None:
    from uncollapse.report.checked import Values

    values = Values({"oracle": 1.0000000000000002}, "summary")
    assert values.share("oracle") == 1 and not values.odd
