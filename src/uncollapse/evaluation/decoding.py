"""From codes of an opened run to sentences or images that can be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus, take_sentences
from uncollapse.errors import InputError
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.view_files import SampleItem
from uncollapse.models.text_vae import LONGEST

MOST_TOKENS = 1000  # characters, bytes or subwords of a sentence


@dataclass(frozen=True)
class Decoding:
    """How an opened run decodes codes.

    `limits` are the keywords of `generate` that bound what a text model writes.
    """

    opened: OpenedRun
    limits: Mapping[str, Any]

    def draw(self, z: Tensor, stream: int) -> Any:
        """Sentences (a Corpus) or images [N, S * S], each word or pixel drawn, of codes [N, D]."""
        return self.opened.model.generate(z, generator=self.opened.noise(stream), **self.limits)

    def most_likely(self, z: Tensor) -> list[SampleItem]:
        """The most likely word or pixel at every place, of points [N, D].

        Means and points between codes need not be codes themselves: the nearest code is decoded.
        """
        codes = self.opened.any_posterior().project(z)
        return self.items(self.opened.model.generate(codes, greedy=True, **self.limits))

    def originals(self, split: str, examples: np.ndarray) -> list[SampleItem]:
        """The examples themselves."""
        data = self.opened.data
        if not is_text(self.opened):
            return self.items(torch.from_numpy(data.binary(split)[examples]))
        return self.items(take_sentences(data.corpora[split], examples))

    def items(self, generated: Any) -> list[SampleItem]:
        """A Corpus as sentences, images [N, S * S] as arrays [S, S]."""
        if isinstance(generated, Corpus):
            return [*self.opened.data.texts(generated)]
        side = int(generated.shape[1] ** 0.5)
        return [*generated.cpu().numpy().reshape(-1, side, side)]


def create_decoding(opened: OpenedRun, unknown: bool) -> Decoding:
    """InputError for a model that generates nothing, and for images without `unknown`."""
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
    """Most tokens of a sentence that is written; smaller tokens than words need more of them."""
    if opened.data.level.name == "word":
        return LONGEST
    return min(max(LONGEST, opened.data.facts()["longest"]["train"]), MOST_TOKENS)


def is_text(opened: OpenedRun) -> bool:
    return bool(opened.data.corpora)
