"""A VAE of fully connected layers for vectors, with a likelihood of choice.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014 (arXiv 1312.6114), appendix C, with
two hidden layers of tanh units on either side as in `image_mlp`.
"""

from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from uncollapse.data.vectors import VectorBatch, VectorData
from uncollapse.decoders import Options
from uncollapse.errors import MAX_SIZE, check_choice, check_integer
from uncollapse.interfaces.data import Data
from uncollapse.interfaces.model import Limits, MakeHead, Model, ModelConfig
from uncollapse.interfaces.posterior import Posterior
from uncollapse.models.image_mlp import make_layers
from uncollapse.models.likelihoods import LIKELIHOODS, generate_values


@dataclass
class MLPConfig(ModelConfig):
    """`hidden` is the size of each of the two hidden layers on either side."""

    takes: ClassVar[str] = "vectors"
    hidden: int
    latent: int
    likelihood: str
    variance: float  # of gaussian; elsewhere what a learned scale starts from
    levels: int  # of discretised_logistic

    def build(self, inputs: int, posterior: MakeHead, decoder: Options | None = None) -> "MLP":
        """`posterior` is called with (hidden, latent).

        InputError for a size below 1, an unknown likelihood, and for word dropout.
        """
        decoder = decoder or Options()
        decoder.refuse_word_dropout(
            "this decoder reads no words that could be dropped; use model=lstm"
        )
        for name in ("hidden", "latent"):
            check_integer(f"model.{name}", getattr(self, name), 1, MAX_SIZE)
        check_choice("model.likelihood", self.likelihood, LIKELIHOODS)
        return MLP(self, inputs, posterior, decoder)


class MLP(Model):
    """x [B, P]."""

    def __init__(self, cfg: MLPConfig, inputs: int, posterior: MakeHead, decoder: Options):
        super().__init__()
        # what differs between heads is built last, so that all share one initialisation
        self.encoder = make_layers(inputs, cfg.hidden)
        self.decoder = make_layers(cfg.latent, cfg.hidden)
        self.values = nn.Linear(cfg.hidden, inputs)
        self.likelihood = LIKELIHOODS[cfg.likelihood](inputs, cfg.variance, cfg.levels)
        self.posterior = posterior(cfg.hidden, cfg.latent)
        self.output = decoder.output(cfg.latent, inputs)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        generative = (self.decoder, self.values, self.likelihood, self.output)
        return {
            "encoder": [*self.encoder.parameters(), *self.posterior.parameters()],
            "decoder": [parameter for module in generative for parameter in module.parameters()],
        }

    def check_data(self, data: Data) -> None:
        if isinstance(data, VectorData):
            for x in data.vectors.values():
                self.likelihood.check(x)

    def encode(self, batch: VectorBatch) -> Posterior:
        return self.posterior(self.encoder(self.likelihood.scale_inputs(batch.x)))

    def nll(self, batch: VectorBatch, z: Tensor) -> Tensor:
        loss: Tensor = self.likelihood(self.outputs(z), batch.x)
        return loss

    def outputs(self, z: Tensor) -> Tensor:
        """z [..., D] -> what the likelihood reads, [..., P]."""
        return self.output(self.values, self.decoder(z), self.output.features(z))

    @torch.no_grad()
    def generate(
        self,
        z: Tensor,
        greedy: bool = False,
        generator: torch.Generator | None = None,
        **limits: Unpack[Limits],
    ) -> Tensor:
        """Vectors [N, P]: entries drawn or, if greedy, the most likely value of each."""
        return generate_values(self.likelihood, self.outputs(z), greedy, generator, limits)
