"""The LSTM text VAE of the published comparisons.

Bowman et al. 2016 with the wiring of He et al. 2019 (arXiv 1901.05534) and Zhu et al. 2020 (arXiv 2004.12585): the encoder's last state
gives the posterior; z is joined to every decoder input and, mapped linearly, is the decoder's first cell state c0, with h0 = tanh c0.
The encoder may read in both directions (Schuster & Paliwal 1997) and the mean or the largest of its states may take the last one's place.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import BOS, TextBatch
from uncollapse.decoders import Options
from uncollapse.decoders.plain import beside
from uncollapse.decoders.word_dropout import drop_words
from uncollapse.errors import check_number, check_choice
from uncollapse.models.text_vae import TextVAE, check_sizes

POOLS = ("last", "mean", "max")
EMBEDDING_RANGE = 0.1  # He et al. 2019: embeddings uniform in +-0.1, whatever the other weights


@dataclass
class LSTMConfig:
    """Sizes, what the encoder reads and hands on (pool: last, mean or max), and initialisation.

    `init` is the half-width of the uniform initial weights, null for PyTorch's own.
    """

    takes: ClassVar[str] = "text"
    embedding: int
    hidden: int
    latent: int
    bidirectional: bool
    pool: str
    dropout_in: float
    dropout_out: float
    init: float | None

    def build(
        self,
        vocabulary: int,
        posterior: Callable[[int, int], nn.Module],
        decoder: Options | None = None,
    ) -> TextVAE:
        """`posterior` (hidden, latent) -> head, (2 hidden, latent) for a bidirectional encoder.

        InputError for a size below 1, an unknown pool or a dropout outside [0, 1).
        """
        check_sizes(self, "embedding", "hidden", "latent")
        check_choice("model.pool", self.pool, POOLS)
        if self.init is not None:
            check_number("model.init", self.init, 0)
        decoder = decoder or Options()
        model = TextVAE(
            Encoder(self, vocabulary),
            Decoder(self, vocabulary, decoder.word_dropout),
            posterior((1 + self.bidirectional) * self.hidden, self.latent),
            decoder.output(self.latent, vocabulary),
        )
        if self.init is not None:
            shrink(model, self.init)
        return model


class Encoder(nn.Module):
    """batch -> pooled states [B, hidden], or [B, 2 hidden] from both directions, the forward one first."""

    def __init__(self, cfg: LSTMConfig, vocabulary: int):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, cfg.embedding)
        self.lstm = nn.LSTM(cfg.embedding, cfg.hidden, batch_first=True)
        self.reverse = (
            nn.LSTM(cfg.embedding, cfg.hidden, batch_first=True) if cfg.bidirectional else None
        )
        self.pool = {"last": last, "mean": mean, "max": largest}[cfg.pool]

    def forward(self, batch: TextBatch) -> Tensor:
        forward = self.states(self.lstm, batch, batch.tokens)
        if self.reverse is None:
            return forward
        # each sentence from its own end; no pool asks for the order of the states, so they stay reversed
        return torch.cat([forward, self.states(self.reverse, batch, reversed_words(batch))], 1)

    def states(self, lstm: nn.LSTM, batch: TextBatch, tokens: Tensor) -> Tensor:
        """The pooled states [B, hidden] of one direction."""
        inputs = self.embed(tokens)
        start = inputs.new_zeros(len(batch), lstm.hidden_size)
        return self.pool(batch, list(run_lstm(lstm, inputs, batch, (start, start))))


def last(batch: TextBatch, outputs: list[Tensor]) -> Tensor:
    """The state at each sentence's end, [B, C], from the outputs of each stretch."""
    ended, alive = [], 0
    # rows are sorted by falling length, so those that end in later stretches come first
    for stretch, output in zip(reversed(batch.stretches), reversed(outputs), strict=True):
        end = batch.lengths[alive : stretch.rows] - 1 - stretch.start
        ended.append(output[torch.arange(alive, stretch.rows, device=end.device), end])
        alive = stretch.rows
    return torch.cat(ended)


def mean(batch: TextBatch, outputs: list[Tensor]) -> Tensor:
    """The mean over each sentence's tokens, its end included, [B, C]."""
    real = at_tokens(batch, outputs)
    return (
        real.new_zeros(len(batch), real.shape[1]).index_add(0, batch.owner, real)
        / batch.lengths[:, None]
    )


def largest(batch: TextBatch, outputs: list[Tensor]) -> Tensor:
    """The largest value of each entry over each sentence's tokens, its end included, [B, C]."""
    real = at_tokens(batch, outputs)
    lowest = real.new_full((len(batch), real.shape[1]), -torch.inf)
    return lowest.scatter_reduce(0, batch.owner[:, None].expand_as(real), real, "amax")


def at_tokens(batch: TextBatch, outputs: list[Tensor]) -> Tensor:
    """The outputs at the real tokens, [N, C], in the order of the batch's targets."""
    return torch.cat(
        [o.flatten(0, 1)[s.real] for s, o in zip(batch.stretches, outputs, strict=True)]
    )


def reversed_words(batch: TextBatch) -> Tensor:
    """Each sentence from its end to its first word, [B, T], padding behind it as before."""
    time = torch.arange(batch.tokens.shape[1], device=batch.tokens.device)
    back = batch.lengths[:, None] - 1 - time
    return batch.tokens.gather(1, torch.where(back < 0, time, back))


class Decoder(nn.Module):
    """(batch, z [B, D] | [n, B, D]) -> -log p(x|z), [B] | [n, B] nats: the sum over the sentence's words and its end."""

    output: Any  # an output layer, see decoders.plain

    def __init__(self, cfg: LSTMConfig, vocabulary: int, word_dropout: float):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, cfg.embedding)
        self.cell = nn.Linear(cfg.latent, cfg.hidden, bias=False)
        self.lstm = nn.LSTM(cfg.embedding + cfg.latent, cfg.hidden, batch_first=True)
        self.drop_in, self.drop_out = nn.Dropout(cfg.dropout_in), nn.Dropout(cfg.dropout_out)
        self.words = nn.Linear(cfg.hidden, vocabulary)
        self.word_dropout = word_dropout

    def forward(self, batch: TextBatch, z: Tensor) -> Tensor:
        if z.dim() == 3:
            drops = self.word_dropout + self.drop_in.p + self.drop_out.p > 0
            shared = not torch.is_grad_enabled() and not (self.training and drops)
            return self.many(batch, z) if shared else torch.stack([self(batch, one) for one in z])
        rows, steps = batch.tokens.shape
        before = nn.functional.pad(batch.tokens[:, :-1], (1, 0), value=BOS)
        if self.training and self.word_dropout > 0:
            before = drop_words(before, self.word_dropout)
        inputs = torch.cat(
            [self.drop_in(self.embed(before)), z[:, None].expand(rows, steps, -1)], -1
        )
        cell = self.cell(z)
        outputs = run_lstm(self.lstm, inputs, batch, (torch.tanh(cell), cell))
        # the softmax, the dearest part for large vocabularies, sees real tokens only
        real = at_tokens(batch, list(outputs))
        features = self.output.features(z)
        features = None if features is None else features[batch.owner]
        logits = self.output(self.words, self.drop_out(real), features)
        losses = nn.functional.cross_entropy(logits, batch.targets, reduction="none")
        return losses.new_zeros(rows).index_add(0, batch.owner, losses)

    def writer(self, z: Tensor) -> Callable[[Tensor], Tensor]:
        """All tokens so far [N, t] -> logits of the next [N, V], given codes z [N, D]; to be called with one token more each time."""
        cell, features = self.cell(z), self.output.features(z)
        state = torch.tanh(cell)[None], cell[None]

        def next_logits(tokens: Tensor) -> Tensor:
            nonlocal state
            h, state = self.lstm(torch.cat([self.embed(tokens[:, -1:]), z[:, None]], -1), state)
            return self.output(self.words, h[:, 0], features)

        return next_logits

    def many(self, batch: TextBatch, z: Tensor) -> Tensor:
        """-log p(x|z) of n codes for each sentence, z [n, B, D] -> [n, B] nats, without gradients or dropout.

        What words contribute to the gates is computed once for all n, what z contributes once for all words; sentences that
        have ended leave; logits live for one step and one block of words only.
        """
        n, count, latent = z.shape
        z = z.transpose(0, 1).flatten(
            0, 1
        )  # a sentence's codes lie together, so that those alive are the first rows
        weight, features = scaled(self.output.weight(self.words), self.output.features(z))
        c, bias = self.cell(z), self.words.bias
        seen = beside(torch.tanh(c), features)  # what the output layer reads, h at its left
        h, total = seen[:, : self.lstm.hidden_size], z.new_zeros(count, n)
        gates = Gates(self.lstm, weight, bias, latent)
        before = nn.functional.pad(batch.tokens[:, :-1], (1, 0), value=BOS)
        from_words, from_z = gates.words(self.embed(before)), gates.z(z)  # [B, T, 4H], [B n, 4H]
        pre, alive = torch.empty_like(from_z), count
        lengths = batch.lengths.tolist()
        for t in range(batch.tokens.shape[1]):
            while lengths[alive - 1] <= t:
                alive -= 1
            seen, h, c, pre = (x[: alive * n] for x in (seen, h, c, pre))
            torch.addmm(from_z[: alive * n], h, gates.recurrent, out=pre)
            pre.view(alive, n, -1).add_(from_words[:alive, t, None])
            step(pre, h, c)
            total[:alive] += gates.log_normaliser(seen).view(alive, n)
            target = batch.tokens[:alive, t]
            chosen = torch.bmm(seen.view(alive, n, -1), weight[target][..., None])[..., 0]
            total[:alive] -= chosen + bias[target][:, None]
        return total.T


def scaled(weight: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The same outputs from features in [-1, 1]: a column of features [R, F] that leaves it is divided by its largest value, and
    the column of weight [V, H + F] that it meets multiplied by it.
    """
    if features is None:
        return weight, None
    largest = features.abs().amax(0).clamp_min(1)
    return weight * beside(
        weight.new_ones(weight.shape[1] - len(largest)), largest
    ), features / largest


LOGITS = (
    1 << 18
)  # at a time: they stay in the cache between the product that makes them and their sum
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
SAFE = 80.0  # exp of it is far from float32's end


class Gates:
    """The weights of an LSTM and its output layer laid out for `Decoder.many`: gates in the order i, f, o, g.

    tanh(g) = 2 s(2g) - 1, so g's weights are doubled and one sigmoid serves all four. What the output layer reads must lie
    in [-1, 1], as the LSTM's outputs do.
    """

    def __init__(self, lstm: nn.LSTM, weight: Tensor, bias: Tensor, latent: int):
        weight_ih, weight_hh, bias_ih, bias_hh = (getattr(lstm, f"{name}_l0") for name in PARTS)
        i, f, g, o = torch.arange(4 * lstm.hidden_size).chunk(4)
        order = torch.cat([i, f, o, g]).to(weight.device)
        scale = torch.ones_like(order, dtype=weight.dtype)
        scale[3 * lstm.hidden_size :] = 2
        inputs = weight_ih[order] * scale[:, None]
        self.from_words, self.from_z = inputs[:, :-latent].T, inputs[:, -latent:].T
        self.bias = (bias_ih + bias_hh)[order] * scale
        self.recurrent = (weight_hh[order] * scale[:, None]).T.contiguous()
        self.logits, self.logit_bias = weight, bias
        # this bounds every logit; within it the search for the largest one can be spared
        self.safe = bool((weight.abs().sum(1) + bias.abs()).max() + math.log(len(bias)) < SAFE)

    def words(self, embedded: Tensor) -> Tensor:
        """[..., E] -> [..., 4H]."""
        return embedded @ self.from_words + self.bias

    def z(self, z: Tensor) -> Tensor:
        """[R, D] -> [R, 4H]."""
        return z @ self.from_z

    def log_normaliser(self, h: Tensor) -> Tensor:
        """log sum_v exp(logit_v) for what the output layer reads, h [R, H + F] -> [R]."""
        width = max(1, LOGITS // len(h))
        blocks = zip(self.logits.split(width), self.logit_bias.split(width), strict=True)
        parts = [self.block_sum(torch.addmm(bias, h, weight.T)) for weight, bias in blocks]
        if len(parts) == 1:
            return parts[0].log_() if self.safe else parts[0]
        return (
            torch.stack(parts).sum(0).log_()
            if self.safe
            else torch.logsumexp(torch.stack(parts), 0)
        )

    def block_sum(self, logits: Tensor) -> Tensor:
        """Of the exponentials where that is safe, else its logarithm; [R, V] -> [R]."""
        return logits.exp_().sum(1) if self.safe else torch.logsumexp(logits, 1)


def step(pre: Tensor, h: Tensor, c: Tensor) -> None:
    """One LSTM step in place: gates before their non-linearity pre [R, 4H] as `Gates` orders them, state h, c [R, H]."""
    i, f, o, g = pre.sigmoid_().chunk(4, 1)
    c.mul_(f).addcmul_(i, g, value=2).sub_(i)
    torch.mul(c, 2, out=h).sigmoid_().mul_(2).sub_(1).mul_(
        o
    )  # tanh(c); the sigmoid is six times as fast


def run_lstm(
    lstm: nn.LSTM, inputs: Tensor, batch: TextBatch, state: tuple[Tensor, Tensor]
) -> Iterator[Tensor]:
    """Outputs [rows, stop - start, hidden] of each stretch; inputs [B, T, E], state (h, c) [B, hidden] each.

    Later stretches carry on with the rows that are still alive: what packing does, in a few large calls to the fast kernel.
    """
    h, c = state[0][None], state[1][None]
    for stretch in batch.stretches:
        carried = (h[:, : stretch.rows].contiguous(), c[:, : stretch.rows].contiguous())
        output, (h, c) = lstm(inputs[: stretch.rows, stretch.start : stretch.stop], carried)
        yield output


def shrink(model: nn.Module, half_width: float) -> None:
    """Uniform initial weights in +-half_width, embeddings in +-0.1 (He et al. 2019); learned scales and shifts of heads stay."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.uniform_(module.weight, -EMBEDDING_RANGE, EMBEDDING_RANGE)
        elif isinstance(module, nn.Linear | nn.LSTM):
            for parameter in module.parameters():
                nn.init.uniform_(parameter, -half_width, half_width)
