"""The frontier that each head's file states, and `level=`, which counts its values."""

from pathlib import Path

import pytest
from conftest import SMALL, composed, folder_of, run_here, summary, typed
from omegaconf import open_dict

from uncollapse.building import prepare
from uncollapse.config import heads
from uncollapse.config.shorthands import NoSuchLevel, read_frontier, replace_shorthands
from uncollapse.errors import InputError


@pytest.mark.slow  # a head of one's own passes `make test` without a frontier
@pytest.mark.parametrize("head", heads())
def test_head_states_its_frontier_or_why_it_has_none(head: str) -> None:
    frontier = read_frontier(typed(f"head={head}"), head)
    assert frontier.reason or 4 <= len(frontier.values) <= 6
    assert list(frontier.values) in (sorted(frontier.values), sorted(frontier.values)[::-1])
    for value in frontier.values:  # each is a value that the head accepts
        if frontier.knob not in ("anneal", "middle"):
            words = (*SMALL, "trainer.epochs=9")
            prepare(composed(f"head={head}", f"{frontier.knob}={value:g}", *words), head)


def test_level_is_the_same_run_as_its_knob(tmp_path: Path) -> None:
    assert run_here(tmp_path, "bn_tau", "level=2") == "done"
    folder = folder_of(tmp_path, "bn_tau")
    assert "tau=0.15" in str(folder) and "\nlevel:" not in (folder / "config.yaml").read_text()
    assert summary(folder)["overrides"]["tau"] == 0.15
    assert run_here(tmp_path, "bn_tau", "tau=0.15") == "skipped"


def test_level_of_a_share_is_a_length_in_epochs() -> None:
    cfg, words = replace_shorthands(
        typed("head=kl_anneal", "level=3", "trainer.epochs=30"), ["level=3"], "kl_anneal"
    )
    assert cfg.anneal_epochs == 12 and words == ["anneal_epochs=12.0"]
    cfg, words = replace_shorthands(
        typed("head=kl_cyclical", "level=2"), ["level=2"], "kl_cyclical"
    )
    assert words == ["cycles=2"], "an integer stays one"


def test_head_without_frontier_has_one_level(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_here(tmp_path, "plain", "level=1") == "done"
    assert run_here(tmp_path, "plain") == "skipped"
    capsys.readouterr()
    assert run_here(tmp_path, "plain", "level=2") == "skipped"
    assert "head=plain has no frontier (it has no knob), only level 1" in capsys.readouterr().out


def test_levels_beyond_the_last_are_skipped_with_the_values(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run_here(tmp_path, "bn_tau", "level=6") == "skipped"
    assert "levels 1 to 5 (tau=0.05, 0.15, 0.3, 0.5, 0.7)" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("level=0",), "level=0"),
        (("level=1.5",), "level=1.5"),
        (("level=2", "tau=0.3"), "level=2 and tau=0.3: both set tau"),
    ],
)
def test_bad_levels_are_refused(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        replace_shorthands(typed("head=bn_tau", *words), words, "bn_tau")


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (None, "its file states no frontier"),
        ({"knob": "tau"}, "its file states no frontier"),
        ({"knob": "gamma", "values": [1, 2]}, "frontier.knob=gamma: the head has no such knob"),
        ({"knob": "tau", "values": [1]}, "two or more numbers"),
        ({"knob": "tau", "values": ["a", 2]}, "frontier.values=a"),
    ],
)
def test_bad_frontier_of_a_head_file_is_refused(stated: object, says: str) -> None:
    cfg = typed("head=bn_tau", "level=1")
    with open_dict(cfg):
        cfg.frontier = stated
    with pytest.raises((InputError, NoSuchLevel), match=says):
        replace_shorthands(cfg, ["level=1"], "bn_tau")
