"""Samples of vectors: draws have the probabilities of their likelihood; views and decoding."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import folder_of, typed
from scipy import stats

import uncollapse
from uncollapse import contract
from uncollapse.errors import InputError
from uncollapse.evaluation import command as evaluate
from uncollapse.evaluation.decoding import create_decoding, format_vector
from uncollapse.evaluation.opened import open_run
from uncollapse.evaluation.views import view_reconstructions
from uncollapse.finished.run import FinishedRun
from uncollapse.models.likelihoods import LIKELIHOODS, Likelihood
from uncollapse.report.samples import read_views
from uncollapse.run import run
from uncollapse.runs.layout import Run

COUNT = 20_000
LEVELS = 6


def make(name: str) -> Likelihood:
    """A likelihood of two entries whose learned numbers differ."""
    likelihood = LIKELIHOODS[name](2, 0.4, LEVELS)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter += torch.linspace(-1, 0.5, len(parameter))
    return likelihood


def draw(likelihood: Likelihood, outputs: list[float], **options: float) -> np.ndarray:
    with torch.no_grad():
        given = torch.tensor([outputs]).expand(COUNT, 2)
        return likelihood.draw(given, torch.Generator().manual_seed(0), **options).numpy()


def probabilities(likelihood: Likelihood, outputs: list[float], values: np.ndarray) -> np.ndarray:
    """p(first entry = value), by differences of the loss: the second entry is held."""
    x = torch.tensor(np.stack([values, np.full_like(values, values[0])], 1), dtype=torch.float32)
    with torch.no_grad():
        losses = likelihood(torch.tensor([outputs]).expand(len(x), 2), x).double().numpy()
    mass = np.exp(losses.min() - losses)
    return mass / mass.sum()


# ---------------------------------------------------------------- likelihoods


@pytest.mark.parametrize("name", ["gaussian", "gaussian_learned", "gaussian_shared"])
@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_gaussian_draws_have_mean_and_variance(name: str, temperature: float) -> None:
    likelihood = make(name)
    x = draw(likelihood, [0.3, -2.0], temperature=temperature)
    with torch.no_grad():
        variance = np.broadcast_to(np.asarray(likelihood.spread(), dtype=float), 2)
    for entry, mean in enumerate([0.3, -2.0]):
        scale = np.sqrt(temperature * variance[entry])
        assert stats.kstest(x[:, entry], stats.norm(mean, scale).cdf).pvalue > 1e-4
    assert torch.equal(likelihood.most_likely(torch.ones(3, 2)), torch.ones(3, 2))


@pytest.mark.parametrize(
    ("name", "values", "outputs"),
    [
        ("bernoulli", np.arange(2.0), [0.7, -1.0]),
        ("discretised_logistic", np.arange(LEVELS) / (LEVELS - 1), [0.37, 0.9]),
        ("discretised_logistic", np.arange(LEVELS) / (LEVELS - 1), [-0.4, 3.0]),
        ("negative_binomial", np.arange(200.0), [1.2, 0.3]),
        ("negative_binomial", np.arange(2000.0), [3.0, -2.0]),
    ],
)
def test_draws_have_the_probabilities_of_the_loss(
    name: str, values: np.ndarray, outputs: list[float]
) -> None:
    likelihood = make(name)
    x, expected = draw(likelihood, outputs)[:, 0], probabilities(likelihood, outputs, values)
    counts = np.array([(np.abs(x - value) < 1e-5).sum() for value in values])
    assert counts.sum() == COUNT  # no other value
    likely = COUNT * expected > 5
    found, wanted = counts[likely], COUNT * expected[likely]
    assert stats.chisquare(found, wanted * found.sum() / wanted.sum()).pvalue > 1e-4


@pytest.mark.parametrize("output", [-3.0, -0.2, 0.03, 0.37, 0.5, 0.81, 1.4, 2.5])
@pytest.mark.parametrize("scale", [-3.0, 0.0, 2.0])
@pytest.mark.parametrize("name", ["bernoulli", "discretised_logistic", "negative_binomial"])
def test_most_likely_value_has_the_largest_probability(
    name: str, scale: float, output: float
) -> None:
    likelihood = make(name)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.fill_(scale)
        best = float(likelihood.most_likely(torch.tensor([[output, 0.0]]))[0, 0])
    values = {"bernoulli": np.arange(2.0), "negative_binomial": np.arange(100.0)}
    tried = values.get(name, np.arange(LEVELS) / (LEVELS - 1))
    mass = probabilities(likelihood, [output, 0.0], tried)
    assert mass[np.abs(tried - best).argmin()] == pytest.approx(mass.max(), rel=1e-5)
    assert np.abs(tried - best).min() < 1e-5


def test_temperature_narrows_or_is_refused() -> None:
    wide, narrow = (
        draw(make("discretised_logistic"), [0.5, 0.5], temperature=t).std(0) for t in (1.0, 0.1)
    )
    assert (narrow < wide).all()
    cold = draw(make("bernoulli"), [0.1, -0.1], temperature=1e-4)
    assert (cold == [1, 0]).all()
    with pytest.raises(
        InputError, match=r"temperature=0\.5: counts are drawn at temperature 1 only"
    ):
        draw(make("negative_binomial"), [1.0, 1.0], temperature=0.5)


def test_huge_counts_can_be_drawn() -> None:
    x = draw(make("negative_binomial"), [60.0, -60.0])
    assert np.isfinite(x).all() and (x[:, 1] == 0).all()


# ---------------------------------------------------------------- runs


def train(folder: Path, likelihood: str, x: np.ndarray) -> FinishedRun:
    np.save(folder / "x.npy", x)
    words = ["model=mlp", "data=arrays", f"data.file={folder / 'x.npy'}", "model.hidden=8"]
    words += ["model.latent=3", f"model.likelihood={likelihood}", "trainer.epochs=1"]
    cfg = typed("head=plain", *words)
    cfg.results = str(folder)
    run(cfg, "plain", words)
    return uncollapse.load(folder_of(folder, "plain"))


@pytest.mark.parametrize("likelihood", ["gaussian_learned", "negative_binomial"])
def test_finished_run_samples_decodes_and_reconstructs(likelihood: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.poisson(3.0, (160, 2, 7)) if likelihood == "negative_binomial" else rng.random((160, 9))
    found = train(tmp_path, likelihood, x)
    size = x[0].size
    z = found.encode(split="test").mean
    drawn = found.decode(z)
    assert isinstance(drawn, np.ndarray) and drawn.shape == (16, size) == found.sample(16).shape
    np.testing.assert_array_equal(drawn, found.decode(z, seed=0))
    assert (drawn != found.decode(z, seed=1)).any()
    flat = x.reshape(160, size)
    np.testing.assert_array_equal(
        found.reconstruct(flat[:4]), found.decode(found.encode(flat[:4]).mean, greedy=True)
    )
    assert found.interpolate(flat[0], flat[1], 5).shape == (5, size)
    if likelihood == "negative_binomial":
        assert (drawn == drawn.round()).all() and drawn.min() >= 0
        with pytest.raises(InputError, match="counts are drawn at temperature 1 only"):
            found.sample(2, temperature=0.5)
    with pytest.raises(InputError, match="top_k: for sentences"):
        found.sample(2, top_k=3)
    # views
    assert evaluate.main([str(tmp_path / "scratch"), "--metrics", "samples"]) == 0
    folder = folder_of(tmp_path, "plain") / "samples"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        f"{view}.txt"
        for view in ("prior", "reconstructions", "interpolations", "neighbours", "traversal")
    }
    table = pd.read_csv(folder / "reconstructions.txt", sep="\t", index_col=0)
    assert table.shape == (12, 3)
    number = found.opened.examples_to_show("test", 12)[0]
    assert table["test"].iloc[0] == format_vector(found.opened.data.vectors["test"][number])
    views, odd = read_views({path.name: path.read_bytes() for path in folder.iterdir()}, 0)
    assert len(views) == 5 and not odd and not any(view.picture for view in views)


def test_folder_of_samples_without_metrics_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train(tmp_path, "gaussian", np.random.default_rng(0).random((160, 4)))
    folder = folder_of(tmp_path, "plain")
    assert evaluate.main([str(folder), "--metrics", "samples"]) == 0
    assert "test-samples: written to samples/\n" in capsys.readouterr().out
    assert (folder / "samples/prior.txt").exists()


def test_only_the_first_numbers_of_a_vector_are_shown() -> None:
    assert format_vector(np.array([1.0, -0.25, 1e-9])) == "1 -0.25 1e-09"
    long = format_vector(np.arange(2000.0))
    assert long == "0 1 2 3 4 5 6 7 8 9 10 11 ... (2,000 numbers)"


def test_unknown_words_are_refused_for_vectors(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = (*contract.KINDS["vectors"], "model=mlp", "model.latent=2", "trainer.epochs=1")
    folder = contract.Case("plain", words, tmp_path).run("run")
    arguments = [str(folder.parents[3]), "--metrics", "samples", "--no-unknown"]
    assert evaluate.main(arguments) == 2
    assert "only text has unknown words" in capsys.readouterr().err


def test_images_drawn_pixel_by_pixel_share_their_random_numbers(tmp_path: Path) -> None:
    """Their most likely image is blank, which would hide what a code changes."""
    sizes = ("model.channels=4", "model.layers=1", "model.hidden=8", "model.latent=3")
    words = ("data=digits", "model=image_pixelcnn", *sizes, *contract.TINY_DATA)
    decoding = create_decoding(
        open_run(Run(contract.Case("plain", words, tmp_path).full), {}, print), True
    )
    assert decoding.typical_name == "drawn with common random numbers"
    near = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    images = np.array(decoding.typical(near))
    assert np.array_equal(images, decoding.typical(near)) and 0 < images.mean() < 1
    # the second row is drawn with other numbers than the first, but not the same row of two codes
    same = np.array(decoding.typical(torch.zeros(2, 3)))
    assert np.array_equal(images[0], same[0]) and not np.array_equal(same[0], same[1])
    names = view_reconstructions(decoding, "test").columns
    assert names == ("test", "drawn with common random numbers, of the mean", "drawn, of a code")
