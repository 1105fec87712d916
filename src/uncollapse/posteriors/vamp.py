"""The VampPrior: the prior is the mixture of the posteriors of K pseudo-inputs, which are learned.

Tomczak & Welling, "VAE with a VampPrior", AISTATS 2018 (arXiv 1705.07120), section 3:
    p(z) = 1/K sum_k q(z|u_k).
A head sees the encoder's last state h, and a sentence has no continuous inputs that could be learned. So the pseudo-inputs here are
states h_k, and q(z|h_k) comes from the very layer that gives q(z|x): the prior shares the posterior's last layer, not the encoder
below it as in the paper. With the linear model h is x itself, and this is the VampPrior exactly.
"""

import torch
from torch import Tensor, nn

from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs
from uncollapse.errors import MOST_SIZE, check_integer
from uncollapse.posteriors.mog import MixturePrior

SPREAD = 0.1  # of the pseudo-inputs at the start: about that of an untrained encoder's states


class Vamp(nn.Module):
    """h [B, hidden] -> MixturePrior [B, latent]; InputError unless components is a whole number of at least 1."""

    def __init__(self, hidden: int, latent: int, components: int):
        super().__init__()
        components = check_integer("components", components, 1, MOST_SIZE)
        self.linear = nn.Linear(hidden, 2 * latent)
        self.pseudo = nn.Parameter(SPREAD * torch.randn(components, hidden))

    def forward(self, h: Tensor) -> MixturePrior:
        q = self.gaussian(h)
        # in the precision of h, so that both come from the very same function
        pseudo = self.pseudo.to(torch.promote_types(h.dtype, self.pseudo.dtype))
        return MixturePrior(q, self.gaussian(pseudo))

    def gaussian(self, states: Tensor) -> DiagonalGaussian:
        """What the layer gives for encoder states or pseudo-inputs."""
        mean, log_var = outputs(self.linear, states).chunk(2, -1)
        return DiagonalGaussian.from_log_var(mean, log_var, code_dtype(self.linear, states))
