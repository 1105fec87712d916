"""An output layer that cannot ignore z: the outputs for two codes differ by a guaranteed amount.

Wang, Blei & Cunningham, "Posterior Collapse and Latent Variable Non-identifiability", NeurIPS 2021
(arXiv 2301.00537): a posterior collapses exactly when the decoder gives different codes the same
p(x|z), so the decoder is made injective in z (LIDVAE). Kinoshita et al., "Controlling Posterior
Collapse by an Inverse Lipschitz Constraint on the Decoder Network", ICML 2023 (arXiv 2304.12770):
it is made inverse Lipschitz, ||f(z) - f(z')|| >= L ||z - z'||; the larger L, the farther the
posterior is kept from the prior.

    logits = P W h + Q g(z) + b,   P = I - Q Q^T
    g(z) = L z + grad phi(z),      phi(z) = sum_k a_k ln cosh(A_k z + c_k)

Q [V, D] has random orthonormal columns and is fixed; P keeps the LSTM's own logits out of their
span. A, c and a > 0 are learned. phi is convex, so its gradient A^T (a tanh(A z + c)) is monotone.
For codes z, z' with decoder states h, h', after any words,

    ||logits - logits'||^2 = ||P W (h - h')||^2 + ||g(z) - g(z')||^2      as P Q = 0, Q^T Q = I
    ||g(z) - g(z')|| ||z - z'|| >= (g(z) - g(z'))^T (z - z')              by Cauchy-Schwarz
                                >= L ||z - z'||^2                         as grad phi is monotone

so the logits are at least L ||z - z'|| apart at every word, whatever the LSTM learns. The columns
of Q sum to zero, so a constant added to all logits does not change Q^T logits, and the bound holds
for log probabilities too. (For V = D no such columns exist and the bound is one on the outputs.
That is enough for means; logits matter only up to a constant.)

Deviations. LIDVAE's decoder is g2(B g1(.)), gradients of two convex networks around a matrix of
full rank; for sequences g1 reads z and the state of the previous words. Kinoshita et al. add a
multiple of the identity to both maps, and the constants multiply. Here the LSTM and its output
layer stay as they are and one map with one layer is enough, because the sum is orthogonal and
nothing added to Q g(z) can cancel it. Q is not learned: otherwise it turns towards words that
never occur, whose logits change no probability (on the grammar with L = 3: the same nelbo, but a KL
of 0.77 instead of 1.10 nats).

L is measured as in the papers, by the length of the vector of all logits. A unit of z_j moves each
of V logits by about L / sqrt(V), so a larger vocabulary needs a larger L. L constrains the decoder;
the KL that results has no closed form, hence this remedy promises no floor.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncollapse.distributions.precision import wide, without_autocast
from uncollapse.errors import InputError, check_number
from uncollapse.interfaces.decoder import OutputLayer

UNITS_PER_LATENT = 4  # hidden units of phi for each dimension of z


class Lipschitz(OutputLayer):
    """InputError unless inverse_lipschitz (L) > 0 and outputs >= latent."""

    frame: Tensor  # Q [V, D]

    def __init__(self, latent: int, outputs: int, inverse_lipschitz: float):
        super().__init__(latent, outputs)
        self.constant = check_number("inverse_lipschitz", inverse_lipschitz, 0)
        if outputs < latent:
            raise InputError(
                f"inverse_lipschitz={inverse_lipschitz:g}: this decoder has {outputs} outputs at a "
                f"time for {latent} dimensions of the code, and codes can only be kept apart where "
                "there are as many; use a smaller model.latent or another model"
            )
        # a generator of its own, so that all other weights and noise are those of head=plain
        own = torch.Generator().manual_seed(torch.initial_seed() + 1)
        self.register_buffer("frame", make_orthonormal(outputs, latent, own))
        units = UNITS_PER_LATENT * latent
        # A, such that A^T A is about I
        self.slopes = nn.Parameter(torch.randn(units, latent, generator=own) / units**0.5)
        self.shifts = nn.Parameter(torch.zeros(units))  # c
        # softplus(-2) = 0.13: phi starts small, and g close to L z
        self.heights = nn.Parameter(torch.full((units,), -2.0))  # a before the softplus

    def features(self, z: Tensor) -> Tensor:
        """g(z), [..., D] in z's dtype.

        Like `weight` it is computed in float32 even under autocast; otherwise the bound could fail.
        """
        slopes, shifts, heights, code = (
            wide(x) for x in (self.slopes, self.shifts, self.heights, z)
        )
        with without_autocast(z):
            bends = torch.tanh(functional.linear(code, slopes, shifts))
            return (self.constant * code + (functional.softplus(heights) * bends) @ slopes).to(
                z.dtype
            )

    def weight(self, layer: nn.Linear) -> Tensor:
        """[P W, Q]."""
        frame, full = wide(self.frame), wide(layer.weight)
        with without_autocast(full):
            # P W is computed without the matrix P, which would be [V, V]
            return torch.cat([full - frame @ (frame.T @ full), frame], 1).to(layer.weight.dtype)


def make_orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Random orthonormal columns [rows, columns], which sum to zero if rows > columns."""
    # float64, since columns that are not quite orthonormal would weaken the bound
    draws = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    if rows > columns:
        # orthogonal to the vector of ones; QR then stays within that subspace
        draws = draws - draws.mean(0)
    return torch.linalg.qr(draws).Q.to(torch.get_default_dtype())
