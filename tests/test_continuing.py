"""A finished run with more epochs goes on where it ended, as a new run."""

from pathlib import Path

import pytest
from conftest import composed

from uncollapse.contract import KINDS, read_comparable_rows, require_same
from uncollapse.run import run
from uncollapse.runs.layout import Run
from uncollapse.runs.results import read_summary
from uncollapse.runs.study_cli import main as study

VECTORS = KINDS["vectors"]


def train(results: Path, head: str, epochs: int, *words: str) -> Path:
    """The folder of a run of so many epochs."""
    asked = [*VECTORS, *words, f"trainer.epochs={epochs}"]
    assert run(composed(f"head={head}", f"results={results}", *asked), head, asked) == "done"
    (folder,) = (results / "scratch/runs" / head).glob(f"*trainer.epochs={epochs}*/seed=0")
    return Path(folder)


def summary_of(folder: Path) -> dict:
    clocks = ("seconds", "seconds_per_step", "wall_seconds", "peak_memory_mb", "identity")
    return {k: v for k, v in read_summary(Run(folder)).items() if k not in clocks}


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("bn_mu", ()),
        ("kl_anneal", ("anneal_epochs=4",)),
        ("control", ()),
        ("aggressive", ("inner_max=4",)),
        ("plain", ("trainer.eval_every=4", "data.train=64")),  # epochs of 4 steps
    ],
)
def test_longer_run_equals_one_without_a_break(
    head: str, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    short = train(tmp_path / "one", head, 2, *words)
    before = {path: path.read_bytes() for path in short.rglob("*") if path.is_file()}
    capsys.readouterr()
    long = train(tmp_path / "one", head, 5, *words)
    assert f"goes on from {short}" in capsys.readouterr().out
    straight = train(tmp_path / "two", head, 5, *words)
    assert "goes on from" not in capsys.readouterr().out
    assert read_comparable_rows(long) == read_comparable_rows(straight)
    assert (long / "model.safetensors").read_bytes() == (
        straight / "model.safetensors"
    ).read_bytes()
    found, expected = summary_of(long), summary_of(straight)
    assert found.pop("continued_from") == short.relative_to(tmp_path / "one/scratch").as_posix()
    require_same(found, expected)
    # the shorter run is as it was
    assert before == {path: path.read_bytes() for path in short.rglob("*") if path.is_file()}
    # both are the same run for a pack
    assert study(["merge", str(tmp_path / "all"), str(tmp_path / "one/scratch"),
                  str(tmp_path / "two/scratch")]) == 0  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((), ("trainer.lr=1e-3",)),  # another difference
        (("trainer.cooldown=1",), ("trainer.cooldown=1",)),
        (("trainer.max_steps=9",), ("trainer.max_steps=9",)),
        (("trainer.eval_every=7",), ("trainer.eval_every=7",)),  # 12 steps: one evaluation more
        (("trainer.until=plateau",), ("trainer.until=plateau",)),
    ],
)
def test_run_that_ended_otherwise_is_not_continued(
    first: tuple[str, ...],
    second: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    train(tmp_path, "plain", 2, *first)
    train(tmp_path, "plain", 3, *second)
    assert "goes on from" not in capsys.readouterr().out


def test_damaged_state_is_not_continued(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    short = train(tmp_path, "plain", 2)
    (short / "state.pt").write_bytes(b"damaged")
    train(tmp_path, "plain", 3)
    assert "goes on from" not in capsys.readouterr().out


def test_other_data_are_not_continued(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    short = train(tmp_path, "plain", 2)
    facts = (short / "data.json").read_text()
    (short / "data.json").write_text(facts.replace('"train": 96', '"train": 97'))
    train(tmp_path, "plain", 3)
    assert "goes on from" not in capsys.readouterr().out


def test_shorter_request_is_trained_from_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train(tmp_path, "plain", 3)
    train(tmp_path, "plain", 2)
    assert "goes on from" not in capsys.readouterr().out
