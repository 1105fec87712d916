"""A VAE for images whose decoder can ignore z: ResNet encoder, gated PixelCNN decoder.

The pairing of He et al., "Lagging Inference Networks and Posterior Collapse in Variational
Autoencoders", ICLR 2019 (arXiv 1901.05534), and before it of Gulrajani et al., "PixelVAE", ICLR
2017 (arXiv 1611.05013): z is mapped to an image of a few channels, which the decoder reads together
with the previous pixels. Decoder: van den Oord et al., "Conditional Image Generation with PixelCNN
Decoders", NeurIPS 2016 (arXiv 1606.05328), section 2 and figure 2: a vertical stack sees the rows
above and a horizontal stack the pixels to the left, so that every previous pixel is seen.

Colour. A pixel depends on all channels of the previous pixels. Its own channels are in order, red
first, and each depends on those before it: a coefficient for each, which the network gives, times
its value is added to the output. Salimans et al., "PixelCNN++", ICLR 2017 (arXiv 1701.05517),
section 2.2, equation 3. (van den Oord et al. mask the channels of every layer instead.)

Deviations. One logistic for each value, with a scale learned for each channel, in place of a
mixture of ten. Sizes suit a CPU, instead of the papers' 13 layers of 64 channels. Convolutions are
cropped and shifted instead of masked, which saves the masked products.
"""

from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncollapse.data.image_size import ImageSize, as_image_size
from uncollapse.data.images import ImageBatch
from uncollapse.decoders import Options
from uncollapse.distributions.precision import wide
from uncollapse.errors import MAX_DEPTH, MAX_SIZE, InputError, check_integer
from uncollapse.interfaces.data import Data
from uncollapse.interfaces.decoder import OutputLayer
from uncollapse.interfaces.model import Limits, MakeHead, Model, ModelConfig
from uncollapse.interfaces.posterior import Posterior
from uncollapse.models.image_mlp import center_pixels
from uncollapse.models.image_resnet import ResNetEncoder
from uncollapse.models.image_values import as_planes, check_image_values, make_image_likelihood
from uncollapse.models.likelihoods import generate_values


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
    likelihood: str
    levels: int  # of discretised_logistic

    def build(
        self, inputs: int, posterior: MakeHead, decoder: Options | None = None
    ) -> "ImagePixelCNN":
        """`posterior` is called with (hidden, latent).

        InputError for a size below 1, an even kernel and an unknown likelihood.
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
        return ImagePixelCNN(self, as_image_size(inputs), posterior, decoder or Options())


class ImagePixelCNN(Model):
    """x [B, P], arranged as in `ImageSize`."""

    decoder: "PixelCNNDecoder"
    greedy_is_typical: ClassVar[bool] = False

    def __init__(
        self, cfg: ImagePixelCNNConfig, size: ImageSize, posterior: MakeHead, decoder: Options
    ):
        super().__init__()
        # what differs between heads is built last, so that all share one initialisation
        self.encoder = ResNetEncoder(size, cfg.channels, cfg.hidden)
        self.decoder = PixelCNNDecoder(cfg, size, decoder.word_dropout)
        self.posterior = posterior(cfg.hidden, cfg.latent)
        # the output layer reads the channels of z's image at a pixel, not z itself
        self.decoder.output = decoder.output(cfg.z_channels, size.channels)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {
            "encoder": [*self.encoder.parameters(), *self.posterior.parameters()],
            "decoder": [*self.decoder.parameters()],
        }

    def check_data(self, data: Data) -> None:
        check_image_values(self.decoder.likelihood, data)

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
        """Images [N, P], one value after the other: drawn or, if greedy, the most likely ones."""
        decoder, size = self.decoder, self.decoder.size
        x = z.new_zeros(len(z), size.height * size.width, size.channels)
        # computed once, since it does not depend on the pixels
        map_of_z = decoder.map_of(z)
        for row in range(size.height):
            for pixel in range(row * size.width, (row + 1) * size.width):
                # the pixel depends only on this row and those above
                fed = center_pixels(x[:, : (row + 1) * size.width])
                outputs, coefficients = decoder.read(fed, map_of_z[:, :, : row + 1])
                for channel in range(size.channels):
                    # this channel depends only on those of the pixel that are written already
                    joined = join_channels(
                        outputs[:, pixel], coefficients[:, pixel], center_pixels(x[:, pixel])
                    )
                    values = generate_values(decoder.likelihood, joined, greedy, generator, limits)
                    x[:, pixel, channel] = values[:, channel]
        return x.flatten(1)


# ---------------------------------------------------------------- the decoder


class PixelCNNDecoder(nn.Module):
    """(x [R, P], z [R, D]) -> -log p(x|z) [R] nats.

    A sum over pixels, each given those above it and to its left. `word_dropout` is the chance that
    an input value is set to 0 in training, as a word is hidden in text.
    """

    output: OutputLayer  # of one pixel: from h and the channels of z there to a number per channel

    def __init__(self, cfg: ImagePixelCNNConfig, size: ImageSize, word_dropout: float):
        super().__init__()
        self.size, self.word_dropout, colours = size, word_dropout, size.channels
        self.map = nn.Linear(cfg.latent, cfg.z_channels * size.height * size.width)
        self.layers = nn.ModuleList(
            # the first layer reads the pixels and z, the others the layer before
            Gated(
                colours + cfg.z_channels if first else cfg.channels,
                cfg.channels,
                cfg.kernel,
                first,
            )
            for first in [True] + [False] * (cfg.layers - 1)
        )
        self.mix = nn.Linear(cfg.channels, cfg.channels)
        self.pixel = nn.Linear(cfg.channels, colours)
        # a coefficient for each pair of channels; grey images have none
        pairs = colours * (colours - 1) // 2
        self.across = nn.Linear(cfg.channels, pairs) if pairs else None
        self.likelihood = make_image_likelihood(cfg.likelihood, colours, cfg.levels)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        x = x.view(len(x), -1, self.size.channels)
        fed = center_pixels(x)
        if self.training and self.word_dropout > 0:
            # 0 lies between the values -1 and 1, so it says nothing about the dropped value
            fed = fed * (torch.rand_like(fed) >= self.word_dropout)
        outputs, coefficients = self.read(fed, self.map_of(z))
        loss: Tensor = self.likelihood(join_channels(outputs, coefficients, fed), x)
        return loss.sum(-1)

    def map_of(self, z: Tensor) -> Tensor:
        """z as an image that is read with the pixels: [R, D] -> [R, z_channels, H, W]."""
        return self.map(z).view(len(z), -1, self.size.height, self.size.width)

    def read(self, fed: Tensor, map_of_z: Tensor) -> tuple[Tensor, Tensor]:
        """What each of the first K rows' pixels depends on besides its own channels.

        fed [R, K W, C], map_of_z [R, z_channels, K, W] -> outputs [R, K W, C], and coefficients
        [R, K W, C (C - 1) / 2].
        """
        colours = self.size.channels
        rows = torch.cat([as_planes(fed, self.size), map_of_z], 1)
        # input of the horizontal stack: the pixel to the left, and z at this pixel
        left = torch.cat([functional.pad(rows[:, :colours, :, :-1], (1, 0)), map_of_z], 1)
        for layer in self.layers:
            rows, left = layer(rows, left)
        h = functional.elu(self.mix(functional.elu(left.flatten(2).mT)))  # [R, K W, channels]
        # [R, z_channels, K W] -> [R, K W, z_channels]
        features = self.output.features(map_of_z.flatten(2).mT)
        outputs = self.output(self.pixel, h, features)
        return outputs, outputs[..., :0] if self.across is None else self.across(h)


def join_channels(outputs: Tensor, coefficients: Tensor, fed: Tensor) -> Tensor:
    """Outputs [..., C], to each of which the channels before it are added.

    fed [..., C]: values of the pixel itself. coefficients [..., C (C - 1) / 2]: of green for red,
    and of blue for red and green.
    """
    colours = outputs.shape[-1]
    if colours == 1:
        return outputs
    # not a product of matrices, which autocast would compute in fewer digits than a byte has
    lower = wide(outputs).new_zeros(*outputs.shape, colours)
    below, before = torch.tril_indices(colours, colours, -1)
    lower[..., below, before] = wide(coefficients)
    return wide(outputs) + (lower * fed[..., None, :]).sum(-1)


class Gated(nn.Module):
    """One layer of both stacks, `rows` and `left`, [R, C, K, W] each.

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
