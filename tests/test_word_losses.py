"""Losses of words and their gradients, against PyTorch's cross entropy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uncollapse.models import word_losses as module
from uncollapse.models.operations import PLAIN
from uncollapse.models.word_losses import WordLosses, refer, word_losses


def make_case(rows, features, words, dtype, scale=1.0, seed=0):
    """The arguments, and the weights of a loss that is linear in the losses of words."""
    torch.manual_seed(seed)
    shapes = ((rows, features), (words, features), (words,))
    arguments = [(scale * torch.randn(shape)).to(dtype).requires_grad_() for shape in shapes]
    return arguments, torch.randint(words, (rows,)), torch.randn(rows).to(dtype)


def differentiate(losses, arguments, weights):
    return torch.autograd.grad((losses * weights).sum(), arguments, retain_graph=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(1, 70),
    st.sampled_from([1e-3, 1.0, 4.0]),
    st.booleans(),
)
def test_losses_and_gradients_equal_those_of_torch(rows, features, words, scale, single):
    """Within 1e-5 of the largest entry in float32, 1e-10 in float64."""
    dtype, tolerance = (torch.float32, 1e-5) if single else (torch.float64, 1e-10)
    arguments, targets, weights = make_case(rows, features, words, dtype, scale)
    exact = [x.detach().double().requires_grad_() for x in arguments]
    expected = refer(*exact, targets)
    losses = word_losses(*arguments, targets)
    assert losses.dtype == dtype
    np.testing.assert_allclose(
        losses.double().detach(), expected.detach(), rtol=tolerance, atol=tolerance
    )
    found = differentiate(losses, arguments, weights)
    for ours, theirs in zip(found, differentiate(expected, exact, weights.double()), strict=True):
        largest = max(theirs.abs().max().item(), 1.0)
        np.testing.assert_allclose(ours.double(), theirs, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_blocks_change_nothing(dtype, monkeypatch):
    arguments, targets, _ = make_case(11, 4, 30, dtype)
    whole = word_losses(*arguments, targets).detach()
    monkeypatch.setattr(module, "MOST_LOGITS", 90)
    with torch.no_grad():
        blocks = word_losses(*arguments, targets)
    assert not blocks.requires_grad
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(blocks, whole, rtol=tolerance, atol=tolerance)


def test_operations_of_numba_and_torch_agree(monkeypatch):
    arguments, targets, weights = make_case(13, 5, 40, torch.float32)
    ours = word_losses(*arguments, targets)
    found = [ours.detach(), *differentiate(ours, arguments, weights)]
    monkeypatch.setattr(module, "choose_operations", lambda dtype: PLAIN)
    plain = word_losses(*arguments, targets)
    expected = [plain.detach(), *differentiate(plain, arguments, weights)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-6)


def test_the_same_graph_can_be_differentiated_again():
    """The backward pass must not overwrite what the forward pass kept."""
    arguments, targets, weights = make_case(6, 3, 9, torch.float32)
    losses = word_losses(*arguments, targets)
    first = differentiate(losses, arguments, weights)
    for again, before in zip(differentiate(losses, arguments, weights), first, strict=True):
        assert torch.equal(again, before)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1, 2)])
def test_second_derivatives_match_finite_differences(wanted):
    arguments, targets, _ = make_case(3, 2, 4, torch.float64)
    fixed = [x.detach() for x in arguments]

    def compute(*some):
        chosen = dict(zip(wanted, some, strict=True))
        return WordLosses.apply(*(chosen.get(i, fixed[i]) for i in range(3)), targets)

    chosen = [arguments[i] for i in wanted]
    assert torch.autograd.gradcheck(compute, chosen)
    assert torch.autograd.gradgradcheck(compute, chosen)


def test_nan_reaches_the_loss_of_its_word_only():
    arguments, targets, _ = make_case(3, 2, 4, torch.float32)
    with torch.no_grad():
        arguments[0][1] = torch.nan
    assert word_losses(*arguments, targets).isnan().tolist() == [False, True, False]


def test_autocast_uses_torch():
    arguments, targets, _ = make_case(3, 2, 4, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        losses = word_losses(*arguments, targets)
    assert type(losses.grad_fn).__name__ != "WordLossesBackward"
