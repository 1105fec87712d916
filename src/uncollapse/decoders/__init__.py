"""What a decoder remedy may change, in any model: the words that the decoder is fed, and the layer that makes its outputs."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from uncollapse.decoders.plain import Plain
from uncollapse.errors import check_number


@dataclass(frozen=True)
class Options:
    """word_dropout: chance that a word fed to the decoder is hidden. output: (latent, outputs) -> output layer, see `plain.Plain`."""

    word_dropout: float = 0.0
    output: Callable[[int, int], nn.Module] = Plain

    def __post_init__(self) -> None:
        check_number("word_dropout", self.word_dropout, 0, 1, closed=True)
