"""Means of q(z|x) and of p(z|x), against linear VAEs whose posterior is known in closed form."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed, folder_of, rows, run_here, run_interrupted, summary
from test_linear import batch_of, random_model
from torch import Tensor

from uncollapse.building import prepare
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.errors import InputError
from uncollapse.metrics.posterior_means import (
    PosteriorMeans,
    collect_means,
    describe_lag,
    grid_means,
    model_means,
    sampled_means,
)
from uncollapse.models.linear import LinearVAE
from uncollapse.posteriors.mog import MixturePrior
from uncollapse.posteriors.vmf import VonMisesFisher
from uncollapse.report.checked import Values
from uncollapse.report.figures import draw_one
from uncollapse.report.figures.posterior_means import (
    POSTERIOR_MEANS_FIGURE,
    SNAPSHOTS,
    most_active,
    snapshots,
)
from uncollapse.report.results import read_study
from uncollapse.report.style import figure_style
from uncollapse.runs.study_cli import main as study_command

MEANS = "trainer.posterior_means=12"


def model_with_posterior(latent: int, seed: int = 0) -> tuple[LinearVAE, Tensor, Tensor]:
    """A linear VAE, examples [40, 5], and the means of p(z|x) [40, D].

    p(z|x) = N(M^-1 W^T (x - b) / s2, M^-1) with M = I + W^T W / s2.
    """
    model = random_model(5, latent, seed, 0.6, 0.7)
    x = 1.5 * torch.randn(40, 5, generator=torch.Generator().manual_seed(seed)).double()
    with torch.no_grad():
        weight = model.decoder.weight
        precision = torch.eye(latent).double() + weight.T @ weight / model.variance
        loadings = torch.linalg.solve(precision, weight.T / model.variance)  # [D, P]
        # the exact encoder: its mean is that of p(z|x)
        model.posterior.linear.weight.zero_()
        model.posterior.linear.weight[:latent] = loadings
        model.posterior.linear.bias[:latent] = -loadings @ model.decoder.bias
        model.posterior.linear.bias[latent:] = torch.linalg.inv(precision).diagonal().log()
        return model, x, (x - model.decoder.bias) @ loadings.T


def measure(model: LinearVAE, x: Tensor, seed: int = 0) -> PosteriorMeans:
    with torch.no_grad():
        q = model.encode(batch_of(x))
        generator = torch.Generator().manual_seed(seed)
        found = model_means(partial(model.nll, batch_of(x)), q, generator)
    return PosteriorMeans(q.mean.numpy(), *(values.numpy() for values in found))


# ---------------------------------------------------------------- estimates


@pytest.mark.parametrize("latent", [1, 2, 4])
def test_means_agree_with_the_closed_form(latent: int) -> None:
    model, x, truth = model_with_posterior(latent)
    with torch.no_grad():
        # an encoder that ignores x must not spoil the estimate
        model.posterior.linear.weight.zero_()
        model.posterior.linear.bias.zero_()
    found = measure(model, x)
    error = 1e-6 if latent == 1 else 4.5 * np.sqrt(found.noise[found.reliable])
    assert found.reliable.mean() > 0.7
    assert (np.abs(found.p - truth.numpy())[found.reliable] < error).all()


@pytest.mark.slow
def test_sampling_agrees_with_the_grid_and_states_its_noise() -> None:
    model, x, truth = model_with_posterior(1)
    with torch.no_grad():
        q, decode = model.encode(batch_of(x)), partial(model.nll, batch_of(x))
        draws = [sampled_means(decode, q, torch.Generator().manual_seed(s)) for s in range(40)]
        torch.testing.assert_close(grid_means(decode, q).mean, truth, atol=1e-6, rtol=0)
    spread = torch.stack([d.mean for d in draws]).var(0).mean()
    assert float(torch.stack([d.noise for d in draws]).mean()) == pytest.approx(spread, rel=0.25)


def test_constant_decoder_has_the_prior_as_its_posterior() -> None:
    """Whatever prior that is: a mixture with another mean, or the uniform one on the sphere."""
    generator = torch.Generator().manual_seed(0)
    zeros = torch.zeros(6, 2)
    base = DiagonalGaussian.from_log_var(zeros + 0.5, zeros)
    components = DiagonalGaussian.from_log_var(torch.tensor([[1.0, 0], [1.0, 2]]), zeros[:2])
    sphere = VonMisesFisher(3, 4, kappa=5.0)(torch.randn(6, 3, generator=generator))
    for q, expected in ((MixturePrior(base, components), [1.0, 1.0]), (sphere, [0.0] * 4)):
        with torch.no_grad():
            found = model_means(lambda z: torch.zeros(z.shape[:2]), q, generator)
        away = (found.mean - torch.tensor(expected)).abs()
        assert (away < 4.5 * found.noise.sqrt()).all() and found.reliable.all()


def test_estimates_from_too_few_codes_are_left_out() -> None:
    """A posterior far narrower than the grid's spacing, or in ten dimensions than q and prior."""
    target = torch.linspace(-1, 1, 4)[:, None]
    narrow = DiagonalGaussian.from_log_var(target, torch.full_like(target, -2.0))

    def decode(z: Tensor) -> Tensor:
        return (0.5 * (z - 0.9).square() / 0.01**2).sum(-1)

    assert not grid_means(decode, narrow).reliable.any()
    far = DiagonalGaussian.from_log_var(torch.zeros(4, 10), torch.zeros(4, 10))
    found = sampled_means(decode, far, torch.Generator().manual_seed(0))
    assert not found.reliable.any()

    def runaway(z: Tensor) -> Tensor:
        return -20.0 * z.sum(-1)

    # the mass of p(z|x) is around 20, outside the grid
    assert not grid_means(runaway, narrow).reliable.any()


# ---------------------------------------------------------------- the lag


@pytest.mark.parametrize("latent", [1, 2])
def test_exact_encoder_does_not_lag_and_a_constant_one_does(latent: int) -> None:
    model, x, truth = model_with_posterior(latent)
    exact = describe_lag(measure(model, x))
    assert abs(exact["inference_lag"]) < 4 * exact["inference_lag_se"] + 1e-9
    assert abs(exact["inference_lag_relative"]) < 0.02 and exact["lag_left_out"] == 0

    with torch.no_grad():
        model.posterior.linear.weight[:latent] = 0
        model.posterior.linear.bias[:latent] = truth.mean(0)
    found = measure(model, x)
    constant, kept = describe_lag(found), truth[torch.from_numpy(found.reliable)]
    expected = float((kept - truth.mean(0)).square().sum(1).mean())
    assert constant["inference_lag"] == pytest.approx(expected, rel=0.1)
    assert constant["inference_lag_relative"] == pytest.approx(1, abs=0.02)


def test_noise_of_the_estimate_is_subtracted() -> None:
    rng = np.random.default_rng(0)
    q, noise = rng.standard_normal((4000, 2)), np.full((4000, 2), 0.25)
    p = q + 0.5 * rng.standard_normal((4000, 2))
    found = describe_lag(PosteriorMeans(q, p, noise, np.full(4000, True)))
    assert abs(found["inference_lag"]) < 4 * found["inference_lag_se"] < 0.1
    assert found["inference_lag_relative"] == pytest.approx(0, abs=0.03)


def test_examples_left_out_are_counted_and_null() -> None:
    p, kept = np.array([[1.0], [2.0], [9.0]]), np.array([True, True, False])
    found = describe_lag(PosteriorMeans(np.zeros((3, 1)), p, np.zeros((3, 1)), kept))
    assert found["inference_lag"] == 2.5, "(1 + 4) / 2"
    assert found["inference_lag_relative"] == 1, "q is constant"
    assert found["lag_left_out"] == pytest.approx(1 / 3)
    assert found["posterior_means"] == {"q": [[0.0, 0.0, 0.0]], "p": [[1.0, 2.0, None]]}
    few = describe_lag(PosteriorMeans(p, p, p, np.array([True, False, False])))
    assert few["inference_lag"] is few["inference_lag_relative"] is None
    same = describe_lag(PosteriorMeans(p, 0 * p, 0 * p, np.full(3, True)))
    assert same["inference_lag_relative"] is None, "the model's posterior does not depend on x"


# ---------------------------------------------------------------- training


def valid_rows(folder: Path) -> list[dict]:
    return [row for row in rows(folder) if row["split"] == "valid"]


def test_rows_have_means_only_if_requested(tmp_path: Path) -> None:
    run_here(tmp_path, "plain", MEANS)
    run_here(tmp_path, "plain", "study=without")
    folder, without = folder_of(tmp_path, "plain"), folder_of(tmp_path, "plain", "without")
    for row in valid_rows(folder):
        shape = np.array([row["posterior_means"][name] for name in "qp"], float).shape
        assert shape == (2, 4, 12) and row["lag_left_out"] < 1
    others = [row for row in rows(folder) if row["split"] != "valid"]
    assert "posterior_means" not in json.dumps(others)
    tested = summary(folder)
    assert tested["inference_lag"] == others[-2]["inference_lag"] is not None
    # nothing else changes
    names = {"inference_lag", "inference_lag_se", "inference_lag_relative", "lag_left_out"}
    kept = [
        {k: v for k, v in row.items() if k not in {*names, "posterior_means"}}
        for row in rows(folder)
    ]
    assert kept == rows(without)


def test_examples_are_the_same_at_every_call() -> None:
    parts = prepare(
        composed("head=plain", "model=linear", "data=gaussian", "data.valid=300"), "plain"
    )
    model, data = parts.model, parts.data
    one, many = (collect_means(model, data, "valid", model.encode, n) for n in (20, 200))
    np.testing.assert_allclose(one.q, many.q[:20], rtol=1e-5)


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    """Bit for bit, with the head whose evaluations need population statistics."""
    run_here(tmp_path, "bn_mu", MEANS)
    run_interrupted(tmp_path, "bn_mu", MEANS, "study=cut", step=8)
    run_here(tmp_path, "bn_mu", MEANS, "study=cut")
    whole, cut = folder_of(tmp_path, "bn_mu"), folder_of(tmp_path, "bn_mu", "cut")
    assert rows(whole) == rows(cut) and summary(whole) == summary(cut)


@pytest.mark.parametrize("value", ["0", "1", "1001", "1.5"])
def test_bad_number_of_examples_is_refused(value: str) -> None:
    with pytest.raises(InputError, match=r"trainer\.posterior_means"):
        prepare(composed("head=plain", f"trainer.posterior_means={value}"), "plain")


def test_documented_experiment_records_means_of_one_dimension() -> None:
    cfg = composed("head=aggressive", "experiment=lag")
    assert cfg.trainer.posterior_means == 200 and cfg.model.latent == 1
    assert cfg.data.name == "synthetic" and cfg.trainer.optimizer == "sgd"


@pytest.mark.slow
def test_head_without_a_code_has_no_lag(tmp_path: Path) -> None:
    run_here(tmp_path, "lm", MEANS)
    row = valid_rows(folder_of(tmp_path, "lm"))[-1]
    assert row["inference_lag"] == 0 and row["inference_lag_relative"] is None


# ---------------------------------------------------------------- the report


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads with means of one dimension at seven evaluations, and one without means."""
    results = tmp_path_factory.mktemp("means")
    words = ("model.latent=1", "trainer.eval_every=2", "study=s")
    for head in ("plain", "bn_mu"):
        run_here(results, head, *words, MEANS)
    run_here(results, "beta", *words)
    return results / "s"


def test_figure_has_a_row_of_steps_for_each_head(study: Path) -> None:
    frame = read_study(study).rows
    with figure_style():
        figure = POSTERIOR_MEANS_FIGURE.draw(frame)
    assert len(figure.axes) == 2 * (SNAPSHOTS + 1)
    titles = [ax.get_title() for ax in figure.axes]
    last = SNAPSHOTS - 1
    assert titles[0] == "step 0" and titles[last] == "step 12"
    row = valid_rows(next(study.glob("runs/plain/*/seed=0")))[-1]
    points = figure.axes[last].lines[-1].get_xydata()
    expected = [row["posterior_means"][name][0] for name in "pq"]
    (text,) = figure.axes[last].texts
    assert text.get_text().startswith(f"lag {row['inference_lag']:.2f} (")
    np.testing.assert_array_equal(points, np.transpose(expected))
    # a path goes through all evaluations, from that at step 0
    path = figure.axes[SNAPSHOTS].lines[3].get_xydata()
    first = valid_rows(next(study.glob("runs/plain/*/seed=0")))[0]["posterior_means"]
    assert len(path) == 7 and path[0].tolist() in np.transpose([first["p"][0], first["q"][0]])
    caption = POSTERIOR_MEANS_FIGURE.describe(frame)
    assert "12 examples" in caption and "n = 1" in caption and "Of several" not in caption


@pytest.mark.slow
def test_pack_draws_the_same_figure(study: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(study, tmp_path / "s")
    with figure_style():
        before = draw_one(POSTERIOR_MEANS_FIGURE, read_study(copy).rows)
    assert study_command(["pack", str(copy)]) == 0
    shutil.rmtree(copy / "runs")
    with figure_style():
        after = draw_one(POSTERIOR_MEANS_FIGURE, read_study(copy).rows)
    assert after.files == before.files and after.caption == before.caption


def test_study_without_means_says_how_to_record_them(tmp_path: Path) -> None:
    run_here(tmp_path, "plain", "study=s")
    shown = draw_one(POSTERIOR_MEANS_FIGURE, read_study(tmp_path / "s").rows)
    assert "trainer.posterior_means=200" in shown.missing


def test_most_active_dimension_and_even_snapshots() -> None:
    import pandas as pd

    means = {"q": np.array([[0.0, 0.1], [3.0, -3.0]]), "p": np.array([[0.0, 0.1], [1.0, np.nan]])}
    run = pd.DataFrame({"step": range(9), "posterior_means": [means] * 9})
    assert most_active(run) == 1
    assert list(snapshots(run)["step"]) == [0, 3, 5, 8]
    assert list(snapshots(run[:2])["step"]) == [0, 1]


@pytest.mark.parametrize(
    "value",
    [
        7,
        {"q": [[1.0]]},
        {"q": [[1.0]], "p": [[1.0, 2.0]]},
        {"q": [[1.0], [2.0]], "p": [[1.0]]},
        {"q": [["1"]], "p": [[1.0]]},
        {"q": [[1.0], [1.0, 2.0]], "p": [[1.0], [1.0, 2.0]]},
        {"q": [1.0], "p": [1.0]},
        {"q": [], "p": []},
        {"q": [[1e300]], "p": [[1.0]]},
    ],
)
def test_odd_means_count_as_missing(value: Any) -> None:
    odd: dict[str, None] = {}
    assert Values({"m": value}, "row ", odd).posterior_means("m") is None
    assert any(key.startswith("row m") for key in odd)


def test_null_means_are_gaps() -> None:
    found = Values({"m": {"q": [[1, 2]], "p": [[None, 3]]}}).posterior_means("m")
    assert found and np.isnan(found["p"][0, 0]) and found["q"].tolist() == [[1, 2]]
