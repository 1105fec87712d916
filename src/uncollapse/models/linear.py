"""The linear VAE, probabilistic PCA with an amortised posterior. Its optimum has a closed form.

Tipping & Bishop, "Probabilistic Principal Component Analysis", JRSS B 1999; Dai et al.,
"Connections with Robust PCA and the Role of Emergent Sparsity in Variational Autoencoder Models",
JMLR 2018; Lucas et al., "Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse",
NeurIPS 2019 (arXiv 1911.02469), sections 3 and 4.

    p(z) = N(0, I),   p(x|z) = N(W z + b, s2 I) with s2 fixed,   hence p(x) = N(b, W W^T + s2 I)

Let the data have mean m and covariance Sigma with eigenvalues lambda_j. At the minimum of rec +
weight KL, b = m and each latent dimension lies on a principal axis of its own, the largest first,
up to sign and order. On one axis, let x be the coordinate (variance lambda), w the decoder's weight
and q(z|x) = N(a x, v) the posterior. Then

    E rec = [(1 - w a)^2 lambda + w^2 v] / (2 s2) + 1/2 ln(2 pi s2)
    E KL = 1/2 [a^2 lambda + v - ln v - 1]

For given w the best posterior has a = w / (w^2 + weight s2) and v = weight s2 / (w^2 + weight s2).
That is the true posterior of a model with variance weight s2 in place of s2. With it, rec / weight
+ KL is, up to a constant, -log p of that model, so by Tipping & Bishop

    w^2 = lambda - weight s2,   v = weight s2 / lambda
    E mu^2 = (lambda - weight s2) / lambda,   KL = 1/2 ln(lambda / (weight s2))

where lambda > weight s2. Elsewhere w = 0, v = 1, KL = 0: the dimension collapses. An active axis
has E rec = weight / 2 and any other lambda / (2 s2), each plus 1/2 ln(2 pi s2). As E mu^2 + v = 1,
the aggregate posterior of Gaussian data is the prior, so I(x; z) is the KL. Decoding from the
code of another example costs w^2 / s2 more on each axis, which is the shuffled-z gap.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal

from uncollapse.data.vectors import VectorBatch
from uncollapse.decoders import Options
from uncollapse.errors import MAX_SIZE, check_integer, check_number
from uncollapse.interfaces.model import MakeHead, Model, ModelConfig
from uncollapse.interfaces.posterior import Posterior


@dataclass
class LinearConfig(ModelConfig):
    """Sizes and the decoder's variance."""

    takes: ClassVar[str] = "vectors"
    latent: int
    variance: float  # s2, fixed

    def build(
        self, inputs: int, posterior: MakeHead, decoder: Options | None = None
    ) -> "LinearVAE":
        """`posterior` is called with (inputs, latent).

        InputError unless latent >= 1 and variance > 0, and for word dropout.
        """
        decoder = decoder or Options()
        decoder.refuse_word_dropout(
            "the linear decoder reads no words that could be dropped; use model=lstm"
        )
        check_integer("model.latent", self.latent, 1, MAX_SIZE)
        check_number("model.variance", self.variance, 0)
        return LinearVAE(self, inputs, posterior, decoder)


class LinearVAE(Model):
    """x [B, P]. The head is the complete encoder."""

    decoder: nn.Linear

    def __init__(self, cfg: LinearConfig, inputs: int, posterior: MakeHead, decoder: Options):
        super().__init__()
        # what differs between heads is built last, so that all share one initialisation
        self.variance = cfg.variance
        self.decoder = nn.Linear(cfg.latent, inputs)
        self.posterior = posterior(inputs, cfg.latent)
        self.output = decoder.output(cfg.latent, inputs)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {
            "encoder": [*self.posterior.parameters()],
            "decoder": [*self.decoder.parameters(), *self.output.parameters()],
        }

    def encode(self, batch: VectorBatch) -> Posterior:
        return self.posterior(batch.x)

    def nll(self, batch: VectorBatch, z: Tensor) -> Tensor:
        """-log N(x; W z + b, variance I)."""
        mean = self.output(self.decoder, z, self.output.features(z))
        distance = (batch.x - mean).square() / self.variance
        return 0.5 * (distance + math.log(2 * math.pi * self.variance)).sum(-1)


# ---------------------------------------------------------------- the optimum in closed form


def optimal_rates(
    eigenvalues: ArrayLike, variance: float, weight: float = 1.0, latent: int | None = None
) -> np.ndarray:
    """KL of each of `latent` dimensions at the optimum for a KL weight > 0, descending, in nats.

    1/2 ln(lambda_j / (weight variance)), and 0 where lambda_j <= weight variance. Without `latent`
    there are as many dimensions as eigenvalues.
    """
    active = active_axes(eigenvalues, variance, weight, latent)
    kl = 0.5 * np.log(active / (weight * variance))
    count = np.size(eigenvalues) if latent is None else latent
    # dimensions without an active axis collapse to KL 0
    return np.pad(kl, (0, count - len(kl)))


def optimal_elbo(
    eigenvalues: ArrayLike, variance: float, weight: float = 1.0, latent: int | None = None
) -> float:
    """The ELBO (with the KL at weight 1) at the optimum for a KL weight, in nats per example.

    At weight 1 it is E log p(x) of the best model.
    """
    eigenvalues = np.asarray(eigenvalues, dtype=np.float64)
    active = active_axes(eigenvalues, variance, weight, latent)
    others = eigenvalues.sum() - active.sum()
    constant = len(eigenvalues) * math.log(2 * math.pi * variance)
    # weight / 2 for each active axis, lambda / (2 s2) for every other one
    rec = 0.5 * (weight * len(active) + others / variance + constant)
    return -float(rec + optimal_rates(eigenvalues, variance, weight, latent).sum())


def active_axes(
    eigenvalues: ArrayLike, variance: float, weight: float, latent: int | None
) -> np.ndarray:
    """The eigenvalues, in descending order, whose axes get a dimension that does not collapse."""
    # at most `latent` axes can be active
    largest = np.sort(np.asarray(eigenvalues, dtype=np.float64))[::-1][:latent]
    return largest[largest > weight * variance]


def log_likelihood(weight: Tensor, bias: Tensor, variance: float, x: Tensor) -> Tensor:
    """The model's own log p(x) = log N(x; bias, W W^T + variance I).

    weight W [P, D], bias [P], x [N, P] -> [N] float64 nats.
    """
    noise = torch.full_like(bias, variance, dtype=torch.float64)
    return LowRankMultivariateNormal(bias.double(), weight.double(), noise).log_prob(x.double())
