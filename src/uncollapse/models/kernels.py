"""Element-wise operations on a processor, compiled by numba for float32: LSTM steps, softmax.

Gates are in PyTorch's order i, f, g, o (Hochreiter & Schmidhuber 1997; Gers et al. 2000):

    c_t = s(i) tanh(g) + s(f) c_{t-1},    h_t = s(o) tanh(c_t)

Without a library of Intel's numba calls tanh one number at a time. Here it is a quotient of
polynomials, which the compiler vectorises: in [-9, 9], outside of which tanh is 1 to float32, the
exact quotient has a relative error of 3e-8 (found by reweighted least squares), and with rounding
4e-7. Likewise exp(x), x <= 0, is 2^n times a polynomial of r = x - n ln 2, whose relative error is
2e-8 in |r| <= ln 2 / 2 (again by least squares), and with rounding 2e-7. Below -87, where exp is
less than 2e-38, it is exp(-87).
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import float32, njit

LARGEST = float32(9.0)
# coefficients of x, x^3 ... x^9, and of 1, x^2 ... x^8
UPPER = (0.99999998, 0.133810675, 0.00349563589, 2.06098027e-05, 1.33555675e-08)
LOWER = (1.0, 0.467143832, 0.0258771687, 0.000328570993, 7.77694674e-07)
U0, U1, U2, U3, U4 = map(float32, UPPER)
L0, L1, L2, L3, L4 = map(float32, LOWER)
HALF, ONE = float32(0.5), float32(1.0)
# coefficients of 1, r ... r^6
EXP = (1.0, 1.0, 0.4999999, 0.1666642, 0.041668233, 0.008374899, 0.0013836742)
E0, E1, E2, E3, E4, E5, E6 = map(float32, EXP)
LEAST, LOG2_E = float32(-87.0), float32(1.44269504)
# ln 2 in two parts; the product of the first with a small integer is exact
LN2_HIGH, LN2_LOW = float32(0.693359375), float32(-2.12194440e-4)
# fused multiplications are allowed, but nothing that loses a NaN. The error model of NumPy divides
# by 0 without a test, which would prevent vectorisation
OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}
inlined = njit(**OPTIONS, inline="always")


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """The compiled function, kept on disk for later processes where a folder can be written."""
    try:
        return njit(**OPTIONS, cache=True)(function)
    except RuntimeError:
        warnings.warn(
            "compiled operations cannot be kept, as no cache folder can be written; each run "
            "compiles them again, which takes seconds. NUMBA_CACHE_DIR names another folder",
            stacklevel=3,
        )
        return njit(**OPTIONS)(function)


@inlined
def tanh(x):  # type: ignore[no-untyped-def]
    """One number; NaN stays NaN, as it fails both comparisons."""
    if x > LARGEST:
        x = LARGEST
    if x < -LARGEST:
        x = -LARGEST
    u = x * x
    upper = (((U4 * u + U3) * u + U2) * u + U1) * u + U0
    lower = (((L4 * u + L3) * u + L2) * u + L1) * u + L0
    return x * upper / lower


@inlined
def sigmoid(x):  # type: ignore[no-untyped-def]
    """One number."""
    return HALF + HALF * tanh(HALF * x)


@compiled
def advance(gates, start, count, cells_before, before, cells, tanh_cells, outputs):  # type: ignore[no-untyped-def]
    """One step of rows start ... start + count of the float32 arrays gates [N, 4H] and others.

    gates are replaced by their activations; the row of cells_before [., H] for the first of them is
    `before`; cells, tanh_cells and outputs [N, H] are written.
    """
    width = cells.shape[1]
    # short loops over views of one row each, as the compiler vectorises only these
    for row in range(count):
        gate = gates[start + row]
        i, f = gate[:width], gate[width : 2 * width]
        g, o = gate[2 * width : 3 * width], gate[3 * width :]
        c_before, c = cells_before[before + row], cells[start + row]
        tanh_c, h = tanh_cells[start + row], outputs[start + row]
        for k in range(width):
            i[k] = sigmoid(i[k])
        for k in range(width):
            f[k] = sigmoid(f[k])
        for k in range(width):
            g[k] = tanh(g[k])
        for k in range(width):
            o[k] = sigmoid(o[k])
        for k in range(width):
            c[k] = f[k] * c_before[k] + i[k] * g[k]
        for k in range(width):
            tanh_c[k] = tanh(c[k])
        for k in range(width):
            h[k] = o[k] * tanh_c[k]


@compiled
def retreat(gates, start, count, cells_before, before, tanh_cells, grad_h, grad_c, grad_gates):  # type: ignore[no-untyped-def]
    """The gradients of `advance` by the gates before activation and by cells_before.

    grad_h [N, H]: by the outputs; grad_c [B, H]: by the cells, replaced by that of the step
    before; grad_gates [N, 4H] is written.
    """
    width = tanh_cells.shape[1]
    for row in range(count):
        gate, c_before, tanh_c = (
            gates[start + row],
            cells_before[before + row],
            tanh_cells[start + row],
        )
        d_h, d_c, d_gate = grad_h[start + row], grad_c[row], grad_gates[start + row]
        for k in range(width):
            i, f, g, o = gate[k], gate[width + k], gate[2 * width + k], gate[3 * width + k]
            d = d_c[k] + d_h[k] * o * (ONE - tanh_c[k] * tanh_c[k])
            d_gate[3 * width + k] = d_h[k] * tanh_c[k] * o * (ONE - o)
            d_gate[k] = d * g * i * (ONE - i)
            d_gate[width + k] = d * c_before[k] * f * (ONE - f)
            d_gate[2 * width + k] = d * i * (ONE - g * g)
            d_c[k] = d * f


# without an order of its own a sum is vectorised; elsewhere the order matters to rounding
@njit(fastmath={"contract", "reassoc"}, error_model="numpy")
def add_up(x):  # type: ignore[no-untyped-def]
    """The sum of a row."""
    total = float32(0.0)
    for k in range(x.size):
        total += x[k]
    return total


@compiled
def score(logits, largest, targets, losses):  # type: ignore[no-untyped-def]
    """Write -log p of the target words, and replace the logits by its gradients, p - one_hot.

    logits [N, V] and losses [N] are float32, targets [N] integers; largest [N]: each row's maximum.
    """
    count, width = logits.shape
    exponents = np.empty(width, np.int32)
    powers = exponents.view(np.float32)  # 2^n, as n + 127 is where float32 keeps the exponent
    for row in range(count):
        x, top, target = logits[row], largest[row], targets[row]
        of_target = x[target] - top
        for k in range(width):
            y = x[k] - top
            y = LEAST if y < LEAST else y
            n = np.floor(y * LOG2_E + HALF)
            exponents[k] = (np.int32(n) + np.int32(127)) << np.int32(23)
            r = (y - n * LN2_HIGH) - n * LN2_LOW
            x[k] = (((((E6 * r + E5) * r + E4) * r + E3) * r + E2) * r + E1) * r + E0
        for k in range(width):
            x[k] *= powers[k]
        total = add_up(x)
        losses[row] = np.log(total) - of_target
        share = ONE / total
        for k in range(width):
            x[k] *= share
        x[target] -= ONE
