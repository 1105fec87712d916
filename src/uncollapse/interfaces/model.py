"""A VAE as procedures, metrics and the trainer see it, and the config that it is built from."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

import torch
from torch import Tensor, nn

from uncollapse.interfaces.hooks import Interface, is_overridden
from uncollapse.interfaces.posterior import Posterior, PosteriorHead
from uncollapse.interfaces.shapes import Codes, PerCode

if TYPE_CHECKING:
    from uncollapse.decoders import Options
    from uncollapse.interfaces.data import Data

MakeHead = Callable[[int, int], PosteriorHead]  # (hidden, latent) -> head


class Limits(TypedDict, total=False):
    """How examples are generated. Models of images and vectors read `temperature` only."""

    longest: int  # words
    unknown: bool  # whether the unknown word may be written
    temperature: float  # above 1, words and values are drawn with more variety, below 1 with less
    top_k: int | None  # draw among so many most likely words
    top_p: float | None  # draw among the most likely words that have this probability together
    beam: int | None  # beam search with so many hypotheses, which draws nothing


class Model(nn.Module, metaclass=Interface, interface=True):
    """A VAE. Only the model and its data need to know what a batch is."""

    posterior: PosteriorHead
    encoder: nn.Module  # the inference side without the head; the linear model has none
    decoder: nn.Module
    # whether the most likely values make a typical example; pixel after pixel they make a blank one
    greedy_is_typical: ClassVar[bool] = True

    # batch is Any below: each model takes the batches of its own kind of data

    @abstractmethod
    def encode(self, batch: Any) -> Posterior:
        """q(z|x) of each example of a batch."""

    @abstractmethod
    def nll(self, batch: Any, z: Codes) -> PerCode:
        """-log p(x|z) in nats: z [B, D] -> [B], or [n, B, D] -> [n, B]."""

    @abstractmethod
    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of "encoder" and "decoder", which a procedure may update separately."""

    def check_data(self, data: "Data") -> None:
        """InputError for data that the model gives no probability, before training starts."""

    def generate(
        self,
        z: Tensor,
        greedy: bool = False,
        generator: torch.Generator | None = None,
        **limits: Unpack[Limits],
    ) -> Any:
        """An example x for each code z [N, D]: sampled or, if `greedy`, the most likely outputs.

        Text models return a Corpus and keep the limits; others return values [N, P].
        """
        raise NotImplementedError(f"{type(self).__name__} does not generate examples")

    def respond(
        self,
        batch: Any,
        z: Tensor,
        greedy: bool = False,
        generator: torch.Generator | None = None,
        **limits: Unpack[Limits],
    ) -> Any:
        """As `generate`, given the context of each example of a batch; z [B, D]."""
        raise NotImplementedError(f"{type(self).__name__} does not respond to contexts")

    @property
    def can_generate(self) -> bool:
        """Whether the class has a `generate`."""
        return is_overridden(self, Model.generate)

    @property
    def can_respond(self) -> bool:
        """Whether the class has a `respond`."""
        return is_overridden(self, Model.respond)


class ModelConfig(metaclass=Interface, interface=True):
    """Base of the dataclasses that the section `model` of a config is typed by."""

    takes: ClassVar[str]  # the kind of data: text, dialogue, images or vectors
    latent: int

    @property
    def seen(self) -> int:
        """How many numbers the decoder reads apart from words or pixels: by default those of z."""
        return self.latent

    @abstractmethod
    def build(self, inputs: int, posterior: MakeHead, decoder: "Options | None" = None) -> Model:
        """The model for data of `inputs` words, pixels or numbers; InputError for bad settings."""
