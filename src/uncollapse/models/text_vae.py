"""Shared by the text models: a VAE of encoder, head and decoder, and decoding of sentences."""

from abc import abstractmethod
from typing import Unpack

import numpy as np
import torch
from torch import Tensor, nn

from uncollapse.data.corpus import BOS, EOS, PAD, UNK, Corpus, TextBatch
from uncollapse.errors import MAX_DEPTH, MAX_SIZE, InputError, check_integer
from uncollapse.interfaces.decoder import OutputLayer
from uncollapse.interfaces.model import Limits, Model, ModelConfig
from uncollapse.interfaces.posterior import Posterior, PosteriorHead
from uncollapse.models.text_search import NextLogits, search_beams, shape_logits

LONGEST = 200  # tokens; a sentence that has not ended by then is left without its end


def check_sizes(cfg: ModelConfig, *names: str) -> None:
    """InputError unless these sizes of a model are integers >= 1."""
    for name in names:
        deep = name in ("layers", "attention_heads")
        check_integer(f"model.{name}", getattr(cfg, name), 1, MAX_DEPTH if deep else MAX_SIZE)


def check_dropouts(cfg: ModelConfig) -> None:
    """InputError unless both dropouts of a model lie in [0, 1)."""
    for name in ("dropout_in", "dropout_out"):
        value = getattr(cfg, name)
        if not 0 <= value < 1:
            raise InputError(f"model.{name}={value}: out of range; allowed is 0 <= {name} < 1")


def previous_words(batch: TextBatch) -> Tensor:
    """The words that a decoder is fed, [B, T]: the start of a sentence, then all but the last."""
    return nn.functional.pad(batch.tokens[:, :-1], (1, 0), value=BOS)


class TextDecoder(nn.Module):
    """p(x|z) for sentences. The model sets `output`."""

    output: OutputLayer

    @abstractmethod
    def forward(self, batch: TextBatch, z: Tensor) -> Tensor:
        """-log p(x|z) in nats, summed over a sentence and its end: z [B, D] or [n, B, D]."""

    @abstractmethod
    def writer(self, z: Tensor) -> NextLogits:
        """A function for the logits of the next word given codes z [N, D].

        Each call must have one more token than the last. In a beam search a row may continue
        another row of the last call, one with the same code: `rows` says which.
        """


class TextVAE(Model):
    """A VAE of encoder (batch -> states), head and decoder.

    The arguments must be built in this order. What heads differ in comes last, so that all share
    one initialisation.
    """

    decoder: TextDecoder

    def __init__(
        self,
        encoder: nn.Module,
        decoder: TextDecoder,
        posterior: PosteriorHead,
        output: OutputLayer,
    ):
        super().__init__()
        self.encoder, self.decoder, self.posterior = encoder, decoder, posterior
        self.decoder.output = output

    def parts(self) -> dict[str, list[nn.Parameter]]:
        return {
            "encoder": [*self.encoder.parameters(), *self.posterior.parameters()],
            "decoder": [*self.decoder.parameters()],
        }

    def encode(self, batch: TextBatch) -> Posterior:
        return self.posterior(self.encoder(batch))

    def nll(self, batch: TextBatch, z: Tensor) -> Tensor:
        return self.decoder(batch, z)

    def generate(
        self,
        z: Tensor,
        greedy: bool = False,
        generator: torch.Generator | None = None,
        **limits: Unpack[Limits],
    ) -> Corpus:
        """A sentence for each code; limits as in `decode_sentences`."""
        return generate_sentences(self.decoder, z, greedy, generator, **limits)


def generate_sentences(
    decoder: TextDecoder,
    z: Tensor,
    greedy: bool,
    generator: torch.Generator | None,
    **limits: Unpack[Limits],
) -> Corpus:
    """A sentence for each row of what the decoder reads, z [N, D]; limits as below."""
    # each hypothesis of a beam search is a row of its own
    writer = decoder.writer(z.repeat_interleave(limits.get("beam") or 1, 0))
    return decode_sentences(writer, len(z), z.device, greedy, generator, **limits)


@torch.no_grad()
def decode_sentences(
    next_logits: NextLogits,
    count: int,
    device: torch.device,
    greedy: bool,
    generator: torch.Generator | None,
    longest: int = LONGEST,
    unknown: bool = True,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    beam: int | None = None,
) -> Corpus:
    """`count` sentences of at most `longest` words, drawn or, if greedy, the most likely words.

    With `beam`, `next_logits` has that many rows for each sentence, and the most likely hypothesis
    of a beam search is returned. Start and padding are never written, nor is the unknown word if
    `unknown` is False; the other words get its probability.
    """
    # -inf before the softmax, so that the remaining words share the probability
    never = torch.tensor([PAD, BOS] if unknown else [PAD, BOS, UNK], device=device)
    if beam is not None:
        return collect_written(search_beams(next_logits, count, beam, never, longest))
    tokens = torch.full((count, 1), BOS, device=device)
    ended = torch.zeros(count, dtype=torch.bool, device=device)
    for _ in range(longest):
        logits = next_logits(tokens).index_fill(1, never, -torch.inf)
        if greedy:
            chosen = logits.argmax(1)
        else:
            shaped = shape_logits(logits, temperature, top_k, top_p)
            chosen = torch.multinomial(shaped.softmax(1), 1, generator=generator)[:, 0]
        # a sentence that has ended is continued with padding, while others go on
        chosen = chosen.masked_fill(ended, PAD)
        tokens = torch.cat([tokens, chosen[:, None]], 1)
        ended = ended | (chosen == EOS)
        if ended.all():
            break
    return collect_written(tokens)


def collect_written(tokens: Tensor) -> Corpus:
    """The sentences of tokens [N, T], which begin with BOS and are padded after their end."""
    written = tokens[:, 1:].cpu().numpy()
    words = (written != PAD) & (written != EOS)
    return Corpus(written[words].astype(np.int32), np.concatenate([[0], np.cumsum(words.sum(1))]))
