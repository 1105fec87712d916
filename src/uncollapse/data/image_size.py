"""The size of an image: how many values it has, and how they are arranged."""

from math import isqrt
from typing import Self

from uncollapse.errors import InputError


class ImageSize(int):
    """Height x width x channels, the number of values of an image that also knows the three.

    Values are stored row after row, pixel after pixel, and within a pixel channel after channel.
    """

    height: int
    width: int
    channels: int  # 1: grey, 3: red, green and blue

    def __new__(cls, height: int, width: int, channels: int = 1) -> Self:
        size = super().__new__(cls, height * width * channels)
        size.height, size.width, size.channels = height, width, channels
        return size

    def __getnewargs__(self) -> tuple[int, int, int]:  # type: ignore[override]
        return self.height, self.width, self.channels

    @property
    def shape(self) -> tuple[int, ...]:
        """[H, W] of a grey image, or [H, W, C]."""
        grey = (self.height, self.width)
        return grey if self.channels == 1 else (*grey, self.channels)


def as_image_size(inputs: int) -> ImageSize:
    """The size itself, or that of a square grey image of so many pixels. InputError for others."""
    if isinstance(inputs, ImageSize):
        return inputs
    side = isqrt(inputs)
    if side**2 != inputs:
        raise InputError(f"{inputs} pixels an image: without its height and width, a square number")
    return ImageSize(side, side)
