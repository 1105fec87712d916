"""Decoder remedies: they change the words fed to the decoder, or its output layer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

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

    @property
    def changes(self) -> list[str]:
        """The fields that differ from those of the plain decoder."""
        output = self.output.func if isinstance(self.output, partial) else self.output
        return ["word_dropout"] * (self.word_dropout > 0) + ["output"] * (output is not Plain)

    def refuse_word_dropout(self, reason: str) -> None:
        """InputError if words are to be dropped, for a decoder that reads none."""
        if self.word_dropout > 0:
            raise InputError(f"word_dropout={self.word_dropout}: {reason}")


class WatchedOptions(Options):
    """Options that remember in `read` which of their fields were read."""

    options: Options
    read: set[str]

    def __init__(self, options: Options):
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "read", set())
        super().__init__(options.word_dropout, options.output)
        # the check of the values has read them
        self.read.clear()

    def __getattribute__(self, name: str) -> object:
        if name in ("word_dropout", "output"):
            self.read.add(name)
        return super().__getattribute__(name)
