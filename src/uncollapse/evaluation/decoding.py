"""Decode codes of an opened run into sentences, images or vectors that can be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from uncollapse.data.corpus import Corpus, take_sentences
from uncollapse.data.image_size import ImageSize
from uncollapse.data.images import ImageData
from uncollapse.errors import InputError
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.view_files import SampleItem
from uncollapse.models.text_vae import LONGEST

Generated: TypeAlias = Corpus | Tensor  # sentences, or images or vectors [N, P]
MOST_LIKELY, COMMON_DRAWS = "most likely", "drawn with common random numbers"
NUMBERS_SHOWN = 12  # of a vector
MOST_TOKENS = 1000  # per sentence, where tokens are characters, bytes or subwords


@dataclass(frozen=True)
class Decoding:
    """How an opened run decodes codes.

    `limits`: keyword arguments of `generate` that limit what a text model writes.
    """

    opened: OpenedRun
    limits: Mapping[str, Any]

    def draw(self, z: Tensor, stream: int) -> Any:
        """Sentences (a Corpus), images or vectors [N, P] for codes z [N, D], drawn at random."""
        return self.opened.model.generate(z, generator=self.opened.noise(stream), **self.limits)

    def typical(self, z: Tensor) -> list[SampleItem]:
        """An item for each point z [N, D], as `typical_name` says.

        Random numbers depend on the row only, so items of one row differ by their points.
        """
        # a mean or an interpolation need not be a possible code (vMF): decode the nearest one
        codes, model = self.opened.any_posterior().project(z), self.opened.model
        greedy = model.greedy_is_typical
        noise = None if greedy else self.opened.noise(7)
        return self.items(model.generate(codes, greedy=greedy, generator=noise, **self.limits))

    @property
    def typical_name(self) -> str:
        """What `typical` shows: the most likely value at every position, or common draws."""
        return MOST_LIKELY if self.opened.model.greedy_is_typical else COMMON_DRAWS

    def originals(self, split: str, examples: np.ndarray) -> list[SampleItem]:
        """The examples themselves."""
        data = self.opened.data
        if not is_text(self.opened):
            return self.items(data.batch(split, examples).x)
        return self.items(take_sentences(data.corpora[split], examples))

    def items(self, generated: Generated) -> list[SampleItem]:
        """Sentences and vectors as text, images as arrays of their brightness from 0 to 1."""
        if isinstance(generated, Corpus):
            return [*self.opened.data.texts(generated)]
        data, arrays = self.opened.data, self.arrays(generated)
        if not isinstance(data, ImageData):
            return [*map(format_vector, arrays)]
        return [*(1 - arrays if data.ink else arrays)]

    def arrays(self, generated: Tensor) -> np.ndarray:
        """Images as [N, H, W] or [N, H, W, C], and vectors as [N, P]."""
        inputs = self.opened.data.inputs
        shape = inputs.shape if isinstance(inputs, ImageSize) else (inputs,)
        return generated.cpu().numpy().reshape(-1, *shape)


def format_vector(x: np.ndarray) -> str:
    """The first numbers of a vector [P], and how many there are."""
    shown = " ".join(f"{value:.4g}" for value in x[:NUMBERS_SHOWN])
    return shown if len(x) <= NUMBERS_SHOWN else f"{shown} ... ({len(x):,} numbers)"


def create_decoding(opened: OpenedRun, unknown: bool) -> Decoding:
    """How a run decodes codes. InputError for a model that cannot generate examples, and for
    other data than text if `unknown` is false."""
    if not opened.model.can_generate:
        raise InputError(
            f"{opened.run.folder}: samples are for models that generate examples, and "
            f"{type(opened.model).__name__} has no `generate`"
        )
    if not is_text(opened):
        if not unknown:
            raise InputError("--no-unknown: only text has unknown words")
        return Decoding(opened, {})
    return Decoding(opened, {"longest": longest_text(opened), "unknown": unknown})


def longest_text(opened: OpenedRun) -> int:
    """The most tokens of a generated sentence; tokens smaller than words need a higher limit."""
    if not opened.data.level.splits_words:
        return LONGEST
    # characters and subwords make longer sequences, but a collapsed model may never end one
    return min(max(LONGEST, opened.data.facts()["longest"]["train"]), MOST_TOKENS)


def is_text(opened: OpenedRun) -> bool:
    return bool(opened.data.corpora)
