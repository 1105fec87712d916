"""A VAE for binary images whose decoder is strong enough to ignore z: ResNet encoder, gated PixelCNN decoder.

The pairing of He et al., "Lagging Inference Networks and Posterior Collapse in Variational Autoencoders", ICLR 2019 (arXiv 1901.05534),
and before it of Gulrajani et al., "PixelVAE", ICLR 2017 (arXiv 1611.05013): z is mapped to an image of a few channels, laid beside the
pixels before. Decoder: van den Oord et al., "Conditional Image Generation with PixelCNN Decoders", NeurIPS 2016
(arXiv 1606.05328), section 2 and figure 2: a vertical stack sees the rows above, a horizontal stack the pixels to the left, so that no
pixel before is out of sight. Encoder: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016.

Deviations. Sizes are those of a CPU, not the 13 layers of 64 channels of the papers. Convolutions are cut and shifted instead of masked,
which computes nothing that a mask would throw away. The encoder normalises over groups of channels (Wu & He 2018) and not over the batch:
batch norm there would couple the examples of a batch under every head, and only some heads are meant to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncollapse.data.images import ImageBatch
from uncollapse.decoders import Options
from uncollapse.distributions.normal import Posterior
from uncollapse.errors import MOST_DEPTH, MOST_SIZE, InputError, check_integer
from uncollapse.models.image_mlp import centred, paint


@dataclass
class ImagePixelCNNConfig:
    """Channels and layers of the decoder, width of its kernels (odd), channels that z is mapped to, the encoder's channels and code."""

    takes: ClassVar[str] = "images"
    latent: int
    hidden: int
    channels: int
    layers: int
    kernel: int
    z_channels: int

    def build(
        self,
        pixels: int,
        posterior: Callable[[int, int], nn.Module],
        decoder: Options | None = None,
    ) -> "ImagePixelCNN":
        """`posterior` (hidden, latent) -> head. InputError for a size below 1, an even kernel, and images that are not square."""
        for name in ("latent", "hidden", "channels", "z_channels"):
            check_integer(f"model.{name}", getattr(self, name), 1, MOST_SIZE)
        for name in ("layers", "kernel"):
            check_integer(f"model.{name}", getattr(self, name), 1, MOST_DEPTH)
        if self.kernel % 2 == 0:
            raise InputError(
                f"model.kernel={self.kernel}: allowed are odd numbers, so that a kernel has a middle"
            )
        if isqrt(pixels) ** 2 != pixels:
            raise InputError(f"{pixels} pixels an image: model=image_pixelcnn takes square images")
        return ImagePixelCNN(self, isqrt(pixels), posterior, decoder or Options())


class ImagePixelCNN(nn.Module):
    """Verbs: encode(batch) -> Posterior; nll(batch, z [B, D] | [n, B, D]) -> [B] | [n, B] nats."""

    def __init__(
        self,
        cfg: ImagePixelCNNConfig,
        side: int,
        posterior: Callable[[int, int], nn.Module],
        decoder: Options,
    ):
        super().__init__()
        # what heads differ in is built last, so all share one initialisation
        self.encoder = Encoder(cfg, side)
        self.decoder = Decoder(cfg, side, decoder.word_dropout)
        self.posterior = posterior(cfg.hidden, cfg.latent)
        self.decoder.output = decoder.output(cfg.z_channels, 1)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of the inference side and of the generative side."""
        return {
            "encoder": [*self.encoder.parameters(), *self.posterior.parameters()],
            "decoder": [*self.decoder.parameters()],
        }

    def encode(self, batch: ImageBatch) -> Posterior:
        return self.posterior(self.encoder(batch.x))

    def nll(self, batch: ImageBatch, z: Tensor) -> Tensor:
        x = batch.x.expand(*z.shape[:-1], -1)
        return self.decoder(x.flatten(0, -2), z.flatten(0, -2)).view(z.shape[:-1])

    @torch.no_grad()
    def generate(
        self, z: Tensor, greedy: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        """An image of 0 and 1 for each code z [N, D], [N, P], pixels drawn or, if greedy, the likelier value of each."""
        side, x = self.decoder.side, z.new_zeros(len(z), self.decoder.side**2)
        map_of_z = self.decoder.map_of(z)
        for row in range(side):
            for pixel in range(row * side, (row + 1) * side):
                # rows below are not looked at
                logits = self.decoder.logits(
                    centred(x[:, : (row + 1) * side]), map_of_z[:, :, : row + 1]
                )
                x[:, pixel] = paint(logits[:, pixel], greedy, generator)
        return x


# ---------------------------------------------------------------- the encoder


class Encoder(nn.Module):
    """x [B, P] -> [B, hidden]: residual blocks, all but the first halve the image and double the channels, until 4 x 4 are left."""

    def __init__(self, cfg: ImagePixelCNNConfig, side: int):
        super().__init__()
        self.side, width = side, cfg.channels
        blocks: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), Residual(width, width, 1)]
        while side > 4:
            blocks.append(Residual(width, 2 * width, 2))
            side, width = -(-side // 2), 2 * width
        self.blocks = nn.Sequential(*blocks, norm(width), nn.ELU(), nn.Flatten())
        self.code = nn.Linear(width * side**2, cfg.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return functional.elu(self.code(self.blocks(centred(x).view(-1, 1, self.side, self.side))))


class Residual(nn.Module):
    """x [B, C, S, S] -> [B, C', S / stride, S / stride] (rounded up): x, mapped where sizes differ, plus what two convolutions change."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.bend = nn.Sequential(norm(channels), nn.ELU())
        self.change = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, padding=1),
            norm(out),
            nn.ELU(),
            nn.Conv2d(out, out, 3, padding=1),
        )
        self.keep = (
            nn.Identity() if (channels, 1) == (out, stride) else nn.Conv2d(channels, out, 1, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.keep(x) + self.change(self.bend(x))


def norm(channels: int) -> nn.GroupNorm:
    """Over groups of about 8 channels."""
    return nn.GroupNorm(
        next(groups for groups in range(max(1, channels // 8), 0, -1) if channels % groups == 0),
        channels,
    )


# ---------------------------------------------------------------- the decoder


class Decoder(nn.Module):
    """(x [R, P], z [R, D]) -> -log p(x|z) [R] nats, the sum over the pixels, each given those above it and to its left.

    word_dropout: chance that a pixel fed is hidden in training, as a word is in text.
    """

    output: (
        Any  # an output layer, see decoders.plain: per pixel, from z's channels there to one logit
    )

    def __init__(self, cfg: ImagePixelCNNConfig, side: int, word_dropout: float):
        super().__init__()
        self.side, self.word_dropout = side, word_dropout
        self.map = nn.Linear(cfg.latent, cfg.z_channels * side**2)
        self.layers = nn.ModuleList(
            Gated(1 + cfg.z_channels if first else cfg.channels, cfg.channels, cfg.kernel, first)
            for first in [True] + [False] * (cfg.layers - 1)
        )
        self.mix = nn.Linear(cfg.channels, cfg.channels)
        self.pixel = nn.Linear(cfg.channels, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        fed = centred(x)
        if self.training and self.word_dropout > 0:
            fed = fed * (torch.rand_like(fed) >= self.word_dropout)
        logits = self.logits(fed, self.map_of(z))
        return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)

    def map_of(self, z: Tensor) -> Tensor:
        """What the pixels see of z [R, D]: [R, z_channels, S, S]."""
        return self.map(z).view(len(z), -1, self.side, self.side)

    def logits(self, fed: Tensor, map_of_z: Tensor) -> Tensor:
        """Each pixel given those before, in the first K rows: what is fed [R, K S], map_of_z [R, z_channels, K, S] -> [R, K S]."""
        rows = torch.cat([fed.view(len(fed), 1, -1, self.side), map_of_z], 1)
        # the horizontal stack begins with the pixel to the left, and all of z
        left = torch.cat([functional.pad(rows[:, :1, :, :-1], (1, 0)), map_of_z], 1)
        for layer in self.layers:
            rows, left = layer(rows, left)
        h = functional.elu(self.mix(functional.elu(left.flatten(2).mT)))  # [R, P, channels]
        features = self.output.features(map_of_z.flatten(2).mT)
        return self.output(self.pixel, h, features)[..., 0]


class Gated(nn.Module):
    """One layer of both stacks, [R, C, S, S] each; tanh(a) sigmoid(b) as the paper has it.

    At a pixel, rows has seen its own row and those above; left has seen the pixels before it, those of the rows above by way of rows.
    """

    def __init__(self, inputs: int, channels: int, kernel: int, first: bool):
        super().__init__()
        self.reach = kernel // 2
        self.vertical = nn.Conv2d(inputs, 2 * channels, (self.reach + 1, kernel))
        self.horizontal = nn.Conv2d(inputs, 2 * channels, (1, self.reach + 1))
        self.down = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        self.first = first

    def forward(self, rows: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        r = self.reach
        above = self.vertical(functional.pad(rows, (r, r, r, 0)))
        before = self.horizontal(functional.pad(left, (r, 0))) + self.down(
            functional.pad(above[:, :, :-1], (0, 0, 1, 0))
        )
        change = self.out(gate(before))
        return gate(above), change if self.first else left + change


def gate(x: Tensor) -> Tensor:
    """tanh of one half of the channels times the logistic function of the other."""
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)
