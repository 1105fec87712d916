"""A ResNet encoder for images: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016.

It normalises over groups of channels (Wu & He 2018) and not over the batch: batch norm would couple
the examples of a batch under every head, and only some heads are meant to do that.
"""

from torch import Tensor, nn
from torch.nn import functional

from uncollapse.data.image_size import ImageSize
from uncollapse.models.image_mlp import center_pixels
from uncollapse.models.image_values import as_planes


class ResNetEncoder(nn.Module):
    """x [B, P] -> [B, hidden].

    Every residual block but the first halves the image and doubles the channels, down to 4 x 4.
    """

    def __init__(self, size: ImageSize, channels: int, hidden: int):
        super().__init__()
        self.size, width = size, channels
        sides = (size.height, size.width)
        first = nn.Conv2d(size.channels, width, 3, padding=1)
        blocks: list[nn.Module] = [first, Residual(width, width, 1)]
        while max(sides) > 4:
            blocks.append(Residual(width, 2 * width, 2))
            # a stride of 2 rounds the size up
            sides, width = (-(-sides[0] // 2), -(-sides[1] // 2)), 2 * width
        self.blocks = nn.Sequential(*blocks, group_norm(width), nn.ELU(), nn.Flatten())
        self.code = nn.Linear(width * sides[0] * sides[1], hidden)

    def forward(self, x: Tensor) -> Tensor:
        images = as_planes(center_pixels(x), self.size)
        return functional.elu(self.code(self.blocks(images)))


class Residual(nn.Module):
    """x [B, C, H, W] -> [B, C', H / stride, W / stride] (rounded up).

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
