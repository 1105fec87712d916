"""Lengths of schedules as shares of training."""

from pathlib import Path

import pytest
from conftest import folder_of, run_here, summary, typed

from uncollapse.config import heads, knobs_of
from uncollapse.config.shorthands import SHARES, replace_shorthands
from uncollapse.errors import InputError

HEADS = {share: [head for head in heads() if share in knobs_of(head)] for share in SHARES}


def replace(head: str, *words: str) -> tuple[dict, list[str]]:
    cfg, kept = replace_shorthands(typed(f"head={head}", *words), words, head)
    return dict(cfg), kept


@pytest.mark.parametrize(("share", "head"), [(s, head) for s in HEADS for head in HEADS[s]])
def test_share_sets_the_length_in_epochs(share: str, head: str) -> None:
    cfg, words = replace(head, "trainer.epochs=30", f"{share}=0.25")
    assert cfg[SHARES[share]] == 7.5 and share not in cfg
    assert words == ["trainer.epochs=30", f"{SHARES[share]}=7.5"]


def test_length_is_as_a_reader_would_write_it() -> None:
    cfg, words = replace("kl_anneal", "trainer.epochs=6", "anneal=0.4")
    # 0.4 * 6 is 2.4000000000000004 in floating point
    assert cfg["anneal_epochs"] == 2.4 and words[-1] == "anneal_epochs=2.4"


def test_each_share_has_a_head_and_each_length_a_share() -> None:
    assert all(HEADS.values())
    for share, length in SHARES.items():
        assert [head for head in heads() if length in knobs_of(head)] == HEADS[share]


def test_default_lengths_stay(tmp_path: Path) -> None:
    cfg, words = replace("kl_anneal")
    assert cfg["anneal_epochs"] == 2 and words == [] and not set(cfg) & set(SHARES)


def test_both_spellings_are_one_run(tmp_path: Path) -> None:
    words = ("trainer.epochs=4",)
    assert run_here(tmp_path, "kl_anneal", *words, "anneal=0.5") == "done"
    found = summary(folder_of(tmp_path, "kl_anneal"))
    assert found["schedule_complete"]
    assert run_here(tmp_path, "kl_anneal", *words, "anneal_epochs=2") == "skipped"
    assert run_here(tmp_path, "kl_anneal", *words) == "skipped"  # 2 is the default


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("anneal=1.5",), "anneal=1.5"),
        (("anneal=-0.1",), "anneal=-0.1"),
        (("anneal=half",), "anneal=half"),
        (
            ("anneal=0.5", "anneal_epochs=3"),
            "anneal=0.5 and anneal_epochs=3: both set anneal_epochs",
        ),
    ],
)
def test_bad_shares_are_refused(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        run_here(tmp_path, "kl_anneal", *words)
    assert not list(tmp_path.iterdir())
