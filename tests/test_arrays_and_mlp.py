"""data=arrays and model=mlp: likelihoods against scipy, files, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import composed, summary
from scipy import stats

from uncollapse import contract
from uncollapse.config.sections import load_section
from uncollapse.data.shares import check_shares
from uncollapse.errors import InputError
from uncollapse.models.likelihoods import LIKELIHOODS, Likelihood

RNG = np.random.default_rng(0)
OUTPUTS = torch.from_numpy(RNG.normal(size=(3, 5, 4))).float()
COUNTS = torch.from_numpy(RNG.poisson(3.0, (5, 4))).float()
PIXELS = torch.from_numpy(RNG.integers(0, 8, (5, 4)) / 7).float()
VECTORS = torch.from_numpy(RNG.normal(size=(5, 4))).float()


def make(name: str, variance: float = 0.7, levels: int = 8) -> Likelihood:
    return LIKELIHOODS[name](4, variance, levels).double()


def nll(likelihood: Likelihood, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return likelihood.eval()(OUTPUTS.double(), x.double()).numpy()


# ---------------------------------------------------------------- likelihoods


@pytest.mark.parametrize("name", ["gaussian", "gaussian_learned", "gaussian_shared"])
def test_gaussian_density(name: str) -> None:
    expected = -stats.norm(OUTPUTS, np.sqrt(0.7)).logpdf(VECTORS).sum(-1)
    np.testing.assert_allclose(nll(make(name), VECTORS), expected, rtol=1e-5)


def test_shared_variance_is_best_at_the_mean_squared_error() -> None:
    error = float((OUTPUTS[0] - VECTORS).square().mean())
    likelihood = make("gaussian_shared", variance=error)
    (parameter,) = likelihood.parameters()
    assert parameter.shape == (1,)
    loss = likelihood(OUTPUTS[0].double(), VECTORS.double()).mean()
    (gradient,) = torch.autograd.grad(loss, parameter)
    assert float(gradient) == pytest.approx(0, abs=1e-4)


def test_logistic_masses_by_differences_of_the_distribution() -> None:
    likelihood = make("discretised_logistic")
    scale = np.sqrt(3 * 0.7) / np.pi
    edges = (np.arange(7) + 0.5) / 7
    bounds = np.concatenate([[-np.inf], edges, [np.inf]])
    place = np.rint(PIXELS.numpy() * 7).astype(int)
    upper, lower = bounds[place + 1], bounds[place]
    mass = stats.logistic.cdf(upper, OUTPUTS, scale) - stats.logistic.cdf(lower, OUTPUTS, scale)
    np.testing.assert_allclose(nll(likelihood, PIXELS), -np.log(mass).sum(-1), rtol=1e-5)


@pytest.mark.parametrize("variance", [1e-6, 1.0, 1e4])
def test_logistic_masses_add_up_to_1(variance: float) -> None:
    likelihood = LIKELIHOODS["discretised_logistic"](1, variance, 16).double().eval()
    values = torch.linspace(0, 1, 16, dtype=torch.float64)[:, None]
    for output in (-3.0, 0.2, 0.5, 7.0):
        with torch.no_grad():
            masses = torch.exp(-likelihood(torch.full_like(values, output), values))
        assert float(masses.sum()) == pytest.approx(1, abs=1e-9)


def test_counts_are_negative_binomial() -> None:
    likelihood = make("negative_binomial")
    theta = np.array([0.3, 1.0, 4.0, 50.0])
    with torch.no_grad():
        likelihood.log_theta.copy_(torch.from_numpy(np.log(theta)))
    mean = np.exp(OUTPUTS.double().numpy())
    expected = -stats.nbinom(theta, theta / (theta + mean)).logpmf(COUNTS).sum(-1)
    np.testing.assert_allclose(nll(likelihood, COUNTS), expected, rtol=1e-6)


@pytest.mark.parametrize("log_theta", [-8.0, 5.0, 12.0, 20.0])
def test_counts_of_extreme_dispersion(log_theta: float) -> None:
    likelihood = LIKELIHOODS["negative_binomial"](4, 0.7, 8)
    with torch.no_grad():
        likelihood.log_theta.fill_(log_theta)
        found = likelihood(OUTPUTS, COUNTS).numpy()
    theta, mean = np.exp(min(log_theta, 12.0)), np.exp(OUTPUTS.double().numpy())
    expected = -stats.nbinom(theta, theta / (theta + mean)).logpmf(COUNTS).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_logistic_masses_of_many_levels_far_away() -> None:
    likelihood = LIKELIHOODS["discretised_logistic"](4, 1.0, 65536)
    with torch.no_grad():
        assert likelihood(OUTPUTS + 200, PIXELS).isfinite().all()
        likelihood.log_scale.fill_(-100.0)  # bounded below
        assert likelihood(OUTPUTS, PIXELS).isfinite().all()


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("discretised_logistic", [[0, 255], [3, 4]], "values from 0 to 255; allowed are the 256"),
        ("discretised_logistic", [[0, 0.5], [1, 1]], "allowed are the 256 values k / 255"),
        ("bernoulli", [[0, 5], [1, 1]], "values from 0 to 5; allowed are 0 and 1"),
        ("negative_binomial", [[-1, 5], [1, 1]], "values from -1 to 5, not all of them counts"),
        ("negative_binomial", [[0, 0.5], [1, 1]], "allowed are integers from 0"),
    ],
)
def test_values_without_a_probability_are_refused(
    name: str, values: list, reason: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.tile(values, (20, 1)))
    words = ("model=mlp", "data=arrays", f"data.file={tmp_path / 'x.npy'}")
    case = contract.Case("plain", (*words, f"model.likelihood={name}"), tmp_path)
    with pytest.raises(InputError, match=f"^model.likelihood={name}: .*{reason}"):
        case.parts()


def test_bernoulli() -> None:
    x = (PIXELS > 0.5).float()
    expected = -stats.bernoulli(1 / (1 + np.exp(-OUTPUTS.numpy()))).logpmf(x).sum(-1)
    np.testing.assert_allclose(nll(make("bernoulli"), x), expected, rtol=1e-5)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_gradients_are_finite_for_tiny_and_huge_outputs(name: str, scale: float) -> None:
    data = {
        "negative_binomial": COUNTS,
        "discretised_logistic": PIXELS,
        "bernoulli": PIXELS.round(),
    }
    outputs = (OUTPUTS[0] * scale).clamp(-60, 60).requires_grad_()
    loss = LIKELIHOODS[name](4, 0.7, 8)(outputs, data.get(name, VECTORS)).mean()
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert loss.isfinite() and gradient.isfinite().all()


# ---------------------------------------------------------------- the model


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_model_keeps_the_contract_with_any_likelihood(name: str, tmp_path: Path) -> None:
    x = {"negative_binomial": RNG.poisson(2.0, (160, 3, 2)), "gaussian": RNG.normal(size=(160, 6))}
    np.save(tmp_path / "x.npy", x.get(name, RNG.integers(0, 2, (160, 6))))
    words = (
        "data=arrays",
        f"data.file={tmp_path / 'x.npy'}",
        "data.split=[0.6,0.2,0.2]",
        "data.batch_size=16",
        "model.hidden=12",
        "model.latent=3",
        f"model.likelihood={name}",
    )
    case = contract.Case("bn_mu", ("model=mlp", *words), tmp_path)
    contract.check_initial_weights(case)
    contract.check_gradients(case)
    contract.check_loaded_weights(case)
    contract.check_resuming(case)


def test_gaussian_model_comes_close_to_the_entropy(tmp_path: Path) -> None:
    words = ("model=mlp", "model.latent=4", "data=gaussian", "data.train=2000", "data.valid=100")
    words += ("data.test=500", "data.batch_size=100", "model.variance=0.3", "trainer.epochs=12")
    found = summary(contract.Case("plain", words, tmp_path).run("run"))
    assert found["entropy"] - 0.1 < found["nelbo"] < found["entropy"] + 1.2


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("model.likelihood=normal", "model.likelihood=normal: .*allowed are gaussian"),
        ("model.variance=0", "model.variance=0: out of range"),
        ("model.hidden=0", "model.hidden=0: allowed"),
    ],
)
def test_bad_setting_is_refused(word: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        contract.Case("plain", (*contract.KINDS["vectors"], "model=mlp", word), tmp_path).parts()


def test_word_dropout_is_refused(tmp_path: Path) -> None:
    case = contract.Case("word_dropout", (*contract.KINDS["vectors"], "model=mlp"), tmp_path)
    with pytest.raises(InputError, match="reads no words"):
        case.parts()


# ---------------------------------------------------------------- files


def load(*words: str):
    return load_section(composed("data=arrays", *words).data, "data").load()


def test_one_file_is_divided_and_labels_are_numbered(tmp_path: Path) -> None:
    x = np.arange(40 * 12).reshape(40, 2, 3, 2)
    np.savez(tmp_path / "all.npz", x=x, kind=np.repeat(["b", "a"], 20), size=np.arange(40) % 3)
    data = load(f"data.file={tmp_path / 'all.npz'}", "data.split=[0.5,0.25,0.25]")
    assert [data.size(split) for split in ("train", "valid", "test")] == [20, 10, 10]
    rows = np.concatenate([data.vectors[split] for split in data.vectors])
    assert sorted(rows[:, 0]) == sorted(x.reshape(40, -1)[:, 0]) and rows.shape == (40, 12)
    for split, vectors in data.vectors.items():
        number = vectors[:, 0] / 12
        assert (data.labels[split]["kind"] == (number < 20)).all()  # a is 0, b is 1
        assert (data.labels[split]["size"] == number % 3).all()
    again = load(f"data.file={tmp_path / 'all.npz'}", "data.split=[0.5,0.25,0.25]")
    other = load(f"data.file={tmp_path / 'all.npz'}", "data.split_seed=1")
    assert data.content == again.content != other.content


def test_folder_has_a_file_for_each_split(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "valid", "test")):
        np.savez(tmp_path / f"{split}.npz", x=np.full((4, 3), number), y=[number] * 4)
    data = load(f"data.dir={tmp_path}")
    assert data.inputs == 3 and (data.vectors["test"] == 2).all()
    assert (data.labels["test"]["y"] == 2).all()
    np.save(tmp_path / "test.npy", np.zeros((4, 3)))
    with pytest.raises(InputError, match=r"one of test.npy or test.npz; both are there"):
        load(f"data.dir={tmp_path}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"y": np.zeros(3)}, "no array x in it; it has y"),
        ({"x": np.zeros(3)}, r"x is float64 of shape \[3\]; allowed are finite numbers"),
        ({"x": np.array([["a"]])}, "allowed are finite numbers"),
        ({"x": np.full((9, 2), np.nan)}, "allowed are finite numbers"),
        ({"x": np.zeros((9, 2)), "y": np.zeros(8)}, r"y has shape \[8\]; labels have one value"),
        ({"x": np.zeros((2, 2))}, "2 examples leave a split empty"),
        ({"x": np.array([[{}]])}, "cannot be read as NumPy arrays"),
        ({"x": np.zeros((9, 0))}, "allowed are finite numbers"),
        ({"x": np.full((9, 2), 1e39)}, "allowed are finite numbers"),
    ],
)
def test_bad_file_is_refused(content: dict, reason: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(InputError, match=reason):
        load(f"data.file={tmp_path / 'x.npz'}")


def test_other_bad_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2")
    (tmp_path / "x.npy").write_text("1,2")
    for words, reason in [
        ((), "give either data.file=FILE.npz or data.dir=FOLDER"),
        ((f"data.file={tmp_path / 'x.csv'}",), "allowed are files that end with .npy or .npz"),
        ((f"data.file={tmp_path / 'x.npy'}",), "cannot be read as NumPy arrays"),
        ((f"data.file={tmp_path / 'no.npy'}",), "^data.file=.*no.npy: there is no such file$"),
        ((f"data.dir={tmp_path}",), "must hold one of train.npy or train.npz; neither is there"),
    ]:
        with pytest.raises(InputError, match=reason):
            load(*words)


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((9, 2)))
    content = (tmp_path / "x.npz").read_bytes()
    for damage in (content[: len(content) // 2], content[:60] + b"?" * 40 + content[100:], b""):
        (tmp_path / "x.npz").write_bytes(damage)
        with pytest.raises(InputError, match=r"cannot be read as NumPy arrays|no array x"):
            load(f"data.file={tmp_path / 'x.npz'}")


def test_labels_that_a_split_lacks_are_refused(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        labels = {} if split == "valid" else {"y": [0, 1, 0, 1]}
        np.savez(tmp_path / f"{split}.npz", x=np.zeros((4, 3)), **labels)
    with pytest.raises(InputError, match="the valid split has no labels y, others have"):
        load(f"data.dir={tmp_path}")


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.5, 0.4, 0.2], [1.0, 0.5, -0.5], [0.0, 0.5, 0.5]])
def test_bad_shares_are_refused(shares: list[float]) -> None:
    with pytest.raises(InputError, match=r"^data\.split="):
        check_shares(shares, 0)
