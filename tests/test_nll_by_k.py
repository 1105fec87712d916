"""The report on several nll of the same runs: values, ranks, and how far these agree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_report import write_run

from uncollapse.report.evaluations import list_evaluations, under_evaluation
from uncollapse.report.notes import few_samples
from uncollapse.report.page import write_report
from uncollapse.report.results import read_study
from uncollapse.report.tables.nll_by_k import nll_by_k_table
from uncollapse.report.tables.rank_agreement import rank_agreement_table, rank_correlation
from uncollapse.report.tables.summary import summary_table

PLAIN = {"test-nll-K100": 20.0, "test-nll-K500-T0.05": 20.0, "test-nll-K5000-N50": 21.0}
# nll - plain under each evaluation: with few codes b seems better than a
COSTS = {"bn_mu": (0.5, 0.2, 0.1), "bn_tau": (0.4, 0.3, 0.3), "rms_tau": (0.9, 0.8, 0.4)}


def result(name: str, nll: float, **more: Any) -> dict[str, Any]:
    samples = int(name.split("-K")[1].split("-")[0])
    examples = int(name.split("-N")[1]) if "-N" in name else 2000
    return {
        "nll": nll, "nll_samples": samples, "nll_examples": examples, "nll_ess": 12.5,
        "nll_codes": 40.0 if "-T" in name else float(samples),
    } | more  # fmt: skip


def write_evaluated(study: Path, head: str, seed: int, results: dict[str, float]) -> Path:
    found = {name: result(name, nll) for name, nll in results.items()}
    return write_run(study, head, seed, evaluations=2, final={"evaluations": found})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three heads at two seeds; plain and every head cost 0.3 more at seed 1."""
    folder = tmp_path_factory.mktemp("by_k") / "s"
    for seed in (0, 1):
        write_evaluated(folder, "plain", seed, {k: v + 0.3 * seed for k, v in PLAIN.items()})
        for head, costs in COSTS.items():
            values = zip(PLAIN.items(), costs, strict=True)
            nll = {name: base + cost + 0.3 * seed for (name, base), cost in values}
            write_evaluated(folder, head, seed, nll)
    return folder


@pytest.fixture(scope="module")
def runs(study: Path) -> pd.DataFrame:
    return read_study(study).runs


def test_evaluations_are_read_from_their_names(runs: pd.DataFrame) -> None:
    labels = [e.label(with_examples=True) for e in list_evaluations(runs)]
    assert labels == ["K = 100, N = 2,000", "K = 500, T = 0.05, N = 2,000", "K = 5,000, N = 50"]


def test_differences_ranks_and_samples_of_each_evaluation(runs: pd.DataFrame) -> None:
    table = nll_by_k_table(runs)
    rows = table.numbers.set_index("head")
    for key, place in (("K100", 0), ("K500-T0.05", 1), ("K5000-N50", 2)):
        for head, costs in COSTS.items():
            assert rows.loc[head, f"d_nll_{key}_mean"] == pytest.approx(costs[place])
            assert rows.loc[head, f"d_nll_{key}_half"] == pytest.approx(0, abs=1e-9)
    assert rows["rank_K100"].drop("plain").to_dict() == {"bn_mu": 2, "bn_tau": 1, "rms_tau": 3}
    assert rows["rank_K5000-N50"].drop("plain").to_dict() == {"bn_mu": 1, "bn_tau": 2, "rms_tau": 3}
    assert np.isnan(rows.loc["plain", "rank_K100"])
    text = table.text.set_index("group").loc["BN on μ"]
    assert text["K = 500, T = 0.05, N = 2,000"] == "+0.20 ± 0.00 [1]"
    assert text["ess, K = 500, T = 0.05, N = 2,000"] == "12.5 of 40"
    assert "differ in their examples too" in table.title
    assert "Largest change of rank: BN on μ, from 2 (K = 100, N = 2,000) to 1" in table.title


def test_kendalls_tau_by_hand(runs: pd.DataFrame) -> None:
    table = rank_agreement_table(runs)
    # of three pairs of heads one changes sides: (2 - 1) / 3
    assert table.numbers["tau groups"].tolist() == pytest.approx([1 / 3, 1 / 3, 1])
    assert table.text["groups"].tolist() == ["0.33 (n=3)", "0.33 (n=3)", "1.00 (n=3)"]


def test_rankings_are_compared_on_what_they_share() -> None:
    one = pd.Series({"a": 1, "b": 2, "c": 3})
    assert rank_correlation(one, pd.Series({"a": 5, "b": 4, "z": 0})) == (-1, 2)
    tau, count = rank_correlation(one, one[:1])
    assert np.isnan(tau) and count == 1


def test_seeds_without_every_evaluation_do_not_count(runs: pd.DataFrame) -> None:
    """Seed 1 of bn_mu costs 9 more, but only with many codes: its other numbers count neither."""
    less = runs.copy()
    less["nll_results"] = [
        {k: v for k, v in found.items() if k == "K5000-N50" or (head, seed) != ("bn_mu", 1)}
        for head, seed, found in zip(runs["head"], runs["seed"], runs["nll_results"], strict=True)
    ]
    place = less.index[(less["head"] == "bn_mu") & (less["seed"] == 1)][0]
    found = less.loc[place, "nll_results"]["K5000-N50"]
    less.at[place, "nll_results"] = {"K5000-N50": found | {"nll": found["nll"] + 9}}
    rows = nll_by_k_table(less).numbers.set_index("head")
    assert rows.loc["bn_mu", "n"] == 1 and rows.loc["bn_tau", "n"] == 2
    assert rows.loc["bn_mu", "d_nll_K5000-N50_mean"] == pytest.approx(COSTS["bn_mu"][2])
    assert rank_agreement_table(less).numbers["tau groups"].tolist() == pytest.approx(
        [1 / 3, 1 / 3, 1]
    )


def test_page_shows_both_tables(study: Path, no_figures: None) -> None:
    page, _ = write_report(study)
    text = page.read_text()
    assert "<h2>Number of codes for nll</h2>" in text and "Kendall's tau" in text.replace(
        "&#39;", "'"
    )
    assert (page.parent / "tables/nll_by_k.csv").exists()
    assert (page.parent / "tables/rank_agreement.csv").exists()


def test_groups_without_every_evaluation_are_left_out(runs: pd.DataFrame) -> None:
    less = runs.copy()
    results = [
        {k: v for k, v in found.items() if head != "rms_tau" or k != "K100"}
        for head, found in zip(runs["head"], runs["nll_results"], strict=True)
    ]
    less["nll_results"] = results
    table = nll_by_k_table(less)
    assert "rms_tau" not in table.numbers["head"].tolist()
    assert "Left out, without every evaluation: BN on μ, RMS on σ." in table.title
    # the two evaluations that all have are still compared over all groups
    assert rank_agreement_table(less).numbers["n groups"].tolist() == [2, 2, 3]


def test_rankings_at_equal_mi_are_compared(tmp_path: Path) -> None:
    """Lines over mi that cross between the evaluations."""
    names = ("test-nll-K100", "test-nll-K5000")
    write_evaluated(tmp_path / "s", "plain", 0, dict.fromkeys(names, 20.0))
    slopes = {"bn_tau": (0.1, 0.2), "rms_tau": (0.2, 0.1)}
    for head, pair in slopes.items():
        for tau in (0.1, 0.3, 0.5):
            mi = 10 * tau
            found = {n: result(n, 20 + s * mi) for n, s in zip(names, pair, strict=True)}
            final = {"evaluations": found, "mi": mi, "mi_saturated": False}
            more = {"overrides": f"tau={tau}", "evaluations": 2, "final": final}
            write_run(tmp_path / "s", head, 0, **more)
    numbers = rank_agreement_table(read_study(tmp_path / "s").runs).numbers
    assert numbers.loc[0, "tau at 2 nats"] == -1 and numbers.loc[0, "n at 2 nats"] == 2
    assert "tau at 8 nats" not in numbers


def test_subsets_of_other_sizes_are_not_paired(runs: pd.DataFrame) -> None:
    """plain was evaluated on fewer examples under the same name."""
    other = runs.copy()
    plain = other["head"] == "plain"
    other.loc[plain, "nll_results"] = other.loc[plain, "nll_results"].map(
        lambda found: {k: v | {"nll_examples": 7.0} for k, v in found.items()}
    )
    assert nll_by_k_table(other).text.empty and rank_agreement_table(other).text.empty


@pytest.mark.parametrize("names", [[], ["test-nll-K100"], ["valid-nll-K100", "test-nll-K500"]])
def test_single_evaluation_needs_no_table(names: list[str], tmp_path: Path) -> None:
    for head in ("plain", "bn_mu", "bn_tau"):
        write_evaluated(tmp_path / "s", head, 0, dict.fromkeys(names, 20.0))
    runs = read_study(tmp_path / "s").runs
    assert nll_by_k_table(runs).text.empty and rank_agreement_table(runs).text.empty


def test_odd_results_are_noted_and_left_out(tmp_path: Path) -> None:
    for head in ("plain", "bn_mu", "bn_tau"):
        folder = write_evaluated(tmp_path / "s", head, 0, {"test-nll-K100": 20, "test-nll-K9": 20})
    summary = json.loads((folder / "summary.json").read_text())
    summary["evaluations"]["test-nll-K9"]["nll"] = "low"
    summary["evaluations"] |= {"test-nll-Kmany": 3, "test-nll-K7": {"nll": 1, "nll_samples": 7}}
    (folder / "summary.json").write_text(json.dumps(summary))
    study = read_study(tmp_path / "s")
    assert any("test-nll-K9.nll" in note for note in study.notes)
    assert [e.key for e in list_evaluations(study.runs)] == ["K9", "K100"]


def test_results_of_older_versions_have_k_codes_of_each_example(tmp_path: Path) -> None:
    final = {"evaluations": {"test-nll-K100": result("test-nll-K100", 20)}}
    del final["evaluations"]["test-nll-K100"]["nll_codes"]
    write_run(tmp_path / "s", "plain", 0, evaluations=2, final=final)
    runs = read_study(tmp_path / "s").runs
    (evaluation,) = list_evaluations(runs)
    assert under_evaluation(runs, evaluation)["nll_codes"].tolist() == [100]


def test_few_codes_that_are_precise_enough_are_no_bound() -> None:
    """16 equal weights: no more codes were needed, and nll is exact."""
    runs = pd.DataFrame(
        {
            "nll_ess": [16.0, 16.0, 16.0, 300.0],
            "nll_ess_low": [1.0, 1.0, 1.0, 0.1],
            "nll_samples": [500.0, 500.0, 16.0, 500.0],
            "nll_codes": [16.0, 480.0, 16.0, 500.0],
            "nll_examples": 100.0,
            # standard errors of one example of 0.001, 0.3, 0.001 and 0.1 nats
            "nll_mc_se": [0.0001, 0.03, 0.0001, 0.01],
        }
    )
    assert few_samples(runs).tolist() == [False, True, True, False]


def test_summary_states_the_codes_used(runs: pd.DataFrame) -> None:
    """The nll of most examples, and of these of most codes, is in the summary."""
    assert "nll: K = 500 samples per example at most (40 on average)" in summary_table(runs).title
    exact = runs.assign(nll_codes=runs["nll_samples"])
    assert "nll: K = 500 samples per example, 2,000 examples" in summary_table(exact).title
