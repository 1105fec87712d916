"""The bias of nll at a small K: compared with known log p(x), and reported with every nll."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import folder_of, run_here
from schemas import LinearConfig
from test_report import write_run

from uncollapse.diagnosis import diagnose
from uncollapse.evaluation.command import main
from uncollapse.evaluation.nll import weigh_group
from uncollapse.evaluation.opened import open_run
from uncollapse.evaluation.result_line import format_result
from uncollapse.evaluation.settings import Settings
from uncollapse.metrics.likelihood import bias, importance_weighted, likelihood, log_weights
from uncollapse.metrics.one_pass import EVAL_SEED
from uncollapse.models.linear import log_likelihood
from uncollapse.posteriors import DiagonalGaussian, Gaussian
from uncollapse.report.figures.cost import describe_cost
from uncollapse.report.figures.cost_benefit import describe_cost_benefit
from uncollapse.report.notes import few_samples, has_large_bias
from uncollapse.report.page import write_report
from uncollapse.report.results import read_study
from uncollapse.report.tables.paired import paired_table as paired
from uncollapse.report.tables.runs import runs_table as every_run
from uncollapse.report.tables.summary import summary_table as summary
from uncollapse.runs.layout import Run

pytestmark = pytest.mark.usefixtures("quick_figures")

# ---------------------------------------------------------------- the estimate


def compute_decreases(weights) -> tuple[float, float]:
    found = importance_weighted(torch.tensor(weights, dtype=torch.float64)[:, None].log())
    return float(found["fall_2"][0]), float(found["fall_8"][0])


def test_nll_decreases_by_hand():
    # from all: -ln mean = -ln(12/8); halves: means 2 and 1; eighths: each weight; quarters: means
    # 2, 2, 1, 1
    half, eighth = compute_decreases([3.0, 1, 2, 2, 1, 1, 1, 1])
    assert half == pytest.approx(-0.5 * math.log(2) + math.log(1.5))
    assert eighth == pytest.approx(-(math.log(3) + 2 * math.log(2)) / 8 + 0.5 * math.log(2))
    # K is rounded down to a multiple of 8: 9 and 15 codes count as 8
    assert compute_decreases([3.0, 1, 2, 2, 1, 1, 1, 1, 50, 60]) == pytest.approx((half, eighth))


def test_nll_bias_by_hand():
    # a bias of c K^-a has decreases in the ratio 4^a, and the last one / (2^a - 1) remains: here
    # a = 1, then a = 1/2
    assert bias(np.full(4, 0.1), np.full(4, 0.4)) == pytest.approx(
        {"nll_bias": 0.1, "nll_bias_se": 0}
    )
    assert bias(np.full(4, 0.1), np.full(4, 0.2))["nll_bias"] == pytest.approx(
        0.1 / (math.sqrt(2) - 1)
    )
    # the decrease is taken to be no faster than 1/K
    assert bias(np.full(4, 0.1), np.full(4, 0.9))["nll_bias"] == pytest.approx(0.1)
    # and not slower than is detectable
    assert bias(np.full(4, 0.1), np.full(4, 0.05))["nll_bias"] == pytest.approx(1.0)
    assert bias(np.zeros(4), np.zeros(4)) == {"nll_bias": 0, "nll_bias_se": 0}


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_fewer_than_eight_codes_give_no_bias(samples):
    found = importance_weighted(torch.randn(samples, 5))
    got = likelihood(
        found["nll"], found["ess"], samples, None, None, (found["fall_2"], found["fall_8"])
    )
    assert got["nll_bias"] is None and got["nll_bias_se"] is None


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_decreases_are_nonnegative_and_nll_is_unchanged(scale):
    w = scale * torch.randn(101, 20, generator=torch.Generator().manual_seed(1))
    found = importance_weighted(w)
    assert (found["fall_2"] > -1e-9).all() and (found["fall_8"] > -1e-9).all()
    assert np.array_equal(found["nll"], (math.log(101) - torch.logsumexp(w.double(), 0)).numpy())


def linear_vae():
    """A linear VAE with independent true posteriors, 3,000 of its examples, and their exact nll."""
    torch.manual_seed(0)
    model = LinearConfig(latent=8, variance=1.0).build(12, Gaussian)
    with torch.no_grad():
        # orthogonal columns of length 1
        model.decoder.weight.copy_(torch.linalg.qr(torch.randn(12, 8))[0])
        x = model.decoder(torch.randn(3000, 8)) + torch.randn(3000, 12)
        truth = -log_likelihood(model.decoder.weight, model.decoder.bias, 1.0, x)
    return model, x, truth


# the true posterior is N(W^T (x - b) / 2, 1 / 2); q is narrower and shifted
POOR = [(0.8, 0.2), (0.7, 0.4), (0.6, 0.3)]


@pytest.mark.parametrize("samples", [100, 500])
@pytest.mark.parametrize(("narrow", "shift"), POOR)
def test_bias_matches_distance_to_exact_log_p(narrow, shift, samples):
    model, x, truth = linear_vae()

    class Batch:
        pass

    batch = Batch()
    batch.x = x
    mean = ((x - model.decoder.bias) @ model.decoder.weight / 2 + shift).detach()
    q = DiagonalGaussian.from_std(mean, torch.full_like(mean, narrow * math.sqrt(0.5)))
    with torch.no_grad():
        w = log_weights(
            lambda z: model.nll(batch, z), q, samples, torch.Generator().manual_seed(samples)
        )
    found = importance_weighted(w)
    got = likelihood(
        found["nll"], found["ess"], samples, None, None, (found["fall_2"], found["fall_8"])
    )
    above = found["nll"] - truth.numpy()
    error = math.hypot(got["nll_bias_se"], above.std() / math.sqrt(len(above)))
    assert abs(got["nll_bias"] - above.mean()) < 3 * error + 0.3 * above.mean()
    delta = (
        (samples / found["ess"] - 1) / (2 * (samples - 1))
    ).mean()  # the first term of the series
    assert delta < 0.75 * above.mean() and abs(got["nll_bias"] - above.mean()) < abs(
        delta - above.mean()
    )


def test_true_posterior_has_zero_bias():
    model, x, _ = linear_vae()
    mean = ((x - model.decoder.bias) @ model.decoder.weight / 2).detach().double()
    q = DiagonalGaussian.from_std(mean, torch.full_like(mean, math.sqrt(0.5)))
    centre, weight = model.decoder.bias.detach().double(), model.decoder.weight.detach().double()
    w = log_weights(
        lambda z: 0.5 * (x.double() - centre - z @ weight.T).square().sum(-1), q, 64, None
    )
    found = importance_weighted(w)
    got = bias(found["fall_2"], found["fall_8"])
    assert got["nll_bias"] == pytest.approx(0, abs=1e-9) and got["nll_bias_se"] == pytest.approx(
        0, abs=1e-9
    )


def test_bias_error_matches_spread_over_draws():
    q, rng = (
        DiagonalGaussian.from_std(torch.zeros(400, 3) + 0.3, torch.full((400, 3), 0.8)),
        torch.Generator(),
    )
    biases, errors = [], []
    for seed in range(150):
        z = q.sample(64, rng.manual_seed(seed))
        found = importance_weighted(-0.5 * (z * z).sum(-1) - q.log_ratio(z) - 0.5 * (z * z).sum(-1))
        got = bias(found["fall_2"], found["fall_8"])
        biases.append(got["nll_bias"])
        errors.append(got["nll_bias_se"])
    assert 0.75 < np.sqrt(np.mean(np.square(errors))) / np.std(biases) < 1.35


def test_fraction_of_examples_with_few_effective_samples():
    got = likelihood(np.zeros(4), np.array([19.9, 20.0, 300.0, 3.0]), 500, None, None)
    assert got["nll_ess_low"] == 0.5 and got["nll_ess"] > 20  # the mean hides them


def test_diagnosis_reports_bias():
    found = diagnose(
        lambda x: (x[:, :2] / 2 + 0.5, torch.full((len(x), 2), -2.0)),
        lambda x, z: 0.5 * (x[:, :2] - z).square().sum(1),
        torch.randn(64, 2),
        samples=64,
    )
    assert found["nll_bias"] > 0 and found["nll_bias_se"] > 0 and 0 < found["nll_ess_low"] <= 1


# ---------------------------------------------------------------- evaluate.py


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("bias")
    run_here(results, "plain", "data.train=150")
    return folder_of(results, "plain")


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "seed=0"))


def read_result(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_results_and_line_have_bias_ess_and_chance(folder: Path, capsys: pytest.CaptureFixture):
    assert main([str(folder), "--samples", "40"]) == 0
    found = read_result(folder)
    assert (
        found["nll_bias"] >= 0
        and found["nll_bias_se"] >= 0
        and found["nll_ess"] <= 40
        and 0 <= found["nll_ess_low"] <= 1
    )
    chances = [factor["chance"] for factor in found["probe_curves"]["factors"].values()]
    assert found["probe_chance"] == pytest.approx(np.mean(chances))
    out = capsys.readouterr().out
    assert f"(bias about {found['nll_bias']:.3f}, " in out and f"ess {found['nll_ess']:.1f})" in out
    assert f" (chance {found['probe_chance']:.3f})" in out


def test_line_omits_values_missing_from_old_results():
    assert (
        format_result({"nll": 2.0, "nll_se": 0.5, "probe": 0.5}) == "nll 2.000 ± 0.500, probe 0.500"
    )
    assert format_result({"nll": 2.0, "nll_bias": math.nan, "nll_bias_se": None}) == "nll 2.000"


def test_few_codes_give_result_without_bias(folder: Path):
    assert main([str(folder), "--metrics", "nll", "--samples", "3"]) == 0
    assert read_result(folder)["nll_bias"] is None and read_result(folder)["nll_ess_low"] == 1


@pytest.mark.parametrize(
    "kept", [{"group", "examples", "tokens", "nll", "nelbo", "ess"}, {"group"}, set()]
)
def test_file_without_new_columns_is_recomputed(
    folder: Path, kept: set, capsys: pytest.CaptureFixture
):
    words = [str(folder), "--metrics", "nll", "--samples", "300"]
    assert main(words) == 0
    full = read_result(folder)["evaluations"]
    stem = folder / "evaluations" / "test-nll-K300"
    stem.with_suffix(".json").unlink()
    head, *rows = [json.loads(text) for text in stem.with_suffix(".jsonl").read_text().splitlines()]
    old = [{key: value for key, value in row.items() if key in kept} for row in rows[:5]]
    stem.with_suffix(".jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in [head, *old, *rows[5:9]])
    )
    capsys.readouterr()
    assert main(words) == 0
    assert f"5 of {len(rows)} groups are damaged or lack columns" in capsys.readouterr().out
    assert read_result(folder)["evaluations"] == full


def test_rows_on_disk_are_valid_json(folder: Path):
    main([str(folder), "--metrics", "nll", "--samples", "2"])
    text = (folder / "evaluations" / "test-nll-K2.jsonl").read_text()
    assert "NaN" not in text and '"fall_2": [null' in text


def test_importance_weights_are_unchanged_bit_for_bit(folder: Path):
    """Bit for bit as computed directly from the same codes."""
    subject = open_run(Run(folder), {}, print)
    group = np.arange(4)
    found = weigh_group(subject, Settings(("nll",), samples=50), 3, group)
    with torch.no_grad():
        batch = subject.batch("test", group)
        generator = torch.Generator().manual_seed(EVAL_SEED + 3)
        w = log_weights(
            lambda z: subject.model.nll(batch, z), subject.encode(batch, generator), 50, generator
        ).double()
    assert found["nll"] == (math.log(50) - torch.logsumexp(w, 0)).tolist()


# ---------------------------------------------------------------- the report


def report_of(folder: Path, **heads: list[dict]):
    for head, finals in heads.items():
        for seed, final in enumerate(finals):
            write_run(folder / "s", head, seed, evaluations=3, evaluated=True, final=final)
    return read_study(folder / "s").runs


def test_cells_with_few_effective_samples_are_bounds(tmp_path: Path):
    good, poor = {"nll_ess": 120.0, "nll_ess_low": 0.1}, {"nll_ess": 9.5, "nll_ess_low": 0.9}
    hidden = {"nll_ess": 60.0, "nll_ess_low": 0.6}  # most examples have few
    runs = report_of(
        tmp_path,
        plain=[good, good],
        bn_mu=[good, poor],
        bn_tau=[hidden, hidden],
        kl_anneal=[{}, {}],
    )
    text = summary(runs).text.set_index("group")
    assert [cell.startswith("≤ ") for cell in text["nll"]] == [False, True, True, False]
    assert [cell.startswith("≤ ") for cell in text["ppl"]] == [False, True, True, False]
    assert [cell.startswith("≤ ") for cell in text["oracle_gap"]] == [False, True, True, False]
    assert text["nll_ess"].tolist()[0] == "120.0 ± 0.0" and text["nll_ess"].tolist()[3] == "–"
    assert list(text.columns).index("nll_ess") == list(text.columns).index("nll") + 1
    assert (
        "≤ at nll, ppl, oracle_gap: a seed with fewer than 20 effective samples"
        in summary(runs).title
    )
    each = every_run(runs).text
    assert [cell.startswith("≤ ") for cell in each["nll"]] == few_samples(runs).tolist()
    assert few_samples(runs).sum() == 3 and each["nll_ess"].tolist()[0] == "120.0"
    for caption in (describe_cost, describe_cost_benefit):
        assert (
            "nll is only an upper bound (fewer than 20 effective samples) in "
            "BN on μ, BN on μ and σ."
        ) in caption(runs)
    assert "≤" not in summary(runs[runs["head"] == "plain"]).title
    page, text = write_report(tmp_path / "s")
    assert (
        "nll_ess" in text
        and "fewer than 20 effective samples" in text
        and "<dt>nll_bias</dt>" in page.read_text()
    )


@pytest.mark.parametrize(
    ("difference", "half", "bias_", "expected"),
    [(0.3, 0.2, 0.09, False), (0.3, 0.2, 0.1, True), (0.3, 0.2, -0.15, True), (0.3, math.nan, 0.1,
    False),
     (0.3, math.nan, 0.2, True), (0.0, 0.0, 0.0, False), (0.3, 0.2, math.nan, False)],
)  # fmt: skip
def test_bias_is_compared_with_interval(difference, half, bias_, expected):
    assert has_large_bias(difference, half, bias_) is expected


@pytest.mark.slow
def test_paired_differences_show_bias_and_mark(tmp_path: Path):
    plain = [{"nll": 10.0 + s, "nll_bias": 0.0, "nll_ess": 90.0} for s in range(3)]
    loose = [{"nll": 10.2 + s + 0.01 * s, "nll_bias": 0.15, "nll_ess": 30.0} for s in range(3)]
    firm = [{"nll": 11.0 + s + 0.1 * s, "nll_bias": 0.01, "nll_ess": 90.0} for s in range(3)]
    runs = report_of(tmp_path, plain=plain, bn_tau=loose, bn_mu=firm)
    table = paired(runs)
    text = table.text.set_index("group")
    assert text["nll"].tolist() == ["+1.10 ± 0.25", "+0.21 ± 0.02 ‡"]
    assert text["nll_bias"].tolist() == ["+0.010 ± 0.000", "+0.15 ± 0.00"] and "‡" in table.title
    assert table.numbers["d_nll_bias_mean"].tolist() == pytest.approx([0.01, 0.15])
    shown = summary(runs)
    assert (
        shown.text["nll - plain"].tolist() == ["–", "+1.10 ± 0.25", "+0.21 ± 0.02 ‡"]
        and "‡" in shown.title
    )
    write_report(tmp_path / "s")
    csv = pd.read_csv(tmp_path / "s" / "report" / "tables" / "runs.csv")
    assert {"nll_ess", "nll_ess_low", "nll_bias", "nll_bias_se", "probe_chance"} <= set(csv.columns)
    groups = pd.read_csv(tmp_path / "s" / "report" / "tables" / "summary.csv")
    assert groups["d_nll_bias_mean"].tolist()[1:] == pytest.approx([0.01, 0.15])


@pytest.mark.slow
def test_probe_is_shown_with_chance_level(tmp_path: Path):
    runs = report_of(
        tmp_path,
        plain=[{"probe_chance": 0.4, "probe": 0.5}],
        bn_mu=[{"probe_chance": 0.4, "probe": 0.9}],
    )
    assert summary(runs).text["probe (chance 0.400)"].tolist() == ["0.500", "0.900"]
    assert every_run(runs).text["probe"].tolist() == [
        "0.500 (chance 0.400)",
        "0.900 (chance 0.400)",
    ]
    text = write_report(tmp_path / "s")[1]
    assert "probe (chance 0.400)" in text
    runs = report_of(tmp_path, bn_tau=[{"probe_chance": 0.25, "probe": 0.7}])
    assert summary(runs).text["probe"].tolist() == [
        "0.500 (chance 0.400)", "0.900 (chance 0.400)", "0.700 (chance 0.250)",
    ]  # fmt: skip


def test_older_results_take_chance_level_from_curves(tmp_path: Path):
    runs = report_of(tmp_path, plain=[{}])
    assert runs["probe_chance"].tolist() == pytest.approx([(0.2 + 0.5 + 0.4) / 3])
