"""Tensor shapes at the interfaces (`pytest --shapes`), and misspelt hooks."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch import Tensor

from uncollapse.errors import InputError
from uncollapse.interfaces.posterior import Posterior, PosteriorHead
from uncollapse.posteriors import DiagonalGaussian, Gaussian, NoCode
from uncollapse.posteriors.lm import Point

WRONG = """
import numpy as np
import torch
from uncollapse.decoders import Options
from uncollapse.metrics.base import Pass
from uncollapse.models.linear import LinearConfig, LinearVAE
from uncollapse.objectives.elbo import ELBO
from uncollapse.posteriors import DiagonalGaussian, Gaussian

X = torch.zeros(4, 3)
SMALL = LinearConfig(latent=6, variance=1.0)

class Summed(DiagonalGaussian):
    @property
    def variance(self):
        return self.std.square().sum(-1)

class Averaged(LinearVAE):
    def nll(self, batch, z):
        return super().nll(batch, z).mean()

class Transposed(LinearVAE):
    def nll(self, batch, z):
        return super().nll(batch, z).T

class Batch:
    x = X

def q():
    return DiagonalGaussian.from_log_var(X, X)

def test_right():
    q().sample(), q().sample(5), q().log_ratio(X), q().log_ratio(torch.zeros(7, 1, 3))
    q().log_ratio_per_dim(torch.zeros(5, 3)), q().sample_prior(2)
    model = LinearVAE(SMALL, 3, Gaussian, Options())
    model.nll(Batch, torch.zeros(2, 4, 6))

def test_property():
    Summed.from_log_var(X, X).variance

def test_field():
    DiagonalGaussian(X[0], X, X)

def test_result():
    Averaged(SMALL, 3, Gaussian, Options()).nll(Batch, torch.zeros(4, 6))

def test_sizes():
    Transposed(SMALL, 3, Gaussian, Options()).nll(Batch, torch.zeros(2, 4, 6))

def test_pass():
    columns = {name: np.zeros(4) for name in ("rec", "rec_shuffled")}
    tables = {name: np.zeros((4, 3)) for name in ("kl", "mean")}
    Pass(**columns, **tables, variance=np.zeros((4, 2)), tokens=None, z=X, posteriors=[q()])

def test_objective():
    ELBO()(torch.zeros(4, 1), q(), X, 0.0)
"""


def test_shapes_option_catches_only_wrong_shapes(tmp_path: Path) -> None:
    (tmp_path / "test_wrong.py").write_text(WRONG)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-q", "--shapes", str(tmp_path)]
    paths = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert "6 failed, 1 passed" in done.stdout, done.stdout
    for said in (
        "Summed.variance: return is [4], not [B D]",
        "DiagonalGaussian: mean is [3], not [B D]",
        "Averaged.nll: return is [], not [*n B]",
        "Transposed.nll: return is [4, 2], not [*n B]",
        "ELBO.__call__: nll is [4, 1], not [B]",
        "Pass: variance is [4, 2], not [N D]",
    ):
        assert said in done.stdout, said


def test_package_does_not_import_shape_checker() -> None:
    code = """
import sys
import uncollapse.models.lstm, uncollapse.posteriors, uncollapse.objectives.elbo, uncollapse.run
print("jaxtyping" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


# ---------------------------------------------------------------- hooks


def test_head_with_misspelt_hook_is_refused_with_suggestion() -> None:
    class Floored(Gaussian):
        def flor(self) -> float:
            return 1.0

    with pytest.raises(InputError, match=r"^Floored\.flor: no such hook; did you mean floor\?"):
        Floored(4, 2)


def test_head_without_forward_is_refused() -> None:
    class Empty(PosteriorHead):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Empty()


def test_posterior_without_kl_is_refused() -> None:
    @dataclass(frozen=True)
    class Partial(Posterior):
        mean: Tensor
        variance: Tensor

        def sample(self, n: int | None = None, generator: torch.Generator | None = None) -> Tensor:
            return self.mean

        def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
            return self.mean

        def log_ratio(self, z: Tensor) -> Tensor:
            return z.sum(-1)

    x = torch.zeros(2, 3)
    with pytest.raises(InputError, match=r"^Partial has no kl, which its interface requires$"):
        Partial(x, x)


def test_posterior_default_hooks_do_nothing() -> None:
    x = torch.randn(4, 3)
    q = DiagonalGaussian.from_log_var(x, x)
    assert q.splits and Point(x).splits and q.project(x) is x
    assert Gaussian(5, 3).floor() is None and NoCode(5, 3).phases() == []
