"""nll with a tolerance: each example gets as many codes as its error needs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import folder_of, run_here, summary

from uncollapse.evaluation.command import main as evaluate
from uncollapse.evaluation.nll import FIRST_CODES
from uncollapse.metrics.likelihood import log_mean_error


def test_error_of_log_mean_matches_spread_over_repetitions() -> None:
    """Log-normal weights: 4,000 repetitions of 400 draws."""
    generator = torch.Generator().manual_seed(0)
    w = 0.7 * torch.randn(400, 4000, generator=generator, dtype=torch.float64)
    spread = float((torch.logsumexp(w, 0) - np.log(400)).std())
    assert float(log_mean_error(w).mean()) == pytest.approx(spread, rel=0.05)
    assert float(log_mean_error(torch.zeros(16))) == pytest.approx(0, abs=1e-6)


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


def test_each_error_is_below_the_tolerance_or_the_cap_is_reached(folder: Path) -> None:
    for row in nll_rows(folder, "test-nll-K512-T0.1").values():
        error = ((row["codes"] / row["ess"] - 1) / (row["codes"] - 1)) ** 0.5
        assert error <= 0.1 or row["codes"] == 512
        assert row["codes"] in [FIRST_CODES * 2**n for n in range(8)]
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


def test_collapsed_posterior_needs_only_the_first_round(tmp_path: Path) -> None:
    """Without a code all weights of an example are equal."""
    run_here(tmp_path, "lm")
    words = [str(tmp_path / "scratch"), "--metrics", "nll", "--tolerance", "0.01"]
    assert evaluate([*words, "--workers", "1"]) == 0
    (result,) = summary(folder_of(tmp_path, "lm"))["evaluations"].values()
    assert result["nll_codes"] == FIRST_CODES and result["nll_samples"] == 500


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
