"""The VampPrior: the prior is the mixture of the posteriors of K learned pseudo-inputs.

Tomczak & Welling, "VAE with a VampPrior", AISTATS 2018 (arXiv 1705.07120), section 3:

    p(z) = 1/K sum_k q(z|u_k)

Deviation: in the paper the u_k are inputs of the encoder. A sentence has no continuous inputs that
could be learned, so here they are encoder states h_k, and q(z|h_k) comes from the layer that gives
q(z|x). The prior thus shares the posterior's last layer but not the encoder below it. In the linear
model, where h is x itself, this is exactly the VampPrior.
"""

import torch
from torch import Tensor, nn

from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs
from uncollapse.errors import MAX_SIZE, check_integer
from uncollapse.interfaces.posterior import PosteriorHead
from uncollapse.posteriors.mog import MixturePrior

PSEUDO_INPUT_STD = 0.1  # at the start: about that of an untrained encoder's states


class Vamp(PosteriorHead):
    """h [B, hidden] -> MixturePrior [B, latent]; InputError unless components >= 1."""

    def __init__(self, hidden: int, latent: int, components: int):
        super().__init__()
        components = check_integer("components", components, 1, MAX_SIZE)
        self.linear = nn.Linear(hidden, 2 * latent)
        self.pseudo = nn.Parameter(PSEUDO_INPUT_STD * torch.randn(components, hidden))

    def forward(self, h: Tensor) -> MixturePrior:
        q = self.gaussian(h)
        # in the precision of h, so that posterior and prior come from exactly the same function
        pseudo = self.pseudo.to(torch.promote_types(h.dtype, self.pseudo.dtype))
        return MixturePrior(q, self.gaussian(pseudo))

    def gaussian(self, states: Tensor) -> DiagonalGaussian:
        """The layer's Gaussian for encoder states or pseudo-inputs."""
        mean, log_var = outputs(self.linear, states).chunk(2, -1)
        return DiagonalGaussian.from_log_var(mean, log_var, code_dtype(self.linear, states))
