"""A small Transformer text VAE: another strong decoder beside the LSTM, for the same heads.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017 (arXiv 1706.03762): its layers; its sines as positions, which set no limit to
a sentence's length; and one matrix for the words that the decoder reads and those it writes. Normalisation stands before each part
of a layer (Xiong et al., ICML 2020, arXiv 2002.04745), which spares a warm-up of the step size. The encoder reads the whole sentence,
its end included; the mean of its outputs, or the output of a learned summary token, gives the posterior. The decoder does not attend to the
encoder: what it knows of x beside the words before is z, in the two ways of Li et al., "Optimus", EMNLP 2020 (arXiv 2004.04092), or both:

    prefix   z, mapped linearly, is a token before the first one, which every word attends to ("memory"; there a key and a value in each
             layer, here a token that passes through the layers as the words do)
    add      z, mapped linearly, is added to the embedding of every decoder input ("embedding")
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncollapse.data.corpus import BOS, TextBatch
from uncollapse.decoders import Options
from uncollapse.decoders.plain import beside
from uncollapse.decoders.word_dropout import drop_words
from uncollapse.errors import InputError, check_choice
from uncollapse.models.text_vae import TextVAE, check_sizes

POOLS = ("mean", "summary")
WAYS = ("both", "prefix", "add")
# without gradients, at a time: tokens of all codes together in the layers, and logits; few enough to stay near the cache
TOKENS = 1 << 9
LOGITS = 1 << 20


@dataclass
class TransformerConfig:
    """Sizes of encoder and decoder, which are alike. pool: mean or summary; inject: both, prefix or add (how the decoder hears z)."""

    takes: ClassVar[str] = "text"
    width: int
    layers: int
    attention_heads: int
    latent: int
    pool: str
    inject: str
    dropout_in: float
    dropout_out: float

    def build(
        self,
        vocabulary: int,
        posterior: Callable[[int, int], nn.Module],
        decoder: Options | None = None,
    ) -> TextVAE:
        """`posterior` (width, latent) -> head. InputError for sizes or dropouts out of range, an unknown pool or inject."""
        check_sizes(self, "width", "layers", "attention_heads", "latent")
        if self.width % self.attention_heads:
            raise InputError(
                f"model.width={self.width}: allowed is a multiple of model.attention_heads={self.attention_heads}"
            )
        for name, allowed in (("pool", POOLS), ("inject", WAYS)):
            check_choice(f"model.{name}", getattr(self, name), allowed)
        decoder = decoder or Options()
        return TextVAE(
            Encoder(self, vocabulary),
            Decoder(self, vocabulary, decoder.word_dropout),
            posterior(self.width, self.latent),
            decoder.output(self.latent, vocabulary),
        )


class Encoder(nn.Module):
    """batch -> pooled outputs [B, width]."""

    def __init__(self, cfg: TransformerConfig, vocabulary: int):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, cfg.width)
        self.summary = nn.Parameter(torch.randn(cfg.width)) if cfg.pool == "summary" else None
        self.stack = Stack(cfg)

    def forward(self, batch: TextBatch) -> Tensor:
        time, count = times(batch), len(batch)
        x = self.embed(batch.targets)
        x = x + positions(batch.tokens.shape[1], x)[time]
        if self.summary is None:
            real = self.stack(x, Layout.of(batch, time), causal=False)
            return (
                real.new_zeros(count, real.shape[1]).index_add(0, batch.owner, real)
                / batch.lengths[:, None]
            )
        x = torch.cat([x, self.summary.expand(count, -1)])
        return self.stack(x, Layout.of(batch, time, leading=1), causal=False)[-count:]


class Decoder(nn.Module):
    """(batch, z [B, D] | [n, B, D]) -> -log p(x|z), [B] | [n, B] nats: the sum over the sentence's words and its end."""

    output: Any  # an output layer, see decoders.plain

    def __init__(self, cfg: TransformerConfig, vocabulary: int, word_dropout: float):
        super().__init__()
        self.prefix = nn.Linear(cfg.latent, cfg.width) if cfg.inject != "add" else None
        self.add = nn.Linear(cfg.latent, cfg.width, bias=False) if cfg.inject != "prefix" else None
        self.stack = Stack(cfg)
        self.drop_in, self.drop_out = nn.Dropout(cfg.dropout_in), nn.Dropout(cfg.dropout_out)
        # input and output words share this one matrix; as inputs its rows are multiplied by sqrt(width), so both start at unit scale
        self.words = nn.Linear(cfg.width, vocabulary)
        nn.init.normal_(self.words.weight, std=cfg.width**-0.5)
        self.word_dropout = word_dropout

    def forward(self, batch: TextBatch, z: Tensor) -> Tensor:
        if z.dim() == 2:
            return self(batch, z[None])[0]
        if torch.is_grad_enabled():
            return self.many(batch, z)
        return torch.cat(
            [self.many(batch, part) for part in z.split(max(1, TOKENS // len(batch.targets)))]
        )

    def many(self, batch: TextBatch, z: Tensor) -> Tensor:
        """-log p(x|z) of n codes for each sentence at once, z [n, B, D] -> [n, B] nats."""
        n, count, _ = z.shape
        time, owner = times(batch), batch.owner
        before = functional.pad(batch.tokens[:, :-1], (1, 0), value=BOS)[owner, time].expand(
            n, -1
        )  # [n, N]
        if self.training and self.word_dropout > 0:
            before = drop_words(before, self.word_dropout)
        width = self.words.in_features
        x = self.drop_in(self.embedded(before))
        x = x + positions(batch.tokens.shape[1], x)[time]
        if self.add is not None:
            x = x + self.add(z).index_select(1, owner)
        if self.prefix is not None:
            x = torch.cat([x, self.prefix(z)], 1)
        layout = Layout.of(batch, time, leading=int(self.prefix is not None), copies=n)
        x = self.stack(x.flatten(0, 1), layout, causal=True)
        real = x.view(n, -1, width)[:, : len(owner)].flatten(0, 1)
        features = self.output.features(z)
        features = None if features is None else features.index_select(1, owner).flatten(0, 1)
        losses = self.word_losses(
            beside(self.drop_out(real), features), batch.targets.repeat(n)
        ).view(n, -1)
        return losses.new_zeros(n, count).index_add(1, owner, losses)

    def embedded(self, words: Tensor) -> Tensor:
        """[...] -> [..., width]."""
        return math.sqrt(self.words.in_features) * functional.embedding(words, self.words.weight)

    def writer(self, z: Tensor) -> Callable[[Tensor], Tensor]:
        """For codes z [N, D]: all tokens so far [N, t], the start of a sentence first -> logits of the next word [N, V].

        Nothing is kept from word to word, so a sentence costs the square of its length.
        """
        features = self.output.features(z)

        def next_logits(tokens: Tensor) -> Tensor:
            x = self.embedded(tokens)
            x = x + positions(tokens.shape[1], x)
            if self.add is not None:
                x = x + self.add(z)[:, None]
            if self.prefix is not None:
                x = torch.cat([self.prefix(z)[:, None], x], 1)
            count, steps, _ = x.shape
            layout = Layout(count, steps, torch.arange(count * steps, device=x.device))
            h = self.stack(x.flatten(0, 1), layout, causal=True).view_as(x)[:, -1]
            return self.output(self.words, h, features)

        return next_logits

    def word_losses(self, seen: Tensor, targets: Tensor) -> Tensor:
        """-log p of each word, [M] nats, from what the output layer reads, seen [M, width + F]. Without gradients a block at a time."""
        weight, bias = self.output.weight(self.words), self.words.bias
        rows = len(seen) if torch.is_grad_enabled() else max(1, LOGITS // len(bias))
        blocks = zip(seen.split(rows), targets.split(rows), strict=True)
        return torch.cat(
            [
                functional.cross_entropy(functional.linear(s, weight, bias), t, reduction="none")
                for s, t in blocks
            ]
        )


# ---------------------------------------------------------------- layers over real tokens


@dataclass(frozen=True)
class Layout:
    """Where M real tokens, kept as rows [M, C] without padding, lie in padded sentences [rows, steps, C]; only attention needs those.

    place [M]: in the flattened [rows * steps]. real [rows, 1, 1, steps]: which of these hold a token; None: all, or nobody asks.
    """

    rows: int
    steps: int
    place: Tensor
    real: Tensor | None = None

    @classmethod
    def of(cls, batch: TextBatch, time: Tensor, leading: int = 0, copies: int = 1) -> "Layout":
        """Of the batch's tokens in the order of its targets; leading=1: then one token more for each sentence, which stands before it.

        All that `copies` times, the copies as further sentences.
        """
        count, steps = len(batch), batch.tokens.shape[1] + leading
        starts = steps * torch.arange(count, device=time.device)
        place = starts[batch.owner] + time + leading
        if leading:
            place = torch.cat([place, starts])
        shifts = count * steps * torch.arange(copies, device=time.device)
        real = torch.arange(steps, device=time.device) < batch.lengths[:, None] + leading
        return cls(copies * count, steps, (shifts[:, None] + place).flatten(), real[:, None, None])

    def spread(self, x: Tensor) -> Tensor:
        """[M, C] -> [rows, steps, C], 0 where there is no token."""
        padded = x.new_zeros(self.rows * self.steps, x.shape[1]).index_copy(0, self.place, x)
        return padded.view(self.rows, self.steps, -1)

    def gather(self, x: Tensor) -> Tensor:
        """[rows, steps, C] -> [M, C]."""
        return x.flatten(0, 1).index_select(0, self.place)


class Stack(nn.Module):
    """Tokens x [M, width] in a layout -> [M, width]; causal: a token sees itself and those before it in its sentence, else all of it."""

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
    """x + attention(norm(x)), and on that x + feed-forward(norm(x)), four times as wide inside."""

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
        apart = layout.spread(self.queries_keys_values(self.norm(x))).unflatten(
            2, (3, self.attention_heads, -1)
        )
        q, k, v = apart.permute(
            2, 0, 3, 1, 4
        )  # [rows, attention_heads, steps, width / attention_heads] each
        # padding comes after a sentence's tokens, so that causal attention never meets it
        mask = None if causal else layout.real
        attended = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal
        )
        x = x + self.joined(layout.gather(attended.transpose(1, 2).flatten(2)))
        return x + self.feed(x)


def times(batch: TextBatch) -> Tensor:
    """The place in its sentence of each real token, [N], in the order of the batch's targets."""
    return torch.cat([s.start + s.real % (s.stop - s.start) for s in batch.stretches])


def positions(steps: int, x: Tensor) -> Tensor:
    """Sines and cosines of wavelengths from 2 pi to 10,000 * 2 pi at each place in a sentence, [steps, C] for tokens x [..., C]."""
    half = (x.shape[-1] + 1) // 2
    rates = torch.arange(half, dtype=x.dtype, device=x.device).mul(-math.log(10_000.0) / half).exp()
    angles = torch.arange(steps, dtype=x.dtype, device=x.device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)[:, : x.shape[-1]]
