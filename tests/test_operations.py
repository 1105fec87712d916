"""Compiled operations: their accuracy, and what happens where they cannot be compiled."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from conftest import composed
from torch import nn

from uncollapse.building import prepare
from uncollapse.models import kernels
from uncollapse.models.operations import (
    PLAIN,
    choose_operations,
    compile_operations,
    name_kernels,
)


def test_tanh_and_sigmoid_are_accurate():
    values = np.concatenate(
        [np.linspace(-20, 20, 20_001), np.logspace(-30, 0, 500), [np.inf, -np.inf, 0, -0.0]]
    ).astype(np.float32)
    exact = values.astype(np.float64)
    tanh = np.array([kernels.tanh(x) for x in values], dtype=np.float64)
    np.testing.assert_allclose(tanh, np.tanh(exact), rtol=5e-7, atol=0)
    sigmoid = np.array([kernels.sigmoid(x) for x in values], dtype=np.float64)
    np.testing.assert_allclose(sigmoid, 0.5 + 0.5 * np.tanh(exact / 2), rtol=0, atol=2e-7)
    assert np.isnan(kernels.tanh(np.float32("nan")))


def score(operations, logits, targets):
    """Losses and gradients, from copies."""
    logits, losses = logits.clone(), logits.new_empty(len(logits))
    arrays = (logits, logits.amax(1), targets, losses)
    operations.score(*map(operations.view, arrays))
    return losses, logits


@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0, 1e4])
def test_scores_are_accurate(spread):
    """Against float64, for rows that vectors of the processor do and do not divide."""
    torch.manual_seed(0)
    for words in (1, 2, 7, 64, 1003):
        logits, targets = spread * torch.randn(9, words), torch.randint(words, (9,))
        exact = logits.double().requires_grad_()
        expected = nn.functional.cross_entropy(exact, targets, reduction="none")
        expected.sum().backward()
        for operations in (choose_operations(torch.float32), PLAIN):
            losses, gradients = score(operations, logits, targets)
            np.testing.assert_allclose(losses, expected.detach(), rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(gradients, exact.grad, rtol=0, atol=2e-6)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_rows_without_a_softmax_have_no_loss(value, compiled):
    logits, targets = torch.zeros(3, 20), torch.tensor([0, 5, 19])
    logits[1, 7] = value
    operations = choose_operations(torch.float32) if compiled else PLAIN
    losses, gradients = score(operations, logits, targets)
    assert losses.isnan().tolist() == [False, True, False]
    assert gradients.isnan().any(1).tolist() == [False, True, False]


def test_words_that_are_excluded_have_no_probability():
    logits, targets = torch.zeros(2, 4), torch.tensor([0, 3])
    logits[:, 1] = -torch.inf
    for operations in (choose_operations(torch.float32), PLAIN):
        losses, gradients = score(operations, logits, targets)
        np.testing.assert_allclose(losses, np.log([3, 3]), rtol=1e-6)
        assert (gradients[:, 1] < 1e-37).all()


def test_a_failing_compiler_leaves_the_operations_of_torch(monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no code\nfor this processor")

    monkeypatch.setattr(kernels, "advance", fail)
    with pytest.warns(UserWarning, match="numba cannot compile here .*no code for this processor"):
        assert compile_operations() is PLAIN


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_kernels_of_text_models_are_named(name):
    sizes = ("data.train=10", "data.valid=10", "data.test=10")
    model = prepare(composed(f"model={name}", *sizes), "plain").model
    assert name_kernels(nn.Linear(2, 3)) is None
    assert name_kernels(model) == "numba"
    assert name_kernels(model.double()) == name_kernels(model.to("meta")) == "torch"


def test_kernels_compile_without_a_cache_folder(tmp_path):
    """numba looks for a folder when a function is decorated, so this needs its own process."""
    code = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import torch\n"
        "from uncollapse.models.operations import PLAIN, choose_operations\n"
        "assert choose_operations(torch.float32) is not PLAIN\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "NUMBA_CACHE_DIR names another folder" in done.stderr


def test_no_warning_where_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compile_operations() is not PLAIN
