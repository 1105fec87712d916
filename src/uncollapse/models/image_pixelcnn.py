"""A VAE for binary images whose decoder can ignore z: ResNet encoder, gated PixelCNN decoder.

The pairing of He et al., "Lagging Inference Networks and Posterior Collapse in Variational
Autoencoders", ICLR 2019 (arXiv 1901.05534), and before it of Gulrajani et al., "PixelVAE", ICLR
2017 (arXiv 1611.05013): z is mapped to an image of a few channels, which the decoder reads together
with the previous pixels. Decoder: van den Oord et al., "Conditional Image Generation with PixelCNN
Decoders", NeurIPS 2016 (arXiv 1606.05328), section 2 and figure 2: a vertical stack sees the rows
above and a horizontal stack the pixels to the left, so that every previous pixel is seen. Encoder:
He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016.

Deviations. Sizes suit a CPU, instead of the papers' 13 layers of 64 channels. Convolutions are
cropped and shifted instead of masked, which saves the masked products. The encoder normalises
over groups of channels (Wu & He 2018) and not over the batch: batch norm would couple the examples
of a batch under every head, and only some heads are meant to do that.
"""

from dataclasses import dataclass
from math import isqrt
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncollapse.data.images import ImageBatch
from uncollapse.decoders import Options
from uncollapse.errors import MAX_DEPTH, MAX_SIZE, InputError, check_integer
from uncollapse.interfaces.decoder import OutputLayer
from uncollapse.interfaces.model import Limits, MakeHead, Model, ModelConfig
from uncollapse.interfaces.posterior import Posterior
from uncollapse.models.image_mlp import center_pixels, draw_pixels


@dataclass
class ImagePixelCNNConfig(ModelConfig):
    """Sizes of encoder and decoder."""

    takes: ClassVar[str] = "images"
    latent: int
    hidden: int  # entries of the encoder's state
    channels: int  # of the decoder, and of the encoder at full resolution
    layers: int  # of the decoder
    kernel: int  # width in pixels, odd
    z_channels: int  # of the image that z is mapped to

    def build(
        self, inputs: int, posterior: MakeHead, decoder: Options | None = None
    ) -> "ImagePixelCNN":
        """`posterior` is called with (hidden, latent).

        InputError for a size below 1, an even kernel and images that are not square.
        """
        for name in ("latent", "hidden", "channels", "z_channels"):
            check_integer(f"model.{name}", getattr(self, name), 1, MAX_SIZE)
        for name in ("layers", "kernel"):
            check_integer(f"model.{name}", getattr(self, name), 1, MAX_DEPTH)
        if self.kernel % 2 == 0:
            raise InputError(
                f"model.kernel={self.kernel}: allowed are odd numbers, so that a kernel has a "
                "centre"
            )
        side = isqrt(inputs)
        if side**2 != inputs:
            raise InputError(f"{inputs} pixels an image: model=image_pixelcnn takes square images")
        return ImagePixelCNN(self, side, posterior, decoder or Options())


class ImagePixelCNN(Model):
    """x [B, P] of 0 and 1, square."""

    decoder: "PixelCNNDecoder"

    def __init__(self, cfg: ImagePixelCNNConfig, side: int, posterior: MakeHead, decoder: Options):
        super().__init__()
        # what differs between heads is built last, so that all share one initialisation
        self.encoder = ResNetEncoder(cfg, side)
        self.decoder = PixelCNNDecoder(cfg, side, decoder.word_dropout)
        self.posterior = posterior(cfg.hidden, cfg.latent)
        # the output layer reads the channels of z's image at a pixel, not z itself
        self.decoder.output = decoder.output(cfg.z_channels, 1)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {
            "encoder": [*self.encoder.parameters(), *self.posterior.parameters()],
            "decoder": [*self.decoder.parameters()],
        }

    def encode(self, batch: ImageBatch) -> Posterior:
        return self.posterior(self.encoder(batch.x))

    def nll(self, batch: ImageBatch, z: Tensor) -> Tensor:
        # repeat the images for several codes each, as views
        x = batch.x.expand(*z.shape[:-1], -1)
        return self.decoder(x.flatten(0, -2), z.flatten(0, -2)).view(z.shape[:-1])

    @torch.no_grad()
    def generate(
        self,
        z: Tensor,
        greedy: bool = False,
        generator: torch.Generator | None = None,
        **limits: Unpack[Limits],
    ) -> Tensor:
        """Images of 0 and 1 [N, P], one pixel after the other.

        Each pixel is drawn or, if greedy, its more likely value.
        """
        side, x = self.decoder.side, z.new_zeros(len(z), self.decoder.side**2)
        temperature = limits.get("temperature", 1.0)
        # computed once, since it does not depend on the pixels
        map_of_z = self.decoder.map_of(z)
        for row in range(side):
            for pixel in range(row * side, (row + 1) * side):
                # the pixel depends only on this row and those above
                fed = center_pixels(x[:, : (row + 1) * side])
                logits = self.decoder.logits(fed, map_of_z[:, :, : row + 1])
                x[:, pixel] = draw_pixels(logits[:, pixel], greedy, generator, temperature)
        return x


# ---------------------------------------------------------------- the encoder


class ResNetEncoder(nn.Module):
    """x [B, P] -> [B, hidden].

    Every residual block but the first halves the image and doubles the channels, down to 4 x 4.
    """

    def __init__(self, cfg: ImagePixelCNNConfig, side: int):
        super().__init__()
        self.side, width = side, cfg.channels
        blocks: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), Residual(width, width, 1)]
        while side > 4:
            blocks.append(Residual(width, 2 * width, 2))
            # a stride of 2 rounds the size up
            side, width = -(-side // 2), 2 * width
        self.blocks = nn.Sequential(*blocks, group_norm(width), nn.ELU(), nn.Flatten())
        self.code = nn.Linear(width * side**2, cfg.hidden)

    def forward(self, x: Tensor) -> Tensor:
        images = center_pixels(x).view(-1, 1, self.side, self.side)
        return functional.elu(self.code(self.blocks(images)))


class Residual(nn.Module):
    """x [B, C, S, S] -> [B, C', S / stride, S / stride] (rounded up).

    x plus two convolutions of x; where the sizes differ, x itself goes through a 1 x 1 convolution.
    """

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.bend = nn.Sequential(group_norm(channels), nn.ELU())
        self.change = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, padding=1),
            group_norm(out),
            nn.ELU(),
            nn.Conv2d(out, out, 3, padding=1),
        )
        # the identity keeps the shortcut free of weights wherever the shapes allow it
        same = (channels, 1) == (out, stride)
        self.keep = nn.Identity() if same else nn.Conv2d(channels, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.keep(x) + self.change(self.bend(x))


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalisation over groups of about 8 channels."""
    # the largest number of groups that divides the channels
    limit = max(1, channels // 8)
    groups = next(count for count in range(limit, 0, -1) if channels % count == 0)
    return nn.GroupNorm(groups, channels)


# ---------------------------------------------------------------- the decoder


class PixelCNNDecoder(nn.Module):
    """(x [R, P], z [R, D]) -> -log p(x|z) [R] nats.

    A sum over pixels, each given those above it and to its left. `word_dropout` is the chance that
    an input pixel is set to 0 in training, as a word is hidden in text.
    """

    output: OutputLayer  # of one pixel: from h and the channels of z there to one logit

    def __init__(self, cfg: ImagePixelCNNConfig, side: int, word_dropout: float):
        super().__init__()
        self.side, self.word_dropout = side, word_dropout
        self.map = nn.Linear(cfg.latent, cfg.z_channels * side**2)
        self.layers = nn.ModuleList(
            # the first layer reads the pixels and z, the others the layer before
            Gated(1 + cfg.z_channels if first else cfg.channels, cfg.channels, cfg.kernel, first)
            for first in [True] + [False] * (cfg.layers - 1)
        )
        self.mix = nn.Linear(cfg.channels, cfg.channels)
        self.pixel = nn.Linear(cfg.channels, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        fed = center_pixels(x)
        if self.training and self.word_dropout > 0:
            # 0 lies between the values -1 and 1, so it says nothing about the dropped pixel
            fed = fed * (torch.rand_like(fed) >= self.word_dropout)
        logits = self.logits(fed, self.map_of(z))
        return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)

    def map_of(self, z: Tensor) -> Tensor:
        """z as an image that is read with the pixels: [R, D] -> [R, z_channels, S, S]."""
        return self.map(z).view(len(z), -1, self.side, self.side)

    def logits(self, fed: Tensor, map_of_z: Tensor) -> Tensor:
        """Each pixel of the first K rows given those before it.

        fed [R, K S], map_of_z [R, z_channels, K, S] -> [R, K S].
        """
        rows = torch.cat([fed.view(len(fed), 1, -1, self.side), map_of_z], 1)
        # input of the horizontal stack: the pixel to the left, and z at this pixel
        left = torch.cat([functional.pad(rows[:, :1, :, :-1], (1, 0)), map_of_z], 1)
        for layer in self.layers:
            rows, left = layer(rows, left)
        h = functional.elu(self.mix(functional.elu(left.flatten(2).mT)))  # [R, P, channels]
        # [R, z_channels, P] -> [R, P, z_channels]
        features = self.output.features(map_of_z.flatten(2).mT)
        return self.output(self.pixel, h, features)[..., 0]


class Gated(nn.Module):
    """One layer of both stacks, `rows` and `left`, [R, C, S, S] each.

    At a pixel, `rows` depends on its own row and those above; `left` on the pixels to its left and,
    through `rows`, on the rows above.
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
        # padding above and on both sides: a row sees itself and the rows above
        above = self.vertical(functional.pad(rows, (r, r, r, 0)))
        # moved down by one row, so that a pixel sees only rows above its own
        shifted = self.down(functional.pad(above[:, :, :-1], (0, 0, 1, 0)))
        change = self.out(gated_tanh(self.horizontal(functional.pad(left, (r, 0))) + shifted))
        # no residual connection in the first layer, whose input has another number of channels
        return gated_tanh(above), change if self.first else left + change


def gated_tanh(x: Tensor) -> Tensor:
    """tanh(a) sigmoid(b) for the two halves a, b of the channels."""
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)
