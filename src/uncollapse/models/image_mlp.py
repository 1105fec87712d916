"""A VAE of fully connected layers for binary images.

Pixels are independent given z, so single dimensions may collapse, but never all of them.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014 (arXiv 1312.6114), with the two
hidden layers of 200 tanh units of Burda, Grosse & Salakhutdinov, "Importance Weighted
Autoencoders", ICLR 2016 (arXiv 1509.00519), section 5.
"""

from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from uncollapse.data.images import ImageBatch, bernoulli_nll
from uncollapse.decoders import Options
from uncollapse.errors import MAX_SIZE, check_integer
from uncollapse.interfaces.model import Limits, MakeHead, Model, ModelConfig
from uncollapse.interfaces.posterior import Posterior


@dataclass
class ImageMLPConfig(ModelConfig):
    """`hidden` is the size of each of the two hidden layers on either side."""

    takes: ClassVar[str] = "images"
    hidden: int
    latent: int

    def build(self, inputs: int, posterior: MakeHead, decoder: Options | None = None) -> "ImageMLP":
        """`posterior` is called with (hidden, latent).

        InputError for a size below 1 and for word dropout.
        """
        decoder = decoder or Options()
        decoder.refuse_word_dropout(
            "this decoder reads no pixels that could be dropped; use model=image_pixelcnn"
        )
        for name in ("hidden", "latent"):
            check_integer(f"model.{name}", getattr(self, name), 1, MAX_SIZE)
        return ImageMLP(self, inputs, posterior, decoder)


class ImageMLP(Model):
    """x [B, P] of 0 and 1."""

    def __init__(self, cfg: ImageMLPConfig, pixels: int, posterior: MakeHead, decoder: Options):
        super().__init__()
        # what differs between heads is built last, so that all share one initialisation
        self.encoder = make_layers(pixels, cfg.hidden)
        self.decoder = make_layers(cfg.latent, cfg.hidden)
        self.pixels = nn.Linear(cfg.hidden, pixels)
        self.posterior = posterior(cfg.hidden, cfg.latent)
        self.output = decoder.output(cfg.latent, pixels)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        generative = (self.decoder, self.pixels, self.output)
        return {
            "encoder": [*self.encoder.parameters(), *self.posterior.parameters()],
            "decoder": [parameter for module in generative for parameter in module.parameters()],
        }

    def encode(self, batch: ImageBatch) -> Posterior:
        return self.posterior(self.encoder(center_pixels(batch.x)))

    def nll(self, batch: ImageBatch, z: Tensor) -> Tensor:
        return bernoulli_nll(batch.x, self.logits(z))

    def logits(self, z: Tensor) -> Tensor:
        """z [..., D] -> [..., P]."""
        return self.output(self.pixels, self.decoder(z), self.output.features(z))

    @torch.no_grad()
    def generate(
        self,
        z: Tensor,
        greedy: bool = False,
        generator: torch.Generator | None = None,
        **limits: Unpack[Limits],
    ) -> Tensor:
        """Images of 0 and 1 [N, P]: pixels drawn or, if greedy, the more likely value of each."""
        return draw_pixels(self.logits(z), greedy, generator, limits.get("temperature", 1.0))


def draw_pixels(
    logits: Tensor, greedy: bool, generator: torch.Generator | None, temperature: float = 1.0
) -> Tensor:
    """Pixels of 0 and 1 in the shape of their logits, drawn at a temperature > 0 or greedily."""
    # a logit above 0 is a probability above 1/2
    if greedy:
        return (logits > 0).to(logits.dtype)
    return torch.bernoulli(torch.sigmoid(logits / temperature), generator=generator)


def make_layers(inputs: int, hidden: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())


def center_pixels(x: Tensor) -> Tensor:
    """Pixels of 0 and 1 as -1 and 1; 0 is then free to mark a dropped pixel."""
    return 2 * x - 1
