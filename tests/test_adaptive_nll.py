"""nll with a tolerance: each example gets as many codes as its error needs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import folder_of, run_here, summary
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from uncollapse.evaluation.command import main as evaluate
from uncollapse.evaluation.nll import PILOT_CODES, plan_codes, split_by_codes
from uncollapse.metrics.likelihood import DECODED_CODES


def draw_log_normal(spread: float, codes: int, examples: int, seed: int) -> Tensor:
    """Log weights [codes, examples] whose weights have the mean 1."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(codes, examples, generator=generator, dtype=torch.float64)
    return spread * noise - spread**2 / 2


@pytest.mark.parametrize("spread", [0.3, 0.7, 1.2])
def test_planned_codes_reach_the_tolerance(spread: float) -> None:
    """For log-normal weights K is known: (exp(s^2) - 1) / T^2."""
    planned = plan_codes(draw_log_normal(spread, 4096, 50, 0), 0.1, 10**6)
    np.testing.assert_allclose(planned, max(4096, np.expm1(spread**2) / 0.01), rtol=0.2)
    # the spread of log means of that many codes is the tolerance
    known = int(np.expm1(spread**2) / 0.01)
    means = torch.logsumexp(draw_log_normal(spread, known, 2000, 1), 0) - np.log(known)
    assert float(means.std()) == pytest.approx(0.1, rel=0.1 if spread < 1 else 0.2)


def test_codes_that_decide_when_to_stop_are_biased_and_planned_ones_are_not() -> None:
    """Weights of mean 1, so nll is 0; T = 0.2 and rounds that double from 16 codes."""
    w, examples = draw_log_normal(1.1, 1024, 4000, 2), 4000
    stopped = torch.full((examples,), torch.nan, dtype=torch.float64)
    for codes in (16, 32, 64, 128, 256, 512, 1024):
        first = w[:codes]
        ess = torch.exp(2 * first.logsumexp(0) - (2 * first).logsumexp(0))
        done = ((codes / ess - 1) / (codes - 1)).sqrt() <= 0.2
        value = np.log(codes) - first.logsumexp(0)
        stopped = torch.where(stopped.isnan() & done, value, stopped)
    planned = plan_codes(w[:PILOT_CODES], 0.2, 1024 - PILOT_CODES)
    fresh = [
        np.log(codes) - float(w[PILOT_CODES : PILOT_CODES + codes, example].logsumexp(0))
        for example, codes in enumerate(planned.tolist())
    ]
    assert float(stopped.nanmean()) > 0.08
    # the bias of a fixed K, half of the squared error, and what a pilot of 16 codes misses
    assert 0 < np.mean(fresh) < 0.05


def test_limits_of_the_plan() -> None:
    equal, wild = torch.zeros(16, 1), torch.tensor([[-1e4], [1e4]]).repeat(8, 1)
    planned = plan_codes(torch.cat([equal, wild], 1), 0.1, 500)
    assert planned.tolist() == [PILOT_CODES, 500]
    assert plan_codes(equal, 0.1, 4).tolist() == [4]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=200))
def test_groups_hold_every_place_once_and_few_codes(planned: list[int]) -> None:
    groups = split_by_codes(np.array(planned))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(planned)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(planned[i] for i in group) <= DECODED_CODES


def nll_rows(folder: Path, name: str) -> dict[int, dict]:
    lines = (folder / "evaluations" / f"{name}.jsonl").read_text().splitlines()[1:]
    found = {}
    for row in map(json.loads, lines):
        for i, example in enumerate(row["examples"]):
            found[example] = {key: row[key][i] for key in ("nll", "ess", "codes")}
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("adaptive")
    run_here(results, "plain", "trainer.epochs=12", "trainer.lr=1e-2", "data.test=96")
    options = ["--metrics", "nll", "--workers", "1", "--samples"]
    for more in (["1024"], ["512", "--tolerance", "0.1"], ["64", "--tolerance", "0.001"]):
        assert evaluate([str(results / "scratch"), *options, *more]) == 0
    return folder_of(results, "plain")


def test_codes_are_planned_within_the_limits(folder: Path) -> None:
    rows = nll_rows(folder, "test-nll-K512-T0.1")
    assert len(rows) == 96
    assert all(PILOT_CODES <= row["codes"] <= 512 for row in rows.values())
    errors = [
        ((row["codes"] / row["ess"] - 1) / (row["codes"] - 1)) ** 0.5 for row in rows.values()
    ]
    assert np.median(errors) < 0.1
    capped = nll_rows(folder, "test-nll-K64-T0.001").values()
    assert {row["codes"] for row in capped} == {64}


def test_numbers_agree_with_many_codes_at_a_fraction_of_the_cost(folder: Path) -> None:
    results = summary(folder)["evaluations"]
    adaptive, many = results["test-nll-K512-T0.1"], results["test-nll-K1024"]
    assert adaptive["nll_codes"] < 512 / 5
    # 0.1 nats an example, and the bias of the order of half its square
    assert abs(adaptive["nll"] - many["nll"]) < 4 * adaptive["nll_mc_se"] + 0.02
    assert adaptive["nll_mc_se"] < 0.1 / 96**0.5 * 1.5
    assert many["nll_codes"] == many["nll_samples"] == 1024 and adaptive["nll_samples"] == 512


def test_collapsed_posterior_needs_only_as_many_codes_as_the_pilot(tmp_path: Path) -> None:
    """Without a code all weights of an example are equal."""
    run_here(tmp_path, "lm")
    words = [str(tmp_path / "scratch"), "--metrics", "nll", "--tolerance", "0.01"]
    assert evaluate([*words, "--workers", "1"]) == 0
    (result,) = summary(folder_of(tmp_path, "lm"))["evaluations"].values()
    assert result["nll_codes"] == PILOT_CODES and result["nll_samples"] == 500


def test_interrupted_evaluation_gives_the_same_numbers(folder: Path) -> None:
    name = "test-nll-K512-T0.1"
    path, rows = folder / "evaluations" / f"{name}.jsonl", nll_rows(folder, name)
    before = summary(folder)["evaluations"][name]
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    (path.parent / f"{name}.json").unlink()
    words = ["--metrics", "nll", "--samples", "512", "--tolerance", "0.1", "--workers", "1"]
    assert evaluate([str(folder), *words]) == 0
    assert nll_rows(folder, name) == rows
    assert summary(folder)["evaluations"][name] == before


@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_bad_tolerance_is_refused(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert evaluate([str(tmp_path), "--tolerance", value]) == 2
    assert "--tolerance=" in capsys.readouterr().err
