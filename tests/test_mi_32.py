"""mi inside batches of 32, as published tables report it, and the share of collapsed examples."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm, sem

from uncollapse.metrics import information as module
from uncollapse.metrics.base import Pass
from uncollapse.metrics.information import BATCH_SEED, information
from uncollapse.metrics.usage import local_collapse
from uncollapse.posteriors import DiagonalGaussian


def make_pass(mean: np.ndarray, std: np.ndarray, sizes: list[int], seed: int = 0) -> Pass:
    """Gaussian posteriors [N, D] in batches of these sizes, with one code each."""
    every = DiagonalGaussian.from_std(torch.from_numpy(mean), torch.from_numpy(std))
    torch.manual_seed(seed)
    parts = zip(*(x.split(sizes) for x in (every.mean, every.std, every.log_var)), strict=True)
    zeros = np.zeros(len(mean))
    kl = every.kl.numpy()
    batches = [DiagonalGaussian(*part) for part in parts]
    return Pass(zeros, zeros, kl, mean, std**2, None, every.sample(), batches)


def direct(mean: np.ndarray, std: np.ndarray, z: np.ndarray, batch: np.ndarray) -> float:
    """Mean over a batch of log q(z_i|x_i) - log 1/32 sum_n q(z_i|x_n), from scipy's densities."""
    table = norm.logpdf(z[batch][:, None], mean[batch], std[batch]).sum(-1)  # [32, 32]
    return float(np.mean(np.diag(table) - logsumexp(table, 1) + math.log(32)))


@pytest.mark.parametrize("n", [32, 63, 64, 200])
@pytest.mark.parametrize("cells", [1 << 20, 500])
def test_mi_32_equals_direct_computation(
    n: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DENSITIES_AT_ONCE", cells)  # blocks of all codes, or of a few
    rng = np.random.default_rng(n)
    mean, std = rng.normal(0, 1.2, (n, 3)), rng.uniform(0.2, 1.5, (n, 3))
    seen = make_pass(mean, std, [20, n - 20])
    order = np.random.default_rng(BATCH_SEED).permutation(n)
    batches = [order[i : i + 32] for i in range(0, n - 31, 32)]
    each = [direct(mean, std, seen.z.numpy(), batch) for batch in batches]
    got = information(seen)
    assert got["mi_32"] == pytest.approx(np.mean(each), abs=1e-6)
    if len(each) > 1:
        assert got["mi_32_se"] == pytest.approx(sem(each), abs=1e-6)
    else:
        assert "mi_32_se" not in got


def test_mi_32_is_zero_for_the_prior_and_for_any_single_posterior() -> None:
    prior = make_pass(np.zeros((100, 4)), np.ones((100, 4)), [100])
    other = make_pass(np.full((100, 4), 3.0), np.full((100, 4), 0.1), [100])
    for seen in (prior, other):
        assert information(seen)["mi_32"] == pytest.approx(0, abs=1e-6)


def test_mi_32_of_separated_posteriors_is_ln_32_whatever_their_number() -> None:
    for n in (32, 100, 320):
        mean = 100.0 * np.arange(n)[:, None] * np.ones(2)
        got = information(make_pass(mean, np.ones((n, 2)), [n]))
        assert got["mi_32"] == pytest.approx(math.log(32), abs=1e-6)
        assert got["mi"] == pytest.approx(math.log(n), abs=1e-6)


def test_mi_32_is_below_mi_where_codes_carry_more() -> None:
    mean = np.random.default_rng(0).normal(0, 1, (640, 4))
    got = information(make_pass(mean, np.full((640, 4), 0.3), [640]))
    assert got["mi_32"] + 3 * got["mi_32_se"] < math.log(32) < got["mi"] - 3 * got["mi_se"]


def test_examples_left_over_change_nothing() -> None:
    """Their posteriors may be anything, though they share a mixture with all others in mi."""
    rng = np.random.default_rng(1)
    mean, std = rng.normal(0, 1, (70, 2)), rng.uniform(0.3, 1, (70, 2))
    seen = make_pass(mean, std, [70])
    left = np.random.default_rng(BATCH_SEED).permutation(70)[64:]
    changed = mean.copy()
    changed[left] += 5.0
    moved = replace(make_pass(changed, std, [70]), z=seen.z)
    before, after = information(seen), information(moved)
    assert after["mi_32"] == pytest.approx(before["mi_32"], abs=1e-9)
    assert after["mi"] != pytest.approx(before["mi"], abs=1e-3)


def test_fewer_than_32_examples_have_no_mi_32() -> None:
    got = information(make_pass(np.zeros((31, 2)), np.ones((31, 2)), [31]))
    assert "mi_32" not in got and got["mi_n"] == 31


def test_batches_are_taken_from_the_examples_of_the_mixture() -> None:
    rng = np.random.default_rng(2)
    seen = make_pass(rng.normal(0, 1, (96, 2)), np.full((96, 2), 0.5), [48, 48])
    limited = information(replace(seen, mixture=48))
    alone = information(
        replace(seen, z=seen.z[:48], posteriors=seen.posteriors[:1], kl=seen.kl[:48])
    )
    assert limited["mi_32"] == alone["mi_32"] and limited["mi_n"] == 48


# ---------------------------------------------------------------- examples at the prior


def test_local_collapse_counts_examples_below_a_tenth_of_a_nat() -> None:
    """Totals 0, 0.05 + 0.04, 0.06 + 0.06 and 3: two of four are below 0.1 nats."""
    kl = np.array([[0.0, 0.0], [0.05, 0.04], [0.06, 0.06], [3.0, 0.0]])
    seen = replace(make_pass(np.zeros((4, 2)), np.ones((4, 2)), [4]), kl=kl)
    got = local_collapse(seen)
    assert got["local_collapse"] == 0.5
    # the error of a share of n independent examples, with n - 1 in the denominator
    assert got["local_collapse_se"] == pytest.approx(math.sqrt(0.25 / 3))


def test_local_collapse_differs_between_models_of_equal_rate() -> None:
    """A mean kl of 1 nat, of all examples alike or of every tenth one alone."""
    seen = make_pass(np.zeros((10, 1)), np.ones((10, 1)), [10])
    alike = replace(seen, kl=np.ones((10, 1)))
    alone = replace(seen, kl=10.0 * np.eye(10)[:, :1])
    assert alike.kl.mean() == alone.kl.mean() == 1
    assert local_collapse(alike)["local_collapse"] == 0
    assert local_collapse(alone)["local_collapse"] == 0.9
