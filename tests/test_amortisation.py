"""The amortisation gap, against the linear VAE, whose best q is known in closed form."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import composed, folder_of, run_here, summary
from test_linear import batch_of, compute_log_p, random_model, run_linear
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from uncollapse.building import prepare
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.evaluation.command import main as evaluate
from uncollapse.metrics.amortisation import refine, weigh
from uncollapse.models.linear import LinearVAE
from uncollapse.posteriors.delta import AgainstAR1
from uncollapse.posteriors.mog import MixturePrior

INPUTS, LATENT, VARIANCE = 5, 3, 0.7
TINY = ["data.train=96", "data.valid=32", "data.test=32", "data.batch_size=16", "trainer.epochs=2"]


def model_and_truth(seed: int) -> tuple[LinearVAE, Tensor, DiagonalGaussian]:
    """A model whose W has orthogonal columns, examples, and p(z|x), which then is diagonal.

    p(z|x) = N(M^-1 W^T (x - b) / s2, M^-1) with M = I + W^T W / s2.
    """
    model = random_model(INPUTS, LATENT, seed, 0.5, VARIANCE)
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(INPUTS, LATENT, generator=generator).double())[0]
    with torch.no_grad():
        model.decoder.weight.copy_(axes * torch.tensor([2.0, 1.0, 0.5]))
    x = 1.5 * torch.randn(24, INPUTS, generator=generator).double()
    with torch.no_grad():
        weight = model.decoder.weight
        precision = 1 + weight.square().sum(0) / VARIANCE
        mean = (x - model.decoder.bias) @ weight / VARIANCE / precision
    return model, x, DiagonalGaussian.from_log_var(mean, -precision.log().expand_as(mean))


def distance(q: DiagonalGaussian, truth: DiagonalGaussian) -> Tensor:
    """KL(q || truth) of each example, [B]."""
    normals = [Normal(r.mean, r.std.abs()) for r in (q, truth)]
    return kl_divergence(*normals).sum(-1)


@pytest.mark.parametrize("seed", range(2))
def test_refined_nelbo_is_minus_log_p_and_gap_the_kl_to_the_true_posterior(seed: int) -> None:
    model, x, truth = model_and_truth(seed)
    decode = partial(model.nll, batch_of(x))
    with torch.no_grad():
        q = model.encode(batch_of(x))
    refined = refine(decode, q, torch.Generator().manual_seed(seed))
    before, after = (-weigh(decode, r, 2000, 5).mean(0) for r in (q, refined))
    exact = -compute_log_p(model, x)
    assert distance(q, truth).min() > 0.05, "each example has something to gain"
    # as small gains do not count, some of the gap is left
    assert distance(refined, truth).mean() < 0.025
    assert float(after.mean() - exact.mean()) == pytest.approx(0, abs=0.02)
    assert (after > exact - 0.05).all()
    error = (weigh(decode, q, 2000, 5) - weigh(decode, refined, 2000, 5)).std(0) / 2000**0.5
    assert ((before - after - distance(q, truth)).abs() < 4.5 * error + 0.05).all()


def test_true_posterior_stays_as_it_is() -> None:
    """Neither its nelbo nor its gradients have any noise."""
    model, x, truth = model_and_truth(0)
    decode = partial(model.nll, batch_of(x))
    refined = refine(decode, truth, torch.Generator().manual_seed(0))
    assert distance(refined, truth).max() < 0.01
    torch.testing.assert_close(-weigh(decode, truth, 7, 1).mean(0), -compute_log_p(model, x))


def test_posterior_with_another_prior_keeps_it() -> None:
    """The nelbo of the replaced posterior is that of the same formula for the new parameters."""
    generator = torch.Generator().manual_seed(0)
    mean, log_var = torch.randn(2, 4, 3, generator=generator).double()
    base = DiagonalGaussian.from_log_var(torch.zeros_like(mean), torch.zeros_like(mean))
    moved = DiagonalGaussian.from_log_var(mean, log_var)
    components = DiagonalGaussian.from_log_var(log_var[:2], mean[:2])
    z = torch.randn(4, 3, generator=generator).double()
    for q, expected in (
        (base, moved),
        (AgainstAR1(base, 0.8, 0.36), AgainstAR1(moved, 0.8, 0.36)),
        (MixturePrior(base, components), MixturePrior(moved, components)),
    ):
        assert q.is_gaussian
        torch.testing.assert_close(
            q.replace_gaussian(mean, log_var).log_ratio(z), expected.log_ratio(z)
        )


# ---------------------------------------------------------------- the command


def test_command_writes_the_gap_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    folder = run_linear(tmp_path, *TINY, head="bn_mu")
    words = [str(folder), "--metrics", "amortisation", "--workers", "1"]
    assert evaluate(words) == 0
    result = summary(folder)["evaluations"]["test-amortisation"]
    assert result["amortisation_examples"] == 32
    # an encoder after two epochs is far from the best q, and the gap significant
    assert result["amortisation_gap"] > 4 * result["amortisation_gap_se"] > 0
    assert summary(folder)["amortisation_gap"] == result["amortisation_gap"]

    rows = folder / "evaluations/test-amortisation.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:1]))
    (folder / "evaluations/test-amortisation.json").unlink()
    assert evaluate(words) == 0
    assert summary(folder)["evaluations"]["test-amortisation"] == result


def test_number_of_examples_is_in_the_name(tmp_path: Path) -> None:
    folder = run_linear(tmp_path, *TINY)
    words = [str(folder), "--metrics", "amortisation", "--workers", "1", "--examples"]
    assert evaluate([*words, "8"]) == 0 and evaluate([*words, "99"]) == 0
    found = summary(folder)["evaluations"]
    counts = {name: result["amortisation_examples"] for name, result in found.items()}
    assert counts == {"test-amortisation-N8": 8, "test-amortisation-all": 32}
    assert summary(folder)["amortisation_examples"] == 32, "the larger one is at the top"


@pytest.mark.parametrize("head", ["vmf", "lm"])
def test_other_posteriors_are_recorded_as_not_applicable(
    head: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run_here(tmp_path, head)
    words = [str(tmp_path / "scratch"), "--metrics", "amortisation", "--workers", "1"]
    assert evaluate(words) == 0
    text = capsys.readouterr().out
    assert "amortisation_gap does not apply" in text and "no diagonal Gaussian" in text
    assert summary(folder_of(tmp_path, head))["evaluations"] == {"test-amortisation": {}}
    assert evaluate(words) == 0
    assert "evaluated before" in capsys.readouterr().out


def test_sentence_model_is_refined(tmp_path: Path) -> None:
    """An encoder that was never trained has a gap; refining also works through an LSTM."""
    run_here(tmp_path, "beta", "beta=0.01", "trainer.epochs=6", "trainer.lr=1e-2")
    words = [str(tmp_path / "scratch"), "--metrics", "amortisation", "--workers", "1"]
    assert evaluate([*words, "--examples", "16"]) == 0
    result = summary(folder_of(tmp_path, "beta"))
    assert result["amortisation_gap"] > 3 * result["amortisation_gap_se"]
    assert np.isfinite(result["refined_kl"])


@pytest.mark.parametrize("head", ["bn_tau", "delta", "delta_ar1", "vamp", "scale"])
def test_replacing_by_its_own_mean_and_variance_changes_nothing(head: str) -> None:
    parts = prepare(composed(f"head={head}", "model=linear", "data=gaussian"), head)
    batch = parts.data.batch("train", np.arange(8))
    with torch.no_grad():
        # training mode, since batch norm has no population statistics yet
        q = parts.model.train().encode(batch)
        z = q.sample(3)
        same = q.replace_gaussian(q.mean, q.variance.log())
    torch.testing.assert_close(same.log_ratio(z), q.log_ratio(z), atol=1e-3, rtol=1e-4)
    if head != "vamp":  # whose KL is estimated at the drawn code
        torch.testing.assert_close(same.kl.sum(-1), q.kl.sum(-1))
