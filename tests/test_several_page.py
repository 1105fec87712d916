"""The page of several studies: its files, what it refuses, and how a browser shows it."""

import json
from pathlib import Path

import pandas as pd
import pytest
from test_page_parts import VALUES
from test_report import OTHER, SLOTS, write_run

from uncollapse.disk import hold_lock
from uncollapse.report import main
from uncollapse.report.files import OWNER, PAGE_MARK


def write_study(folder: Path, vocab: int = 5, **changed: dict) -> Path:
    """A study of five heads with three seeds; `changed`: values of the summaries by head."""
    for head, (mi, gap, nll) in VALUES.items():
        slots = SLOTS | ({"posterior": OTHER["posterior"]} if head != "plain" else {})
        for seed in range(3):
            noise = 0.01 * (seed - 1) * (1 + len(head) % 3)
            final = {"mi": mi + noise, "shuffle_gap": gap + noise, "nll": nll + noise}
            final |= {"mi_saturated": False} | changed.get(head, {})
            options = {"final": final, "slots": slots, "evaluated": True, "label": head}
            run = write_run(folder, head, seed, evaluations=2, **options)
            facts = json.loads((run / "data.json").read_text())
            (run / "data.json").write_text(json.dumps(facts | {"vocab": vocab, "entropy": None}))
    return folder


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    results = tmp_path_factory.mktemp("several")
    return [write_study(results / "a", 5), write_study(results / "b", 7, bn_mu={"nll": 20.1})]


def report(*words: object) -> int:
    return main([str(word) for word in words])


# ---------------------------------------------------------------- files


def test_page_and_tables_are_written_beside_the_studies(
    studies: list[Path], capsys: pytest.CaptureFixture
) -> None:
    assert report(*studies) == 0
    said = capsys.readouterr().out
    place = studies[0].parent / "report-a-b"
    assert said.endswith(f"Comparison: {place / 'index.html'}\n") and "common remedies" in said
    page = (place / "index.html").read_text()
    assert PAGE_MARK in page and "<script" not in page and "https://" not in page
    names = sorted(path.name for path in (place / "tables").iterdir())
    assert names == sorted(
        f"{name}.{suffix}"
        for name in ("d_nll", "mi", "gap", "agreement", "studies")
        for suffix in ("csv", "md", "tex")
    )
    prices = pd.read_csv(place / "tables/d_nll.csv").set_index("head")
    assert prices.loc["bn_tau", "a_mean"] == pytest.approx(0.4)
    assert prices["a_rank"].dropna().to_dict() == {"bn_tau": 1, "bn_mu": 2, "rms_tau": 3}
    assert prices["b_rank"].dropna().to_dict() == {"bn_mu": 1, "bn_tau": 2, "rms_tau": 3}
    # no report of a single study was written
    assert not any((study / "report").exists() for study in studies)


def test_page_can_be_repeated_and_drops_levels_of_earlier_ones(studies: list[Path]) -> None:
    place = studies[0].parent / "report-a-b"
    assert report(*studies) == 0
    (place / "tables/at_2.csv").write_text("old")
    (place / "tables/mine.csv").write_text("mine")
    assert report(*studies) == 0
    assert not (place / "tables/at_2.csv").exists()
    assert (place / "tables/mine.csv").read_text() == "mine"


def test_single_file_is_written_alone(studies: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    assert report(*studies, f"--single={file}") == 0
    assert [*tmp_path.iterdir()] == [file] and "tables/" not in file.read_text()
    assert report(*studies, f"--single={file}") == 0, "a page of ours is replaced"


def test_other_weights_have_a_folder_of_their_own(
    studies: list[Path], capsys: pytest.CaptureFixture
) -> None:
    assert report(*studies, "--select=last") == 2
    assert "report: " in capsys.readouterr().err


# ---------------------------------------------------------------- bad input


def refused(capsys: pytest.CaptureFixture, *words: object) -> str:
    """The one line that a refusal prints."""
    assert report(*words) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.count("\n") == 1
    return said.err


def test_fewer_than_two_studies_are_refused(
    studies: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    said = refused(capsys, studies[0], studies[0])
    assert "needs two studies" in said and "named twice; it counts once" in said
    (tmp_path / "empty").mkdir()
    said = refused(capsys, studies[0], tmp_path / "empty")
    assert "needs two studies" in said and "is not a study" in said
    assert "there is no folder" in refused(capsys, studies[0], tmp_path / "none")


def test_folder_that_is_no_study_is_named_and_the_rest_is_shown(
    studies: list[Path], capsys: pytest.CaptureFixture
) -> None:
    other = studies[0].parent / "notes"
    other.mkdir(exist_ok=True)
    assert report(*studies, other, studies[1]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "notes is not a study" in said and "named twice" in said and "common remedies" in said
    page = (studies[0].parent / "report-a-b-notes/index.html").read_text()
    assert page.count("Left out:") == 2


def test_foreign_files_are_kept(studies: list[Path], tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    assert report(*studies, f"--single={mine}") == 2 and mine.read_text() == "mine"
    place = studies[0].parent / "report-b-a"
    place.mkdir()
    (place / "index.html").write_text("mine")
    assert report(*reversed(studies)) == 2
    assert [path.name for path in place.iterdir()] == ["index.html"]
    assert (place / "index.html").read_text() == "mine"


def test_two_processes_do_not_write_one_page(
    studies: list[Path], capsys: pytest.CaptureFixture
) -> None:
    place = studies[0].parent / "report-a-b"
    assert report(*studies) == 0 and (place / OWNER).exists()
    capsys.readouterr()
    with hold_lock(place, "report"):
        assert "another process is working on this report" in refused(capsys, *studies)


def test_studies_without_a_common_folder_need_a_file(
    studies: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("os.path.commonpath", lambda paths: "/")
    assert "--single FILE writes the page" in refused(capsys, *studies)


def test_long_names_fit_a_folder(tmp_path: Path) -> None:
    names = [letter * 120 for letter in "xyz"]
    folders = [write_study(tmp_path / name) for name in names]
    assert report(*folders) == 0
    (made,) = tmp_path.glob("report-*")
    assert len(made.name) <= 120
