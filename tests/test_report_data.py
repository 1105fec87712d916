"""Reports of runs whose data differ: they are named, and never compared with each other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report import write_run

from uncollapse.report.data_sets import UNRECORDED, data_note
from uncollapse.report.page import format_terminal, write_report
from uncollapse.report.results import read_study
from uncollapse.report.stats import against_plain
from uncollapse.report.tables.paired import paired_table
from uncollapse.report.tables.summary import summary_table


def write(study: Path, head: str, seed: int, overrides: str = "default", **facts: Any) -> None:
    """A run whose data.json states these facts too."""
    nll = {"nll": 20.0 + seed + (head != "plain"), "nll_samples": 500, "nll_examples": 100}
    slots = {"data": {"vocabulary": facts.get("vocab")}}  # or two runs had the same config
    folder = write_run(study, head, seed, overrides=overrides, final=nll, slots=slots)
    stated = json.loads((folder / "data.json").read_text())
    (folder / "data.json").write_text(json.dumps(stated | facts))


def test_same_data_are_not_mentioned(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path / "s", "plain", seed, content="a" * 16)
        write(tmp_path / "s", "bn_mu", seed, "data.dir=x", content="a" * 16)
    runs = read_study(tmp_path / "s").runs
    assert data_note(runs) == "" and set(runs["data_name"]) == {""}
    assert "different data" not in summary_table(runs).title


def test_sentence_names_both_data_and_their_runs(tmp_path: Path, no_figures: None) -> None:
    for seed in (0, 1):
        write(tmp_path / "s", "plain", seed)
        write(tmp_path / "s", "bn_mu", seed)
        write(tmp_path / "s", "bn_tau", seed, "data=yelp", vocab=9000)
    study = read_study(tmp_path / "s")
    note = data_note(study.runs)
    assert note.count(".") == 1 and "must not be ranked in one list" in note
    assert "data in Plain VAE, BN on μ;" in note
    assert "data (2) (vocab: 112 and 9000) in BN on μ and σ" in note
    table = summary_table(study.runs)
    assert note in table.title and note in format_terminal(study, table)
    page, _ = write_report(tmp_path / "s")
    assert note in page.read_text()


def test_only_runs_of_the_same_data_are_paired(tmp_path: Path) -> None:
    """The same two heads on two data: plain of the other data is no reference."""
    for seed in (0, 1):
        write(tmp_path / "s", "plain", seed)
        write(tmp_path / "s", "bn_mu", seed)
        write(tmp_path / "s", "bn_tau", seed, "data=yelp", content="b" * 16, vocab=5)
    runs = read_study(tmp_path / "s").runs
    found = against_plain(runs, "nll").groupby(runs["head"]).mean()
    assert found["bn_mu"] == 1 and np.isnan(found["bn_tau"])
    assert paired_table(runs).numbers["group"].tolist() == ["BN on μ"]
    for seed in (0, 1):
        write(tmp_path / "s", "plain", seed, "data=yelp", content="b" * 16, vocab=5)
    runs = read_study(tmp_path / "s").runs
    found = against_plain(runs, "nll").groupby(runs["head"]).mean()
    assert found["bn_mu"] == 1 and found["bn_tau"] == 1


def test_seeds_of_different_data_are_no_group(tmp_path: Path) -> None:
    """The same folder name, but the data changed between two seeds."""
    write(tmp_path / "s", "plain", 0)
    write(tmp_path / "s", "plain", 1, train=999)
    runs = read_study(tmp_path / "s").runs
    assert runs["group"].tolist() == ["Plain VAE [data]", "Plain VAE [data (2)]"]
    assert summary_table(runs).numbers["n"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"entropy": 20.5}, {"entropy": 20.5 * (1 + 1e-9)}, True),  # rounding of another machine
        ({"content": "a" * 16}, {"content": "a" * 16, "train": 1}, True),  # the fingerprint decides
        ({"content": "a" * 16}, {"content": "b" * 16}, False),
        ({"content": "a" * 16}, {}, True),  # a run of an older version
        ({}, {"fresh": True}, False),
        ({"fresh": False}, {}, True),
        ({"level": "word"}, {"level": "char"}, False),
    ],
)
def test_what_counts_as_the_same_data(
    first: dict, second: dict, same: bool, tmp_path: Path
) -> None:
    write(tmp_path / "s", "plain", 0, **first)
    write(tmp_path / "s", "bn_mu", 0, **second)
    runs = read_study(tmp_path / "s").runs
    assert (data_note(runs) == "") == same
    assert np.isfinite(against_plain(runs, "nll")).all() == same


def test_run_without_facts_counts_with_the_others_if_these_agree(tmp_path: Path) -> None:
    write(tmp_path / "s", "plain", 0)
    write(tmp_path / "s", "bn_mu", 0)
    (tmp_path / "s/runs/bn_mu/default/seed=0/data.json").unlink()
    assert set(read_study(tmp_path / "s").runs["data_name"]) == {""}
    write(tmp_path / "s", "bn_tau", 0, vocab=5)
    runs = read_study(tmp_path / "s").runs.set_index("head")
    assert runs["data_name"].to_dict() == {
        "plain": "data", "bn_mu": UNRECORDED, "bn_tau": "data (2)"
    }  # fmt: skip
