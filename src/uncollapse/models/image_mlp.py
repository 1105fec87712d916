"""A VAE of fully connected layers for images.

Pixels are independent given z, so single dimensions may collapse, but never all of them.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014 (arXiv 1312.6114), with the two
hidden layers of 200 tanh units of Burda, Grosse & Salakhutdinov, "Importance Weighted
Autoencoders", ICLR 2016 (arXiv 1509.00519), section 5.
"""

from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from uncollapse.data.images import ImageBatch
from uncollapse.decoders import Options
from uncollapse.errors import MAX_SIZE, check_integer
from uncollapse.interfaces.data import Data
from uncollapse.interfaces.model import Limits, MakeHead, Model, ModelConfig
from uncollapse.interfaces.posterior import Posterior
from uncollapse.models.image_values import check_image_values, make_image_likelihood
from uncollapse.models.likelihoods import generate_values


@dataclass
class ImageMLPConfig(ModelConfig):
    """`hidden` is the size of each of the two hidden layers on either side."""

    takes: ClassVar[str] = "images"
    hidden: int
    latent: int
    likelihood: str
    levels: int  # of discretised_logistic

    def build(self, inputs: int, posterior: MakeHead, decoder: Options | None = None) -> "ImageMLP":
        """`posterior` is called with (hidden, latent).

        InputError for a size below 1, an unknown likelihood and for word dropout.
        """
        decoder = decoder or Options()
        decoder.refuse_word_dropout(
            "this decoder reads no pixels that could be dropped; use model=image_pixelcnn"
        )
        for name in ("hidden", "latent"):
            check_integer(f"model.{name}", getattr(self, name), 1, MAX_SIZE)
        return ImageMLP(self, inputs, posterior, decoder)


class ImageMLP(Model):
    """x [B, P]."""

    def __init__(self, cfg: ImageMLPConfig, pixels: int, posterior: MakeHead, decoder: Options):
        super().__init__()
        # what differs between heads is built last, so that all share one initialisation
        self.encoder = make_layers(pixels, cfg.hidden)
        self.decoder = make_layers(cfg.latent, cfg.hidden)
        self.pixels = nn.Linear(cfg.hidden, pixels)
        self.likelihood = make_image_likelihood(cfg.likelihood, pixels, cfg.levels)
        self.posterior = posterior(cfg.hidden, cfg.latent)
        self.output = decoder.output(cfg.latent, pixels)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        generative = (self.decoder, self.pixels, self.likelihood, self.output)
        return {
            "encoder": [*self.encoder.parameters(), *self.posterior.parameters()],
            "decoder": [parameter for module in generative for parameter in module.parameters()],
        }

    def check_data(self, data: Data) -> None:
        check_image_values(self.likelihood, data)

    def encode(self, batch: ImageBatch) -> Posterior:
        return self.posterior(self.encoder(center_pixels(batch.x)))

    def nll(self, batch: ImageBatch, z: Tensor) -> Tensor:
        loss: Tensor = self.likelihood(self.outputs(z), batch.x)
        return loss

    def outputs(self, z: Tensor) -> Tensor:
        """z [..., D] -> logits or means [..., P]."""
        return self.output(self.pixels, self.decoder(z), self.output.features(z))

    @torch.no_grad()
    def generate(
        self,
        z: Tensor,
        greedy: bool = False,
        generator: torch.Generator | None = None,
        **limits: Unpack[Limits],
    ) -> Tensor:
        """Images [N, P]: values drawn or, if greedy, the most likely value of each."""
        return generate_values(self.likelihood, self.outputs(z), greedy, generator, limits)


def make_layers(inputs: int, hidden: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())


def center_pixels(x: Tensor) -> Tensor:
    """Values from 0 to 1 as -1 to 1; 0 is then free to mark a dropped pixel."""
    return 2 * x - 1
