"""LSTM steps without padding, and their gradients, against PyTorch's LSTM."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from uncollapse.models import lstm_sequence
from uncollapse.models.lstm_sequence import Steps, run_lstm
from uncollapse.models.operations import PLAIN, choose_operations

some_sizes = st.lists(st.integers(1, 9), min_size=1, max_size=8).map(
    lambda sizes: tuple(sorted(sizes, reverse=True))
)


def make_case(sizes, width, dtype, scale=1.0, seed=0):
    """An LSTM, its arguments, and the weights of a loss that is linear in the outputs."""
    torch.manual_seed(seed)
    lstm = nn.LSTM(3, width).to(dtype)
    with torch.no_grad():
        for weight in lstm.parameters():
            weight.mul_(scale)
    tensors = (torch.randn(sum(sizes), 3), torch.randn(sizes[0], width).tanh())
    cells = torch.randn(sizes[0], width)
    arguments = [x.to(dtype).requires_grad_() for x in (*tensors, cells)]
    return lstm, arguments, torch.randn(sum(sizes), width).to(dtype)


def differentiate(outputs, lstm, arguments, weights):
    """Gradients of the weighted sum of the outputs by all arguments and weights, in float64."""
    wanted = [*arguments, *lstm.parameters()]
    gradients = torch.autograd.grad((outputs * weights).sum(), wanted, retain_graph=True)
    return [g.double().numpy() for g in gradients]


def run_torch(lstm, sizes, inputs, h, c):
    packed = PackedSequence(inputs, torch.tensor(sizes))
    return lstm(packed, (h[None], c[None]))[0].data


@settings(max_examples=60, deadline=None, derandomize=True)
@given(some_sizes, st.integers(1, 20), st.sampled_from([1e-3, 1.0, 3.0]), st.booleans())
@example((1,), 1, 1.0, True)
@example((4, 4, 4), 17, 3.0, True)
def test_outputs_and_gradients_equal_those_of_torch(sizes, width, scale, single):
    """Within 1e-5 of the largest entry in float32, 1e-10 in float64."""
    dtype, tolerance = (torch.float32, 1e-5) if single else (torch.float64, 1e-10)
    lstm, arguments, weights = make_case(sizes, width, dtype, scale)
    # the reference is exact, so that only our rounding counts
    exact = nn.LSTM(3, width).double()
    exact.load_state_dict(lstm.double().state_dict())
    expected_arguments = [x.detach().double().requires_grad_() for x in arguments]
    expected = run_torch(exact, sizes, *expected_arguments)
    lstm.to(dtype)
    inputs, h, c = arguments
    ours = run_lstm(lstm, inputs, sizes, h, c)
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours.double().detach(), expected.detach(), atol=tolerance)
    for found, wanted in zip(
        differentiate(ours, lstm, arguments, weights),
        differentiate(expected, exact, expected_arguments, weights.double()),
        strict=True,
    ):
        largest = max(abs(wanted).max(), 1.0)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * largest)


def test_operations_of_numba_and_torch_agree(monkeypatch):
    assert choose_operations(torch.float32) is not PLAIN
    lstm, (inputs, h, c), weights = make_case((5, 5, 3, 1), 7, torch.float32)
    results = []
    for operations in (choose_operations(torch.float32), PLAIN):
        monkeypatch.setattr(lstm_sequence, "choose_operations", lambda dtype, o=operations: o)
        outputs = run_lstm(lstm, inputs, (5, 5, 3, 1), h, c)
        results.append([outputs.detach(), *differentiate(outputs, lstm, [inputs, h, c], weights)])
    for compiled, plain in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_graph_can_be_differentiated_again(dtype):
    """The backward pass must not overwrite what the forward pass kept."""
    lstm, arguments, weights = make_case((3, 2, 2), 4, dtype)
    inputs, h, c = arguments
    outputs = run_lstm(lstm, inputs, (3, 2, 2), h, c)
    first = differentiate(outputs, lstm, arguments, weights)
    for again, before in zip(differentiate(outputs, lstm, arguments, weights), first, strict=True):
        np.testing.assert_array_equal(again, before)


def test_results_repeat_bit_for_bit():
    found = []
    for _ in range(2):
        lstm, arguments, weights = make_case((6, 4, 4, 1), 33, torch.float32)
        inputs, h, c = arguments
        outputs = run_lstm(lstm, inputs, (6, 4, 4, 1), h, c)
        found.append([outputs.detach(), *differentiate(outputs, lstm, arguments, weights)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_reaches_the_outputs_of_its_sentence_only(dtype):
    lstm, (inputs, h, c), weights = make_case((2, 2), 4, dtype)
    with torch.no_grad():
        inputs[0] = torch.nan
    outputs = run_lstm(lstm, inputs, (2, 2), h, c)
    assert outputs[[0, 2]].isnan().all() and outputs[[1, 3]].isfinite().all()
    by_inputs, *_ = differentiate(outputs, lstm, [inputs, h, c], weights)
    assert np.isnan(by_inputs[[0, 2]]).any() and np.isfinite(by_inputs[[1, 3]]).all()


def test_second_derivatives_match_finite_differences():
    lstm, arguments, _ = make_case((2, 1), 2, torch.float64)

    def compute(*tensors):
        return Steps.apply((2, 1), *tensors)

    everything = [*arguments, *lstm.parameters()]
    assert torch.autograd.gradcheck(compute, everything)
    assert torch.autograd.gradgradcheck(compute, everything)
    # by some of them only
    constant = [x.detach() for x in everything[1:]]
    assert torch.autograd.gradgradcheck(lambda x: compute(x, *constant), everything[:1])
