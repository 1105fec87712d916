"""A small Transformer text VAE: a second strong decoder for the same heads.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017 (arXiv 1706.03762): its layers, its sines
as positions, which do not limit a sentence's length, and one matrix for input and output words.
Normalisation comes before each sublayer (Xiong et al., ICML 2020, arXiv 2002.04745), so no warm-up
of the step size is needed. The encoder reads the complete sentence with its end; the mean of its
outputs, or the output of a learned summary token, gives the posterior. The decoder does not attend
to the encoder: apart from previous words it reads only z, in one or both ways of Li et al.,
"Optimus", EMNLP 2020 (arXiv 2004.04092):

    prefix   z, mapped linearly, is a token before the first, which every word attends to ("memory";
             there a key and a value in each layer, here a token that passes through the layers)
    add      z, mapped linearly, is added to the embedding of every decoder input ("embedding")
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncollapse.data.corpus import TextBatch
from uncollapse.decoders import Options
from uncollapse.decoders.word_dropout import drop_words
from uncollapse.errors import InputError, check_choice
from uncollapse.interfaces.decoder import join_features
from uncollapse.interfaces.model import MakeHead, ModelConfig
from uncollapse.models.text_search import NextLogits
from uncollapse.models.text_vae import (
    TextDecoder,
    TextVAE,
    check_dropouts,
    check_sizes,
    previous_words,
)
from uncollapse.models.word_losses import word_losses

ENCODER_POOLS = ("mean", "summary")
INJECTIONS = ("both", "prefix", "add")
# the most tokens of all codes that are computed at a time without gradients
MAX_TOKENS = 1 << 9


@dataclass
class TransformerConfig(ModelConfig):
    """Sizes, equal in encoder and decoder; how the encoder pools and how the decoder reads z."""

    takes: ClassVar[str] = "text"
    width: int
    layers: int
    attention_heads: int
    latent: int
    pool: str  # mean or summary
    inject: str  # both, prefix or add: how the decoder reads z
    dropout_in: float
    dropout_out: float

    def build(self, inputs: int, posterior: MakeHead, decoder: Options | None = None) -> TextVAE:
        """`posterior` is called with (width, latent).

        InputError for a size or dropout out of range, and for an unknown pool or inject.
        """
        check_sizes(self, "width", "layers", "attention_heads", "latent")
        check_dropouts(self)
        if self.width % self.attention_heads:
            raise InputError(
                f"model.width={self.width}: allowed is a multiple of "
                f"model.attention_heads={self.attention_heads}"
            )
        for name, allowed in (("pool", ENCODER_POOLS), ("inject", INJECTIONS)):
            check_choice(f"model.{name}", getattr(self, name), allowed)
        decoder = decoder or Options()
        return TextVAE(
            TransformerEncoder(self, inputs),
            TransformerDecoder(self, inputs, decoder.word_dropout),
            posterior(self.width, self.latent),
            decoder.output(self.latent, inputs),
        )


class TransformerEncoder(nn.Module):
    """batch -> pooled outputs [B, width]."""

    def __init__(self, cfg: TransformerConfig, vocabulary: int):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, cfg.width)
        self.summary = nn.Parameter(torch.randn(cfg.width)) if cfg.pool == "summary" else None
        self.stack = Stack(cfg)

    def forward(self, batch: TextBatch) -> Tensor:
        count = len(batch)
        x = self.embed(batch.targets)
        x = x + encode_positions(batch.tokens.shape[1], x)[batch.time]
        if self.summary is None:
            real = self.stack(x, Layout.of(batch), causal=False)
            total = real.new_zeros(count, real.shape[1]).index_add(0, batch.owner, real)
            return total / batch.lengths[:, None]
        # after all words: `Layout.of` lists leading tokens in this order
        x = torch.cat([x, self.summary.expand(count, -1)])
        return self.stack(x, Layout.of(batch, leading=1), causal=False)[-count:]


class TransformerDecoder(TextDecoder):
    """Causal layers that read the previous words and z, and an output layer."""

    def __init__(self, cfg: TransformerConfig, vocabulary: int, word_dropout: float):
        super().__init__()
        self.prefix = nn.Linear(cfg.latent, cfg.width) if cfg.inject != "add" else None
        self.add = nn.Linear(cfg.latent, cfg.width, bias=False) if cfg.inject != "prefix" else None
        self.stack = Stack(cfg)
        self.drop_in, self.drop_out = nn.Dropout(cfg.dropout_in), nn.Dropout(cfg.dropout_out)
        # shared by input and output words; as inputs its rows are multiplied by sqrt(width), so
        # that both start at unit scale
        self.words = nn.Linear(cfg.width, vocabulary)
        nn.init.normal_(self.words.weight, std=cfg.width**-0.5)
        self.word_dropout = word_dropout

    def forward(self, batch: TextBatch, z: Tensor) -> Tensor:
        if z.dim() == 2:
            # one code is the case n = 1
            return self(batch, z[None])[0]
        if torch.is_grad_enabled():
            return self.nll_of_many(batch, z)
        # at least one code at a time, however long the sentences are
        blocks = z.split(max(1, MAX_TOKENS // len(batch.targets)))
        return torch.cat([self.nll_of_many(batch, block) for block in blocks])

    def nll_of_many(self, batch: TextBatch, z: Tensor) -> Tensor:
        """-log p(x|z) of n codes of each sentence at once, z [n, B, D] -> [n, B] nats."""
        n, count, _ = z.shape
        time, owner = batch.time, batch.owner
        fed = previous_words(batch)[owner, time].expand(n, -1)  # [n, N]
        if self.training and self.word_dropout > 0:
            fed = drop_words(fed, self.word_dropout)
        width = self.words.in_features
        x = self.drop_in(self.embed_words(fed))
        x = x + encode_positions(batch.tokens.shape[1], x)[time]
        if self.add is not None:
            # the same vector at every position of a sentence
            x = x + self.add(z).index_select(1, owner)
        if self.prefix is not None:
            x = torch.cat([x, self.prefix(z)], 1)
        layout = Layout.of(batch, leading=int(self.prefix is not None), copies=n)
        x = self.stack(x.flatten(0, 1), layout, causal=True)
        # without the prefixes, which predict no word
        real = x.view(n, -1, width)[:, : len(owner)].flatten(0, 1)
        features = self.output.features(z)
        features = None if features is None else features.index_select(1, owner).flatten(0, 1)
        seen = join_features(self.drop_out(real), features)
        weight, bias = self.output.weight(self.words), self.words.bias
        losses = word_losses(seen, weight, bias, batch.targets.repeat(n)).view(n, -1)
        return losses.new_zeros(n, count).index_add(1, owner, losses)

    def embed_words(self, words: Tensor) -> Tensor:
        """[...] -> [..., width]."""
        return math.sqrt(self.words.in_features) * functional.embedding(words, self.words.weight)

    def writer(self, z: Tensor) -> NextLogits:
        # nothing is kept from word to word, so the cost is quadratic in the length of a sentence
        features = self.output.features(z)

        # it reads all tokens every time, so it need not know which row a row continues
        def next_logits(tokens: Tensor, rows: Tensor | None = None) -> Tensor:
            x = self.embed_words(tokens)
            x = x + encode_positions(tokens.shape[1], x)
            if self.add is not None:
                x = x + self.add(z)[:, None]
            if self.prefix is not None:
                x = torch.cat([self.prefix(z)[:, None], x], 1)
            count, steps, _ = x.shape
            # all sentences have the same length, so no position is empty
            layout = Layout(count, steps, torch.arange(count * steps, device=x.device))
            h = self.stack(x.flatten(0, 1), layout, causal=True).view_as(x)[:, -1]
            return self.output(self.words, h, features)

        return next_logits


# ---------------------------------------------------------------- layers over real tokens


@dataclass(frozen=True)
class Layout:
    """The positions of M real tokens, kept as rows [M, C], in padded sentences [rows, steps, C].

    Only attention needs the padded form.
    """

    rows: int
    steps: int
    place: Tensor  # [M], index into the flattened [rows * steps]
    # [rows, 1, 1, steps], which positions hold a token; None: for causal attention
    real: Tensor | None = None

    @classmethod
    def of(cls, batch: TextBatch, leading: int = 0, copies: int = 1) -> "Layout":
        """The batch's tokens in the order of its targets, `copies` times, as further sentences.

        leading=1: each copy has one more token per sentence, listed after all words of the copy,
        whose position is before the sentence's first word.
        """
        count, steps = len(batch), batch.tokens.shape[1] + leading
        # the first position of each padded sentence in the flattened layout
        starts = steps * torch.arange(count, device=batch.time.device)
        place = starts[batch.owner] + batch.time + leading
        if leading:
            place = torch.cat([place, starts])
        # copies are further sentences, each after all those before
        shifts = count * steps * torch.arange(copies, device=starts.device)
        # the mask is that of one copy
        real = torch.arange(steps, device=starts.device) < batch.lengths[:, None] + leading
        return cls(copies * count, steps, (shifts[:, None] + place).flatten(), real[:, None, None])

    def spread(self, x: Tensor) -> Tensor:
        """[M, C] -> [rows, steps, C], 0 where there is no token."""
        padded = x.new_zeros(self.rows * self.steps, x.shape[1]).index_copy(0, self.place, x)
        return padded.view(self.rows, self.steps, -1)

    def gather(self, x: Tensor) -> Tensor:
        """[rows, steps, C] -> [M, C]."""
        return x.flatten(0, 1).index_select(0, self.place)


class Stack(nn.Module):
    """Layers and a final norm: tokens x [M, width] in a layout -> [M, width].

    causal: a token attends to itself and to those before it, else to its complete sentence.
    """

    def __init__(self, cfg: TransformerConfig):
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(cfg.width, cfg.attention_heads) for _ in range(cfg.layers)
        )
        self.norm = nn.LayerNorm(cfg.width)

    def forward(self, x: Tensor, layout: Layout, causal: bool) -> Tensor:
        for layer in self.layers:
            x = layer(x, layout, causal)
        return self.norm(x)


class Layer(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)), four times as wide inside."""

    def __init__(self, width: int, attention_heads: int):
        super().__init__()
        self.attention_heads = attention_heads
        self.norm = nn.LayerNorm(width)
        self.queries_keys_values, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        inner = 4 * width
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width)
        )

    def forward(self, x: Tensor, layout: Layout, causal: bool) -> Tensor:
        padded = layout.spread(self.queries_keys_values(self.norm(x)))
        split = padded.unflatten(2, (3, self.attention_heads, -1))
        # [rows, attention_heads, steps, width / attention_heads] each
        q, k, v = split.permute(2, 0, 3, 1, 4)
        # padding follows a sentence's tokens, so causal attention never reads it
        mask = None if causal else layout.real
        attended = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal
        )
        x = x + self.joined(layout.gather(attended.transpose(1, 2).flatten(2)))
        return x + self.feed(x)


def encode_positions(steps: int, x: Tensor) -> Tensor:
    """Sines and cosines with wavelengths from 2 pi to 10,000 * 2 pi, [steps, C].

    x [..., C] gives C, dtype and device.
    """
    # rounded up, and cut off below where the width is odd
    half = (x.shape[-1] + 1) // 2
    rates = torch.arange(half, dtype=x.dtype, device=x.device).mul(-math.log(10_000.0) / half).exp()
    angles = torch.arange(steps, dtype=x.dtype, device=x.device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)[:, : x.shape[-1]]
