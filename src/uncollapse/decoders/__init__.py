"""Decoder remedies: they change the words fed to the decoder, or its output layer."""

from collections.abc import Callable
from dataclasses import dataclass

from uncollapse.decoders.plain import Plain
from uncollapse.errors import InputError, check_number
from uncollapse.interfaces.decoder import OutputLayer


@dataclass(frozen=True)
class Options:
    """The slot `decoder` of a config."""

    word_dropout: float = 0.0  # chance that a word fed to the decoder is hidden
    output: Callable[[int, int], OutputLayer] = Plain  # (latent, outputs) -> output layer

    def __post_init__(self) -> None:
        check_number("word_dropout", self.word_dropout, 0, 1, closed=True)

    def refuse_word_dropout(self, reason: str) -> None:
        """InputError if words are to be dropped, for a decoder that reads none."""
        if self.word_dropout > 0:
            raise InputError(f"word_dropout={self.word_dropout}: {reason}")
