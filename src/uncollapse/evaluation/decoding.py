"""Decode codes of an opened run into sentences or images that can be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus, take_sentences
from uncollapse.errors import InputError
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.view_files import SampleItem
from uncollapse.models.text_vae import LONGEST

Generated: TypeAlias = Corpus | Tensor  # sentences, or images [N, S * S]
MOST_TOKENS = 1000  # per sentence, where tokens are characters, bytes or subwords


@dataclass(frozen=True)
class Decoding:
    """How an opened run decodes codes.

    `limits`: keyword arguments of `generate` that limit what a text model writes.
    """

    opened: OpenedRun
    limits: Mapping[str, Any]

    def draw(self, z: Tensor, stream: int) -> Any:
        """Sentences (a Corpus) or images [N, S * S] for codes z [N, D], drawn at random."""
        return self.opened.model.generate(z, generator=self.opened.noise(stream), **self.limits)

    def most_likely(self, z: Tensor) -> list[SampleItem]:
        """Sentences or images for points z [N, D], with the most likely word or pixel at every
        position."""
        # a mean or an interpolation need not be a possible code (vMF): decode the nearest one
        codes = self.opened.any_posterior().project(z)
        return self.items(self.opened.model.generate(codes, greedy=True, **self.limits))

    def originals(self, split: str, examples: np.ndarray) -> list[SampleItem]:
        """The examples themselves, as sentences or images."""
        data = self.opened.data
        if not is_text(self.opened):
            return self.items(torch.from_numpy(data.binary(split)[examples]))
        return self.items(take_sentences(data.corpora[split], examples))

    def items(self, generated: Generated) -> list[SampleItem]:
        """A Corpus as sentences, images [N, S * S] as arrays [S, S]."""
        if isinstance(generated, Corpus):
            return [*self.opened.data.texts(generated)]
        # images are square (see flatten_squares)
        side = int(generated.shape[1] ** 0.5)
        return [*generated.cpu().numpy().reshape(-1, side, side)]


def create_decoding(opened: OpenedRun, unknown: bool) -> Decoding:
    """How a run decodes codes. InputError for a model that cannot generate examples, and for
    images if `unknown` is false."""
    if not opened.model.can_generate:
        raise InputError(
            f"{opened.run.folder}: samples are for text and images; "
            "this model's outputs are neither"
        )
    if not is_text(opened):
        if not unknown:
            raise InputError("--no-unknown: images have no unknown words")
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
