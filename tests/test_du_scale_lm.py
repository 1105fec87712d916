"""DU-VAE, Scale-VAE and the language model: identities, floors and reported numbers."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, composed, folder_of, rows, run_here, run_interrupted
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl_divergence

from uncollapse.building import prepare
from uncollapse.config.targets import build
from uncollapse.distributions.moments import population
from uncollapse.errors import InputError
from uncollapse.objectives.elbo import ELBO
from uncollapse.objectives.scale import UnscaledELBO
from uncollapse.posteriors import DU, BatchNormMu, NoCode, Scale
from uncollapse.training.schedules import Linear

HIDDEN = 4
EPS = 1e-8
properties = settings(max_examples=60, deadline=None, derandomize=True)
seeds, latents, batches = st.integers(0, 10**6), st.integers(1, 9), st.integers(2, 40)
scales = st.sampled_from([1e-3, 1.0, 1e3])


def assert_near(ours, reference, tolerance=1e-9):
    np.testing.assert_allclose(
        np.asarray(ours), np.asarray(reference), rtol=tolerance, atol=tolerance
    )


def run(head, batch, seed, scale):
    """q, a and b of a head with random weights times `scale`."""
    torch.manual_seed(seed)
    head.double()
    h = torch.randn(batch, HIDDEN, dtype=torch.float64) * (0.05 if scale > 1 else 1)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for parameter in head.linear.parameters():
            parameter.mul_(scale)
        for name in ("beta", "scale"):
            if hasattr(head, name):
                getattr(head, name).normal_(0, 1.5)
        a, b = head.linear(h).chunk(2, -1)
        return head(h), a.numpy(), b.numpy()


# ---------------------------------------------------------------- DU-VAE


@properties
@given(seeds, batches, latents, st.floats(0.05, 5), scales)
def test_du_keeps_mu_moments_and_floor(seed, batch, latent, gamma, scale):
    head = DU(HIDDEN, latent, gamma=gamma, alpha=1, dropout=0.2)
    q, a, _ = run(head, batch, seed, scale)
    gammas, beta = head.gammas().detach().numpy(), head.beta.detach().numpy()
    assert_near(math.sqrt((gammas**2).mean()), gamma)
    left = a.var(0) / (a.var(0) + EPS)
    assert_near(q.mean.mean(0), beta, 1e-8)
    assert_near(q.mean.numpy().var(0), gammas**2 * left, 1e-8)
    assert_near(head.floor(), latent / 2 * gamma**2 + 0.5 * (beta**2).sum())
    lost = 0.5 * (gammas**2 * (1 - left)).sum()
    assert q.kl.sum(-1).mean().item() >= head.floor() - lost - 1e-9


@properties
@given(seeds, st.floats(0.1, 5), st.sampled_from([0.0, 0.2, 0.7]), scales)
def test_du_variance_is_dropped_to_floor_or_increased(seed, alpha, dropout, scale):
    head = DU(HIDDEN, 6, gamma=0.5, alpha=alpha, dropout=dropout)
    q, _, b = run(head, 30, seed, scale)
    least = alpha / (2 * math.pi * math.e)
    kept = np.exp(b) / (1 - dropout) + least
    dropped = np.isclose(q.variance, least, rtol=1e-12, atol=0) & ~np.isclose(
        kept, least, rtol=1e-9, atol=0
    )
    assert_near(np.where(dropped, kept, q.variance), kept)
    assert_near(q.log_var, q.variance.log())
    if scale == 1.0:
        assert abs(dropped.mean() - dropout) < 5 * math.sqrt(
            max(dropout * (1 - dropout), 1e-9) / 180
        )
    head.eval()
    h = torch.randn(5, HIDDEN).double()
    assert_near(head(h).variance.detach(), head.linear(h).chunk(2, -1)[1].detach().exp() + least)
    assert head(h).variance.equal(head(h).variance)


def test_du_entropy_is_nonnegative_at_alpha_1():
    head = DU(HIDDEN, 6, gamma=0.5, alpha=1, dropout=0.2)
    with torch.no_grad():
        head.linear.bias[6:] = -40.0
    entropy = Normal(0, head(torch.randn(9, HIDDEN)).std).entropy()
    assert (entropy > -1e-6).all() and entropy.max() < 1e-6


def test_cost_of_du_drop_matches_docstring():
    head = DU(HIDDEN, 6, gamma=0.5, alpha=1, dropout=0.2).double()
    with torch.no_grad():
        head.linear.weight[6:] = 0
        head.linear.bias[6:] = -200.0  # as if all were dropped
    least = 1 / (2 * math.pi * math.e)
    extra = 0.5 * (least - math.log(least) - 1)
    assert round(extra, 2) == 0.95
    assert_near(
        head(torch.randn(50, HIDDEN).double()).kl.sum(-1).mean().item(),
        head.floor() + 6 * extra,
        1e-6,
    )


def test_du_without_dropout_is_bn_mu_with_variance_floor():
    torch.manual_seed(0)
    du, bn = DU(HIDDEN, 5, gamma=0.6, alpha=1e-12, dropout=0.0), BatchNormMu(HIDDEN, 5, gamma=0.6)
    bn.linear.load_state_dict(du.linear.state_dict())
    h = torch.randn(12, HIDDEN)
    assert_near(du(h).mean.detach(), bn(h).mean.detach(), 1e-6)
    assert_near(du(h).kl.detach(), bn(h).kl.detach(), 1e-6)


def test_du_scales_learn_with_constant_mean_square():
    torch.manual_seed(0)
    head = DU(HIDDEN, 4, gamma=0.5, alpha=1, dropout=0.2)
    optimizer = torch.optim.Adam(head.parameters(), 0.05)
    before, h = head.gammas().detach().clone(), torch.randn(30, HIDDEN)
    assert_near(before, np.full(4, 0.5), 1e-6)
    for _ in range(30):
        optimizer.zero_grad()
        (head(h).mean.square() @ torch.arange(4.0)).sum().backward()
        optimizer.step()
    after = head.gammas().detach()
    assert after[3] < 0.7 * after[0]
    assert_near(after.square().mean(), 0.25, 1e-5)


@pytest.mark.parametrize(
    "knobs",
    [
        *({"gamma": v} for v in (0, -1, "0.5", float("nan"))),
        *({"alpha": v} for v in (0, -1, None)),
        *({"dropout": v} for v in (-0.1, 1, 1.0, 1.5, True)),
    ],
)
def test_out_of_range_du_knobs_are_refused(knobs):
    (name,) = knobs
    with pytest.raises(InputError, match=rf"^{name}=.*allowed is"):
        DU(HIDDEN, 3, **{"gamma": 0.5, "alpha": 1, "dropout": 0.2, **knobs})


# ---------------------------------------------------------------- Scale-VAE


@properties
@given(seeds, batches, latents, st.floats(0.05, 5), scales)
def test_scale_sets_mu_spread_and_reports_true_density_of_z(seed, batch, latent, std, scale):
    head = Scale(HIDDEN, latent, std=std)
    q, a, log_var = run(head, batch, seed, scale)
    left = a.var(0) / (a.var(0) + EPS)
    assert_near(
        q.mean, a * std / np.sqrt(a.var(0) + EPS), 1e-8
    )  # one factor per dimension, no centring
    assert_near(q.mean.numpy().var(0), std**2 * left, 1e-8)
    assert_near(q.variance, np.exp(log_var))
    drawn, prior = Normal(q.mean, q.variance.sqrt()), Normal(torch.zeros(()).double(), 1.0)
    assert_near(q.kl, kl_divergence(drawn, Normal(torch.zeros_like(q.mean), 1.0)), 1e-8)
    assert_near(q.unscaled_kl, 0.5 * (a**2 + np.exp(log_var) - log_var - 1), 1e-8)
    z = q.sample()
    assert_near(q.log_ratio(z), Independent(drawn, 1).log_prob(z) - prior.log_prob(z).sum(-1), 1e-7)
    # the batch mean of the KL has three parts: spread of mu, mean of mu, and variances
    offset = 0.5 * (q.mean.numpy().mean(0) ** 2).sum()
    widths = 0.5 * (np.exp(log_var) - log_var - 1).sum(-1).mean()
    assert_near(q.kl.sum(-1).mean().item(), 0.5 * std**2 * left.sum() + offset + widths, 1e-8)


def test_unscaled_kl_can_vanish_under_scale_head():
    torch.manual_seed(0)
    head, h = Scale(HIDDEN, 4, std=1.0).double(), torch.randn(20, HIDDEN).double()
    with torch.no_grad():
        before = head(h)
        head.linear.weight[:4] *= 1e-2
        head.linear.bias[:4] *= 1e-2
        after = head(h)
    assert_near(after.mean, before.mean, 5e-3)  # all but the share of eps
    kept = 0.5 * (after.variance - after.log_var - 1)
    assert (after.unscaled_kl - kept).max() < 1e-3 and (after.kl - kept).mean() > 0.5


def test_gradient_treats_scale_factor_as_constant():
    torch.manual_seed(0)
    head, h = Scale(HIDDEN, 3, std=2.0).double(), torch.randn(20, HIDDEN).double()
    q, weights = head(h), torch.randn(20, 3).double()
    (q.mean * weights).sum().backward()
    factor = (q.mean / q.unscaled)[0].detach()
    assert_near(head.linear.weight.grad[:3], factor[:, None] * (weights.T @ h))


def test_each_epoch_uses_mean_factor_of_previous_epoch():
    """mu = (-1, 1), (-3, 3), (-2, 2) have spreads 1, 3, 2; std 6 makes the factors 6, 2, 3."""
    head = Scale(1, 1, std=6.0)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0], [0.0]]))
        head.linear.bias.zero_()

    def factor(spread):
        q = head(torch.tensor([[-spread], [spread]]))
        return pytest.approx((q.mean / q.unscaled)[0].item(), rel=1e-6)

    head.set_epoch(0)
    assert factor(5.0) == 6 / 5  # the batch's own
    head.set_epoch(1)
    assert (factor(1.0), factor(3.0)) == (6, 2)
    head.set_epoch(1)  # as when resuming
    assert factor(2.0) == 3
    head.set_epoch(2)
    assert (factor(1.0), factor(1.0), factor(3.0)) == (11 / 3, 11 / 3, 11 / 3)
    head.eval()
    # the mean factor of this epoch, used in the next one
    assert (factor(5.0), factor(9.0)) == (
        14 / 3,
        14 / 3,
    )
    head.train()
    head.set_epoch(3)
    assert factor(5.0) == 14 / 3
    head.set_epoch(4)
    head.eval()
    assert factor(1.0) == 6 / 5


def test_only_training_passes_count_in_mean_factor():
    torch.manual_seed(0)
    head = Scale(HIDDEN, 3, std=1.0)
    learnt, other = torch.randn(8, HIDDEN), 9 * torch.randn(8, HIDDEN)
    head(learnt)
    with torch.no_grad(), population(head):
        head(other)
    head.eval()
    head(other)
    head.train()
    head.set_epoch(2)
    a = head.linear(learnt)[:, :3].detach()
    assert_near(head.factor, 1 / a.std(0, correction=0), 1e-5)


def test_batch_factor_is_used_until_a_mean_exists():
    head = Scale(HIDDEN, 3, std=1.0)
    head.set_epoch(5)  # no batch yet
    assert not head.held
    head(torch.randn(8, HIDDEN))
    head.set_epoch(6)
    assert head.held


def test_interrupted_scale_run_resumes_exactly(tmp_path: Path):
    words = ("trainer.epochs=4", "trainer.eval_every=4")
    run_here(tmp_path / "full", "scale", *words)
    # an epoch has 6 steps: the last checkpoints are at its end and in its middle
    for last in (14, 18):
        run_interrupted(tmp_path / "cut", "scale", *words, step=last)
    run_here(tmp_path / "cut", "scale", *words)
    full, resumed = (folder_of(tmp_path / name, "scale") for name in ("full", "cut"))
    assert rows(full) == rows(resumed)
    one, other = (
        torch.load(folder / "state.pt", weights_only=True)["model"] for folder in (full, resumed)
    )
    assert one["posterior.held"] and (one["posterior.factor"] != 1).all()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_evaluation_frequency_does_not_change_scale_factors(tmp_path: Path) -> None:
    run_here(tmp_path / "seldom", "scale", "trainer.epochs=4")
    run_here(tmp_path / "often", "scale", "trainer.epochs=4", "trainer.eval_every=2")
    one, other = (
        torch.load(folder_of(tmp_path / n, "scale") / "state.pt", weights_only=True)["model"]
        for n in ("seldom", "often")
    )
    assert all(torch.equal(one[name], other[name]) for name in one if "moments" not in name)


def test_scale_evaluation_uses_population_statistics():
    torch.manual_seed(0)
    head, h = Scale(HIDDEN, 3, std=2.0).double(), torch.randn(50, HIDDEN).double()
    with torch.no_grad():
        a = head.linear(h).chunk(2, -1)[0]
        with population(head):
            for part in h.split(20):
                head(part)
        head.eval()
        assert_near(head(h[:1]).mean, (a * 2 / (a.var(0, correction=0) + EPS).sqrt())[:1], 1e-8)


def test_scale_refuses_batch_of_one_and_warns_about_flat_batch():
    head = Scale(HIDDEN, 3, std=1.0)
    with pytest.raises(ValueError, match="at least 2 examples in a batch, got 1"):
        head(torch.randn(1, HIDDEN))
    with pytest.warns(UserWarning, match="variance below 100 eps"):
        head(1e-6 * torch.randn(8, HIDDEN))


@pytest.mark.parametrize("value", [0, -1, "1", None, float("nan")])
def test_out_of_range_std_is_refused(value):
    with pytest.raises(InputError, match=r"^std=.*allowed is 0 < std$"):
        Scale(HIDDEN, 3, std=value)


def test_scale_objective_uses_unscaled_means():
    q, a, log_var = run(Scale(HIDDEN, 3, std=2.0), 8, seed=0, scale=1.0)
    nll = torch.rand(8).double()
    unscaled = (0.5 * (a**2 + np.exp(log_var) - log_var - 1)).sum(-1).mean()
    for weight, epoch, value in ((1.0, 0.0, 1.0), (0.3, 5.0, 0.3), (Linear(10), 5.0, 0.5)):
        objective = UnscaledELBO(weight)
        loss = objective(nll, q, q.sample(), epoch)
        assert_near(loss.total, nll.mean().item() + value * unscaled)
        assert loss.weight == value and isinstance(objective, ELBO)
    with pytest.raises(InputError, match=r"^objective\.weight=-1"):
        UnscaledELBO(-1)


def test_scale_run_reports_true_kl(tmp_path: Path):
    run_here(tmp_path, "scale", "std=0.5")
    trained = rows(folder_of(tmp_path, "scale"))
    for row in trained:
        assert row["nelbo"] == pytest.approx(row["rec"] + row["kl"])
        assert row["floor"] is None


# ---------------------------------------------------------------- the language model


def test_language_model_posterior_has_no_code_rate_or_weights():
    head = NoCode(HIDDEN, 3)
    q = head(torch.randn(5, HIDDEN))
    assert not list(head.parameters()) and head.floor() is None
    zeros = torch.zeros(5, 3)
    for value in (q.mean, q.variance, q.kl, q.sample()):
        assert value.equal(zeros)
    assert q.sample(2).equal(torch.zeros(2, 5, 3)) and q.sample_prior(4).equal(torch.zeros(4, 3))
    assert q.log_ratio(q.sample()).equal(torch.zeros(5)) and q.log_ratio(q.sample(2)).equal(
        torch.zeros(2, 5)
    )
    assert q.log_ratio(torch.zeros(7, 1, 3)).equal(torch.zeros(7, 5))
    assert q.log_ratio_per_dim(torch.zeros(7, 3)).equal(torch.zeros(3, 7, 5).double())


def test_language_model_trains_only_its_decoder():
    parts = prepare(composed("head=lm", *SMALL), "lm")
    batch = parts.data.batch("train", parts.data.batches("train", 0, 0)[0])
    q = parts.model.encode(batch)
    z = q.sample()
    loss = parts.objective(parts.model.nll(batch, z), q, z, 0.0, batch)
    assert loss.total.item() == loss.terms["rec"].item()
    loss.total.backward()
    assert all(p.grad is not None for p in parts.model.parts()["decoder"])
    assert all(p.grad is None for p in parts.model.parts()["encoder"])


def test_language_model_run_has_equal_rec_and_nelbo(tmp_path: Path):
    run_here(tmp_path, "lm")
    trained = rows(folder_of(tmp_path, "lm"))
    for row in trained:
        assert (
            row["nelbo"] == row["rec"]
            and row["kl"] == 0
            and row["au"] == 0
            and row["floor"] is None
        )
        assert row["shuffle_gap"] == pytest.approx(0, abs=1e-5) and row["mi"] == pytest.approx(
            0, abs=1e-6
        )
        assert row["mi_per_dim"] == pytest.approx([0] * 4, abs=1e-6)
    learning = [row["rec"] for row in trained if row["split"] == "valid"]
    assert learning == sorted(learning, reverse=True)


def test_linear_language_model_learns_its_bias(tmp_path: Path):
    words = [
        "data=gaussian",
        "model=linear",
        "data.train=64",
        "data.valid=16",
        "data.test=16",
        "trainer.epochs=1",
    ]
    parts = prepare(composed("head=lm", *words), "lm")
    assert not parts.model.parts()["encoder"]
    batch = parts.data.batch("train", np.arange(8))
    q = parts.model.encode(batch)
    parts.objective(parts.model.nll(batch, q.sample()), q, q.sample(), 0.0, batch).total.backward()
    assert parts.model.decoder.bias.grad.ne(0).all() and parts.model.decoder.weight.grad.eq(0).all()


# ---------------------------------------------------------------- the files


def test_head_files_set_defaults_and_overrides_change_them():
    def head(name, *words):
        return build(composed(f"head={name}", *words).posterior, "posterior", HIDDEN, 4)

    du, other = head("du"), head("du", "gamma=1", "alpha=2", "dropout=0")
    assert (du.gamma, du.min_variance, du.dropout) == (0.5, 1 / (2 * math.pi * math.e), 0.2)
    assert (other.gamma, other.min_variance, other.dropout) == (1.0, 1 / (math.pi * math.e), 0.0)
    assert head("scale").std == 1.0 and head("scale", "std=0.3").std == 0.3
    objective = composed("head=scale").objective
    assert isinstance(build(objective, "objective"), UnscaledELBO) and objective.weight == 1.0
    assert isinstance(head("lm"), NoCode)
