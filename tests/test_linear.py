"""The linear VAE and its Gaussian data: closed forms, and runs against the known optimum."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import composed, folder_of, rows, type_command
from hypothesis import given, settings
from hypothesis import strategies as st
from schemas import GaussianConfig, LinearConfig
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from torch.distributions import MultivariateNormal, kl_divergence

from uncollapse.building import prepare
from uncollapse.data.vectors import VectorBatch, VectorData
from uncollapse.errors import InputError
from uncollapse.metrics.likelihood import importance_weighted, log_weights
from uncollapse.models.linear import LinearVAE, log_likelihood, optimal_elbo, optimal_rates
from uncollapse.posteriors import Gaussian
from uncollapse.run import run
from uncollapse.runs.checkpoint import load_model

EIGENVALUES = [12.0, 6.0, 3.0, 1.5, 0.7, 0.3]  # those of conf/data/gaussian.yaml
TINY = ["data.train=96", "data.valid=32", "data.test=32", "data.batch_size=16", "trainer.epochs=2"]


def run_linear(results: Path, *words: str, head: str = "plain") -> Path:
    """The folder of a run with model=linear data=gaussian."""
    cfg = composed(
        f"head={head}", "model=linear", "data=gaussian", f"results={results}", "device=cpu", *words
    )
    assert run(cfg, head, list(words)) == "done"
    return folder_of(results, head, cfg.study)


def random_model(
    inputs: int, latent: int, seed: int, scale: float = 1.0, variance: float = 1.0
) -> LinearVAE:
    """A linear VAE in double precision whose weights are N(0, scale^2): far from any optimum."""
    model = LinearConfig(latent=latent, variance=variance).build(inputs, Gaussian).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(
                scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            )
        # ln sigma^2 in proportion to x: keep the exponential in bounds
        model.posterior.linear.weight[latent:].mul_(0.1)
    return model


def batch_of(x: torch.Tensor) -> VectorBatch:
    return VectorBatch(x, np.arange(len(x)))


def exact_elbo(model: LinearVAE, batch: VectorBatch) -> torch.Tensor:
    """The ELBO of each example without sampling, [B].

    E_q |x - Wz - b|^2 is the distance at the mean plus sum_j v_j |w_j|^2.
    """
    q, weight = model.encode(batch), model.decoder.weight
    spread = (q.variance * weight.square().sum(0)).sum(-1) / (2 * model.variance)
    return -(model.nll(batch, q.mean) + spread + q.kl.sum(-1))


def compute_log_p(model: LinearVAE, x: torch.Tensor) -> torch.Tensor:
    return log_likelihood(
        model.decoder.weight.detach(), model.decoder.bias.detach(), model.variance, x
    )


# ---------------------------------------------------------------- closed forms


def test_optimal_rates_by_hand():
    np.testing.assert_allclose(optimal_rates([0.5, np.e**2, 1.0, np.e**4], 1.0), [2, 1, 0, 0])
    np.testing.assert_allclose(
        optimal_rates([np.e**2, np.e**4], 0.5, weight=2.0, latent=3), [2, 1, 0]
    )
    np.testing.assert_allclose(optimal_rates([np.e**2, np.e**4], 1.0, latent=1), [2])
    # one axis, lambda = e^2 > variance: the model is exact, and E log p is minus the entropy # 1/2
    # ln(2 pi e lambda)
    assert optimal_elbo([np.e**2], 1.0) == pytest.approx(-0.5 * np.log(2 * np.pi) - 0.5 - 1)
    # lambda = 1/2 < variance: no code, and -E log N(x; 0, 1) = 1/2 ln(2 pi) + 1/4
    assert optimal_elbo([0.5], 1.0) == pytest.approx(-0.5 * np.log(2 * np.pi) - 0.25)


@pytest.mark.parametrize("seed", range(8))
def test_optimum_matches_numerical_optimisation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, latent = int(rng.integers(2, 5)), int(rng.integers(1, 5))
    variance, weight = rng.uniform(0.3, 2, 2)
    ratios = np.where(
        rng.random(inputs) < 0.6, rng.uniform(1.2, 8, inputs), rng.uniform(0.1, 0.8, inputs)
    )
    eigenvalues = ratios * weight * variance
    axes = np.linalg.qr(rng.standard_normal((inputs, inputs)))[0]
    sigma = torch.tensor(axes * eigenvalues @ axes.T)

    def rec_and_kl(flat: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """E rec and KL per dimension, from traces of covariances.

        q(z|x) = N(A x, diag v), p(x|z) = N(W z, variance I)."""
        theta = torch.tensor(flat, requires_grad=True)
        w, a, log_v = theta.split([inputs * latent, inputs * latent, latent])
        w, a = w.view(inputs, latent), a.view(latent, inputs)
        residual = torch.eye(inputs, dtype=torch.float64) - w @ a
        distance = torch.trace(residual @ sigma @ residual.T) + torch.trace(w * log_v.exp() @ w.T)
        rec = 0.5 * (distance / variance + inputs * np.log(2 * np.pi * variance))
        return theta, rec, 0.5 * (torch.diag(a @ sigma @ a.T) + log_v.exp() - log_v - 1)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        theta, rec, kl = rec_and_kl(flat)
        loss = rec + weight * kl.sum()
        loss.backward()
        return loss.item(), theta.grad.numpy()

    start = 0.5 * rng.standard_normal(2 * inputs * latent + latent)
    found = minimize(
        objective, start, jac=True, method="BFGS", options={"gtol": 1e-8, "maxiter": 5000}
    )
    _, rec, kl = rec_and_kl(found.x)
    np.testing.assert_allclose(
        np.sort(kl.detach())[::-1], optimal_rates(eigenvalues, variance, weight, latent), atol=1e-6
    )
    assert -(rec + kl.sum()).item() == pytest.approx(
        optimal_elbo(eigenvalues, variance, weight, latent), abs=1e-6
    )


@pytest.mark.parametrize(
    ("eigenvalues", "latent"), [(EIGENVALUES, 6), (EIGENVALUES, 2), ([3.0, 2.0, 1.0, 1.0], 2)]
)
def test_optimum_at_weight_one_maximises_log_likelihood(
    eigenvalues: list[float], latent: int
) -> None:
    """E log N(x; 0, C) = -1/2 (ln det 2 pi C + tr C^-1 Sigma).

    C has the active eigenvalues, and the decoder variance elsewhere.
    """
    model = np.where(np.arange(len(eigenvalues)) < latent, np.maximum(eigenvalues, 1.0), 1.0)
    expected = -0.5 * (np.log(2 * np.pi * model) + np.array(eigenvalues) / model).sum()
    assert optimal_elbo(eigenvalues, 1.0, latent=latent) == pytest.approx(expected)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.integers(1, 5), st.integers(1, 4), st.floats(0.1, 5), st.floats(0.1, 3), st.integers(0, 1000)
)
def test_log_likelihood_matches_scipy(
    inputs: int, latent: int, variance: float, scale: float, seed: int
) -> None:
    model = random_model(inputs, latent, seed, scale, variance)
    weight, bias = (p.detach().numpy() for p in (model.decoder.weight, model.decoder.bias))
    x = 3 * np.random.default_rng(seed).standard_normal((7, inputs))
    reference = multivariate_normal(bias, weight @ weight.T + variance * np.eye(inputs)).logpdf(x)
    np.testing.assert_allclose(compute_log_p(model, torch.tensor(x)), reference, rtol=1e-9)


# ---------------------------------------------------------------- the data


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=8),
    st.integers(1, 300),
    st.integers(0, 1000),
)
def test_every_split_has_exactly_the_requested_moments(
    eigenvalues: list[float], more: int, seed: int
) -> None:
    n = len(eigenvalues) + more
    data = GaussianConfig(
        eigenvalues=eigenvalues, train=n, valid=n + 1, test=n + 50, data_seed=seed
    ).load()
    covariances = []
    for split in ("train", "valid", "test"):
        x = data.vectors[split].astype(np.float64)
        assert data.vectors[split].dtype == np.float32 and data.log_prob[split].dtype == np.float64
        covariances.append(np.cov(x.T, bias=True).reshape(len(eigenvalues), -1))
        largest = max(eigenvalues)
        np.testing.assert_allclose(x.mean(0), 0, atol=1e-6 * np.sqrt(largest))
        np.testing.assert_allclose(
            np.linalg.eigvalsh(covariances[-1]), np.sort(eigenvalues), atol=2e-6 * largest
        )
        # one rotation for all splits
        np.testing.assert_allclose(covariances[-1], covariances[0], atol=2e-6 * largest)
    assert data.inputs == len(eigenvalues)


def test_log_prob_and_entropy_match_scipy() -> None:
    data = GaussianConfig(
        eigenvalues=[5.0, 2.0, 0.5], train=300, valid=200, test=100, data_seed=4
    ).load()
    true = multivariate_normal(
        np.zeros(3), np.cov(data.vectors["train"].T.astype(np.float64), bias=True)
    )
    for split, x in data.vectors.items():
        np.testing.assert_allclose(data.log_prob[split], true.logpdf(x), rtol=1e-5)
        # the sample has the moments of the distribution
        assert -data.log_prob[split].mean() == pytest.approx(data.entropy, abs=1e-5)
    assert data.entropy == pytest.approx(true.entropy(), abs=1e-6)


def test_data_is_determined_by_seed() -> None:
    one, same, other = (
        GaussianConfig(eigenvalues=EIGENVALUES, train=50, valid=40, test=30, data_seed=seed).load()
        for seed in (1, 1, 2)
    )
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(one.vectors[split], same.vectors[split])
        assert not np.allclose(one.vectors[split], other.vectors[split])
    assert not np.allclose(one.vectors["train"][:30], one.vectors["test"])
    # the axes are not the coordinates
    assert abs(np.cov(one.vectors["train"].T)[np.triu_indices(6, 1)]).max() > 0.5


def test_gaussian_batches_and_facts() -> None:
    data = GaussianConfig(eigenvalues=[2.0, 1.0], train=50, valid=40, test=30, batch_size=20).load()
    batches = data.batches("train", seed=3, epoch=1)
    assert sorted(np.concatenate(batches)) == list(range(50)) and [len(b) for b in batches] == [
        17,
        17,
        16,
    ]
    assert [len(b) for b in data.batches("train", 3, 1, size=50, batching="by_length")] == [50]
    batch = data.batch("train", batches[0]).to(torch.device("cpu"))
    assert len(batch) == 17 and batch.targets is None and batch.x.dtype == torch.float32
    np.testing.assert_array_equal(batch.x, data.vectors["train"][batches[0]])
    facts = json.loads(json.dumps(data.facts()))
    assert facts["dim"] == 2 and (facts["train"], facts["valid"], facts["test"]) == (50, 40, 30)
    assert facts["eigenvalues"] == [2.0, 1.0] and facts["entropy"] == pytest.approx(
        0.5 * np.log(2) + np.log(2 * np.pi * np.e)
    )
    assert facts["oracle_nll"] == {
        split: pytest.approx(facts["entropy"], abs=1e-5) for split in ("train", "valid", "test")
    }


def test_vectors_without_known_distribution() -> None:
    data = VectorData(
        {split: np.zeros((5, 3), np.float32) for split in ("train", "valid", "test")}, batch_size=2
    )
    facts = data.facts()
    assert (
        facts["dim"] == 3
        and facts["entropy"] is facts["oracle_nll"] is facts["eigenvalues"] is None
    )
    assert data.labels == {}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"eigenvalues": []}, r"data.eigenvalues=\[\]: allowed is a list"),
        ({"eigenvalues": [1.0, 0.0]}, r"data.eigenvalues\[1\]=0: out of range; allowed is 0 < "),
        ({"eigenvalues": [float("nan")]}, r"data.eigenvalues\[0\]=nan: out of range"),
        ({"eigenvalues": [float("inf")]}, r"data.eigenvalues\[0\]=inf: out of range"),
        ({"valid": 3}, "data.valid=3: 3 data.eigenvalues need at least 4 examples"),
        ({"test": 0}, "data.test=0: allowed is an integer of at least 1"),
        ({"data_seed": -1}, "data.data_seed=-1"),
        ({"batch_size": 0}, "data.batch_size=0"),
        ({"batching": "sorted"}, "data.batching=sorted: allowed are mixed, by_length"),
    ],
)
def test_bad_data_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        GaussianConfig(**{"eigenvalues": [3.0, 2.0, 1.0], **options}).load()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model.latent=0"], "model.latent=0: allowed is an integer of at least 1"),
        (["model.variance=0"], "model.variance=0: out of range; allowed is 0 < model.variance"),
        (["data.eigenvalues=[1,-2]"], r"data.eigenvalues\[1\]=-2: out of range"),
        (["data.eigenvalues=[1,b]"], "data.eigenvalues"),
        (["data.train=6"], "data.train=6: 6 data.eigenvalues need at least 7 examples"),
    ],
)
def test_bad_arguments_are_refused(words: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        run_linear(tmp_path, *words)
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- the model


def test_nll_of_many_codes_equals_loop() -> None:
    model = random_model(5, 3, seed=0, variance=0.7)
    x, z = torch.randn(4, 5, dtype=torch.float64), torch.randn(6, 4, 3, dtype=torch.float64)
    together = model.nll(batch_of(x), z)
    assert together.shape == (6, 4)
    weight, bias = model.decoder.weight.detach().numpy(), model.decoder.bias.detach().numpy()
    for k in range(6):
        torch.testing.assert_close(model.nll(batch_of(x), z[k]), together[k])
        for i in range(4):
            p = multivariate_normal(weight @ z[k, i].numpy() + bias, 0.7 * np.eye(5))
            assert together[k, i].item() == pytest.approx(-p.logpdf(x[i].numpy()))


def test_components_hold_every_parameter_exactly_once() -> None:
    model = random_model(4, 2, seed=0)
    listed = [id(p) for parameters in model.parts().values() for p in parameters]
    assert len(listed) == len(set(listed)) and set(listed) == {id(p) for p in model.parameters()}
    assert {id(p) for p in model.posterior.parameters()} <= {
        id(p) for p in model.parts()["encoder"]
    }


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.floats(0.05, 1.5),
    st.floats(0.2, 5),
    st.integers(0, 1000),
)
def test_elbo_gap_is_kl_to_true_posterior(
    inputs: int, latent: int, scale: float, variance: float, seed: int
) -> None:
    """log p(x) - ELBO(x) = KL(q || p(z|x)).

    p(z|x) = N(M^-1 W^T (x - b) / s2, M^-1) with M = I + W^T W / s2."""
    model = random_model(inputs, latent, seed, scale, variance)
    x = 2 * torch.randn(
        6, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    with torch.no_grad():
        q, weight = model.encode(batch_of(x)), model.decoder.weight
        precision = torch.eye(latent, dtype=torch.float64) + weight.T @ weight / variance
        mean = torch.linalg.solve(precision, weight.T @ (x - model.decoder.bias).T / variance).T
        truth = MultivariateNormal(mean, precision_matrix=precision)
        distance = kl_divergence(MultivariateNormal(q.mean, torch.diag_embed(q.variance)), truth)
        torch.testing.assert_close(
            compute_log_p(model, x) - exact_elbo(model, batch_of(x)), distance, rtol=1e-7, atol=1e-8
        )
    assert (distance >= 0).all()


def test_importance_bound_increases_from_elbo_to_log_p() -> None:
    """Burda et al. 2016, theorem 1.

    With w = p(x, z) / q(z|x), log w averages to the ELBO, and log mean_K w increases to log p(x).
    """
    model = random_model(5, 2, seed=1, scale=0.5)
    with torch.no_grad():
        # q wider than the prior, hence than every true posterior: the weights are bounded
        model.posterior.linear.weight.mul_(torch.tensor([[0.5], [0.5], [0], [0]]))
        model.posterior.linear.bias[2:] = 0.5
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    batch, repeats, most = batch_of(x), 40, 4096
    with torch.no_grad():
        q = model.encode(batch)
        z = q.sample(repeats * most, generator)
        log_w = (-model.nll(batch, z) - q.log_ratio(z)).view(repeats, most, len(x))
        log_p, elbo = compute_log_p(model, x), exact_elbo(model, batch)
    assert (log_p - elbo).mean() > 0.5  # far from the optimum, so the gap is well above 0

    error = log_w.flatten(0, 1).std(0) / (repeats * most) ** 0.5
    assert ((log_w.mean((0, 1)) - elbo).abs() < 4 * error).all()  # K = 1

    bounds = []
    for k in (1, 4, 16, 64, 4096):
        # shape [repeats], means over the examples
        iwae = (torch.logsumexp(log_w[:, :k], 1) - np.log(k)).mean(1)
        bounds.append(iwae.mean().item())
        assert bounds[-1] < log_p.mean() + 4 * iwae.std() / repeats**0.5
    assert bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(log_p.mean().item(), abs=0.01)

    with torch.no_grad():  # and the package's own metric
        found = importance_weighted(
            log_weights(lambda z: model.nll(batch, z), q, 20_000, generator)
        )
    np.testing.assert_allclose(found["nll"], -log_p, atol=0.1)


# ---------------------------------------------------------------- complete runs


def trained(folder: Path, *words: str) -> tuple[LinearVAE, VectorBatch]:
    """The best weights and the test split, both in double precision."""
    parts = prepare(composed("head=plain", "experiment=linear", "device=cpu", *words), "plain")
    load_model(folder / "model.safetensors", parts.model)
    return parts.model.double().eval(), batch_of(
        torch.from_numpy(parts.data.vectors["test"]).double()
    )


def sort_descending(values: list[float]) -> np.ndarray:
    return np.sort(values)[::-1]


@pytest.mark.parametrize(
    ("weight", "active"),
    [(1.0, 4), *(pytest.param(*c, marks=pytest.mark.slow) for c in [(0.5, 5), (2.0, 3)])],
)
def test_run_finds_known_rates_and_collapsed_dimensions(
    weight: float, active: int, tmp_path: Path
) -> None:
    """Tolerances: 0.03 nats per dimension for the last weights, 0.1 for the best ones.

    The best weights have the lowest validation nelbo. Its noise (one z per example) and, at KL
    weights other than 1, its own weight of 1 move them away from the optimum of the objective.
    """
    words = (f"objective.weight={weight}",)
    folder = run_linear(tmp_path, "experiment=linear", *words)
    final = json.loads((folder / "summary.json").read_text())
    last = [row for row in rows(folder) if row["split"] == "valid"][-1]
    eigenvalues, known = np.array(EIGENVALUES), optimal_rates(EIGENVALUES, 1.0, weight)
    assert np.count_nonzero(known) == active
    np.testing.assert_allclose(sort_descending(last["kl_per_dim"]), known, atol=0.03)
    np.testing.assert_allclose(sort_descending(final["kl_per_dim"]), known, atol=0.1)
    for row in (last, final):
        assert np.count_nonzero(np.array(row["kl_per_dim"]) > 0.03) == row["au"] == active
        # within 4 standard errors
        assert row["nelbo"] == pytest.approx(-optimal_elbo(EIGENVALUES, 1.0, weight), abs=0.15)
    # the aggregate posterior is the prior
    assert final["mi"] == pytest.approx(final["kl"], abs=0.12)
    assert last["shuffle_gap"] == pytest.approx((eigenvalues - weight)[:active].sum(), rel=0.05)

    # E mu^2 = 1 - weight / lambda, sigma^2 = weight / lambda; a collapsed dimension is the prior
    second = np.minimum(1, weight / eigenvalues)
    np.testing.assert_allclose(np.sort(last["moments"]["sigma_sq"]), second, atol=0.02)
    np.testing.assert_allclose(sort_descending(last["moments"]["mu_sq"]), 1 - second, atol=0.02)
    np.testing.assert_allclose(last["moments"]["mu"], 0, atol=0.02)

    # without the noise of z: nelbo >= -log p of the model >= the entropy, and at weight 1 nelbo is
    # close to the known optimum
    model, batch = trained(folder, *words)
    with torch.no_grad():
        nelbo, nll = -exact_elbo(model, batch), -compute_log_p(model, batch.x)
    assert (nelbo >= nll - 1e-9).all()
    assert nll.mean() > final["entropy"] == pytest.approx(final["oracle_nll"]["test"], abs=1e-5)
    assert nelbo.mean() > -optimal_elbo(EIGENVALUES, 1.0) - 1e-5
    if weight == 1:
        assert nelbo.mean() == pytest.approx(-optimal_elbo(EIGENVALUES, 1.0), abs=5e-3)


@pytest.mark.slow
@pytest.mark.slow
def test_well_specified_model_reaches_entropy(tmp_path: Path) -> None:
    """Probabilistic PCA on data from probabilistic PCA.

    Axes without a latent dimension have exactly the decoder's variance.
    """
    words = ("data.eigenvalues=[6,3,2,0.5,0.5]", "model.latent=3", "model.variance=0.5")
    folder = run_linear(tmp_path, "experiment=linear", *words)
    final = json.loads((folder / "summary.json").read_text())
    np.testing.assert_allclose(
        sort_descending(final["kl_per_dim"]), optimal_rates([6, 3, 2], 0.5), atol=0.05
    )
    assert -optimal_elbo([6, 3, 2, 0.5, 0.5], 0.5, latent=3) == pytest.approx(final["entropy"])
    assert final["nelbo"] == pytest.approx(final["entropy"], abs=0.1)  # one sampled z per example
    model, batch = trained(folder, *words)
    with torch.no_grad():
        nelbo, log_p = -exact_elbo(model, batch).mean().item(), compute_log_p(model, batch.x)
    assert final["entropy"] < nelbo < final["entropy"] + 5e-3
    true = multivariate_normal(np.zeros(5), np.cov(batch.x.numpy().T, bias=True))
    # for each example, not only in the mean
    np.testing.assert_allclose(log_p, true.logpdf(batch.x.numpy()), atol=0.3)


@pytest.mark.slow
@pytest.mark.slow
def test_documented_command_runs(tmp_path: Path) -> None:
    done = type_command("model=linear", "data=gaussian", *TINY, f"results={tmp_path}")
    assert done.returncode == 0, done.stderr
    facts = json.loads((folder_of(tmp_path, "plain") / "data.json").read_text())
    assert facts["dim"] == 6 and facts["train"] == 96


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        (
            "model=linear",
            (
                r"LinearConfig takes vectors, and uncollapse\.data\.builtin\.GrammarConfig "
                r"gives text; models that take it: model=lstm"
            ),
        ),
        (
            "data=gaussian",
            (
                r"LSTMConfig takes text, and uncollapse\.data\.vectors\.GaussianConfig gives "
                r"vectors; models that take it: model=linear, model=mlp$"
            ),
        ),
    ],
)
def test_incompatible_model_and_data_are_refused(word: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        run(composed("head=plain", f"results={tmp_path}", word), "plain", [word])
    assert not list(tmp_path.iterdir())
