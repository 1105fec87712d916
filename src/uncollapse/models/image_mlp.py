"""A VAE of fully connected layers for binary images: pixels are independent given z, so only dimensions collapse, not the whole code.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014 (arXiv 1312.6114), with the two hidden layers of 200 tanh units of Burda,
Grosse & Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016 (arXiv 1509.00519), section 5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uncollapse.data.images import ImageBatch, bernoulli_nll
from uncollapse.decoders import Options
from uncollapse.distributions.normal import Posterior
from uncollapse.errors import MOST_SIZE, InputError, check_integer


@dataclass
class ImageMLPConfig:
    """Units of each of the two hidden layers, on either side, and latent dimensions."""

    takes: ClassVar[str] = "images"
    hidden: int
    latent: int

    def build(
        self,
        pixels: int,
        posterior: Callable[[int, int], nn.Module],
        decoder: Options | None = None,
    ) -> "ImageMLP":
        """`posterior` (hidden, latent) -> head. InputError for a size below 1, and for word dropout."""
        decoder = decoder or Options()
        if decoder.word_dropout > 0:
            raise InputError(
                f"word_dropout={decoder.word_dropout}: this decoder reads no pixels that could be dropped; use model=image_pixelcnn"
            )
        for name in ("hidden", "latent"):
            check_integer(f"model.{name}", getattr(self, name), 1, MOST_SIZE)
        return ImageMLP(self, pixels, posterior, decoder)


class ImageMLP(nn.Module):
    """Verbs: encode(batch) -> Posterior; nll(batch, z [B, D] | [n, B, D]) -> [B] | [n, B] nats."""

    output: Any  # an output layer, see decoders.plain

    def __init__(
        self,
        cfg: ImageMLPConfig,
        pixels: int,
        posterior: Callable[[int, int], nn.Module],
        decoder: Options,
    ):
        super().__init__()
        # what heads differ in is built last, so all share one initialisation
        self.encoder = layers(pixels, cfg.hidden)
        self.decoder = layers(cfg.latent, cfg.hidden)
        self.pixels = nn.Linear(cfg.hidden, pixels)
        self.posterior = posterior(cfg.hidden, cfg.latent)
        self.output = decoder.output(cfg.latent, pixels)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of the inference side and of the generative side."""
        generative = (self.decoder, self.pixels, self.output)
        return {
            "encoder": [*self.encoder.parameters(), *self.posterior.parameters()],
            "decoder": [parameter for part in generative for parameter in part.parameters()],
        }

    def encode(self, batch: ImageBatch) -> Posterior:
        return self.posterior(self.encoder(centred(batch.x)))

    def nll(self, batch: ImageBatch, z: Tensor) -> Tensor:
        return bernoulli_nll(batch.x, self.logits(z))

    def logits(self, z: Tensor) -> Tensor:
        """z [..., D] -> [..., P]."""
        return self.output(self.pixels, self.decoder(z), self.output.features(z))

    @torch.no_grad()
    def generate(
        self, z: Tensor, greedy: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """An image of 0 and 1 for each code z [N, D], [N, P]: pixels drawn or, if greedy, the likelier value of each."""
        return paint(self.logits(z), greedy, generator)


def paint(logits: Tensor, greedy: bool, generator: torch.Generator | None) -> Tensor:
    """Pixels of 0 and 1 from their logits, the same shape."""
    return (
        (logits > 0).to(logits.dtype)
        if greedy
        else torch.bernoulli(torch.sigmoid(logits), generator=generator)
    )


def layers(inputs: int, hidden: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())


def centred(x: Tensor) -> Tensor:
    """Pixels of 0 and 1 as -1 and 1: then 0 says nothing."""
    return 2 * x - 1
