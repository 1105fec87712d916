"""FILL IN: how it changes the posterior, in one sentence.

FILL IN: authors, "title", venue and year (arXiv number), section, equations.
    mu = a,   sigma = width exp(b / 2),   (a, b) linear in the encoder's state
width 1 is the plain posterior.
FILL IN: deviations from the paper, and why; what it guarantees, and under which conditions.
"""

import math

from torch import Tensor, nn

from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs
from uncollapse.errors import check_number
from uncollapse.interfaces.posterior import PosteriorHead


class MyPosterior(PosteriorHead):
    """DiagonalGaussian [B, latent] of states [B, hidden]; InputError unless width > 0."""

    def __init__(self, hidden: int, latent: int, width: float):
        super().__init__()
        self.width = check_number("width", width, 0)
        # made before all other weights, so that every head starts from the same ones
        self.linear = nn.Linear(hidden, 2 * latent)

    def forward(self, h: Tensor) -> DiagonalGaussian:
        mean, log_var = outputs(self.linear, h).chunk(2, -1)
        log_var = log_var + 2 * math.log(self.width)
        return DiagonalGaussian.from_log_var(mean, log_var, code_dtype(self.linear, h))
