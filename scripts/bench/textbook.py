"""The LSTM VAE as tutorials train it: padded batches, and logits for padding as well.

It has the same layers as the harness's model, so both can start from equal weights.
"""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.harness import Step
from uncollapse.building import Parts
from uncollapse.data.corpus import BOS, EOS, PAD, Corpus
from uncollapse.models.lstm import LSTMDecoder, LSTMEncoder


class Layers(NamedTuple):
    """The layers of an LSTM VAE with the plain head; `to_code` gives mean and log variance."""

    encoder: LSTMEncoder
    decoder: LSTMDecoder
    to_code: nn.Linear

    @classmethod
    def of(cls, model: nn.Module) -> "Layers":
        return cls(model.encoder, model.decoder, model.posterior.linear)  # type: ignore[arg-type, union-attr]


def make_textbook_step(parts: Parts) -> Step:
    """A training step of a copy of the model, batch making included."""
    model = copy.deepcopy(parts.model).train()
    layers = Layers.of(model)
    sentences = list_sentences(parts.data.corpora["train"])
    # no clipping is clipping at infinity
    clip = parts.trainer.clip or float("inf")
    optimizer = torch.optim.Adam(model.parameters(), lr=parts.trainer.lr)

    def step(examples: np.ndarray) -> None:
        tokens, lengths = pad_batch(sentences, examples)
        noise = torch.randn(len(tokens), layers.decoder.cell.in_features)
        optimizer.zero_grad()
        textbook_loss(layers, tokens, lengths, noise).backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()

    return step


def list_sentences(corpus: Corpus) -> list[Tensor]:
    """Each sentence as a tensor that ends with the end-of-sentence token."""
    return [read_sentence(corpus, number) for number in range(len(corpus))]


def read_sentence(corpus: Corpus, number: int) -> Tensor:
    """One sentence as a tensor [T] that ends with the end-of-sentence token."""
    start, end = corpus.offsets[number], corpus.offsets[number + 1]
    return torch.tensor([*corpus.tokens[start:end].tolist(), EOS])


def pad_batch(sentences: list[Tensor], examples: np.ndarray) -> tuple[Tensor, Tensor]:
    """tokens [B, T] padded to the longest sentence, lengths [B]."""
    chosen = [sentences[i] for i in examples]
    lengths = torch.tensor([len(sentence) for sentence in chosen])
    return nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=PAD), lengths


def textbook_loss(layers: Layers, tokens: Tensor, lengths: Tensor, noise: Tensor) -> Tensor:
    """The negative ELBO in nats per example: tokens [B, T], lengths [B], noise [B, D] -> scalar."""
    encoder, decoder, to_code = layers
    outputs, _ = encoder.lstm(encoder.embed(tokens))
    # q(z|x) from the state after the last token of each sentence
    last = outputs[torch.arange(len(tokens)), lengths - 1]
    mean, log_var = to_code(last).chunk(2, -1)
    z = mean + torch.exp(0.5 * log_var) * noise
    # KL(q(z|x) || N(0, I)), summed over examples and dimensions
    kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum()
    losses = word_losses(decoder, tokens, z)  # padding costs time, but counts 0
    return (losses.sum() + kl) / len(tokens)


def word_losses(decoder: LSTMDecoder, tokens: Tensor, z: Tensor) -> Tensor:
    """-log p of each token given the code and earlier tokens: tokens [B, T], z [B, D] -> [B, T]."""
    before = functional.pad(tokens[:, :-1], (1, 0), value=BOS)
    words = decoder.drop_in(decoder.embed(before))
    inputs = torch.cat([words, z[:, None].expand(-1, tokens.shape[1], -1)], -1)
    # z also sets the decoder's initial state
    cell = decoder.cell(z)[None]
    outputs, _ = decoder.lstm(inputs, (torch.tanh(cell), cell))
    logits = decoder.words(decoder.drop_out(outputs))
    losses = functional.cross_entropy(
        logits.flatten(0, 1), tokens.flatten(), ignore_index=PAD, reduction="none"
    )
    return losses.view(tokens.shape)
