"""The plain posterior: N(mu(x), diag sigma^2(x)), mu and ln sigma^2 linear in the encoder's state.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014, section 3 and appendix C.2.
"""

from torch import Tensor, nn

from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs
from uncollapse.interfaces.posterior import PosteriorHead


class Gaussian(PosteriorHead):
    """h [B, hidden] -> DiagonalGaussian [B, latent]."""

    def __init__(self, hidden: int, latent: int):
        super().__init__()
        self.linear = nn.Linear(hidden, 2 * latent)

    def forward(self, h: Tensor) -> DiagonalGaussian:
        mean, log_var = outputs(self.linear, h).chunk(2, -1)
        return DiagonalGaussian.from_log_var(mean, log_var, code_dtype(self.linear, h))
