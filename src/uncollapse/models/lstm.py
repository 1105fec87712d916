"""The LSTM text VAE of the published comparisons.

Bowman et al. 2016, wired as in He et al. 2019 (arXiv 1901.05534) and Zhu et al. 2020 (arXiv
2004.12585): the encoder's last state gives the posterior; z is joined to every decoder input and,
mapped linearly, is the decoder's first cell state c0, with h0 = tanh c0. As options, the encoder
reads in both directions (Schuster & Paliwal 1997) and the mean or the maximum of its states
replaces the last one.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import TextBatch
from uncollapse.decoders import Options
from uncollapse.decoders.word_dropout import drop_words
from uncollapse.errors import check_choice, check_number
from uncollapse.interfaces.decoder import join_features
from uncollapse.interfaces.model import MakeHead, ModelConfig
from uncollapse.models.lstm_gates import Gates, rescale_features, update_state
from uncollapse.models.lstm_sequence import run_lstm
from uncollapse.models.text_search import NextLogits
from uncollapse.models.text_vae import (
    TextDecoder,
    TextVAE,
    check_dropouts,
    check_sizes,
    previous_words,
)
from uncollapse.models.word_losses import word_losses

EMBEDDING_RANGE = 0.1  # He et al. 2019: uniform in +-0.1, independent of `init`


@dataclass
class LSTMConfig(ModelConfig):
    """Sizes, pooling of the encoder's states and initialisation."""

    takes: ClassVar[str] = "text"
    embedding: int
    hidden: int
    latent: int
    bidirectional: bool
    pool: str  # last, mean or max
    dropout_in: float
    dropout_out: float
    init: float | None  # half-width of uniform initial weights; null: PyTorch's own

    def build(self, inputs: int, posterior: MakeHead, decoder: Options | None = None) -> TextVAE:
        """`posterior` is called with (hidden, latent), or (2 hidden, latent) if bidirectional.

        InputError for a size below 1, an unknown pool or a dropout outside [0, 1).
        """
        check_sizes(self, "embedding", "hidden", "latent")
        check_dropouts(self)
        check_choice("model.pool", self.pool, POOLS)
        if self.init is not None:
            check_number("model.init", self.init, 0)
        decoder = decoder or Options()
        model = TextVAE(
            LSTMEncoder(self, inputs),
            LSTMDecoder(self, inputs, decoder.word_dropout),
            posterior((1 + self.bidirectional) * self.hidden, self.latent),
            decoder.output(self.latent, inputs),
        )
        # after all components exist, as it draws every weight again
        if self.init is not None:
            draw_uniform_weights(model, self.init)
        return model


def draw_uniform_weights(model: nn.Module, half_width: float) -> None:
    """Uniform weights in +-half_width, embeddings in +-0.1 (He et al. 2019).

    Learned scales and shifts of heads keep their initial values.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.uniform_(module.weight, -EMBEDDING_RANGE, EMBEDDING_RANGE)
        elif isinstance(module, nn.Linear | nn.LSTM):
            for parameter in module.parameters():
                nn.init.uniform_(parameter, -half_width, half_width)


# ---------------------------------------------------------------- pooling


def pool_last(batch: TextBatch, outputs: Tensor) -> Tensor:
    """The state at each sentence's end, [B, C], from the outputs at real tokens, [N, C]."""
    rows = torch.arange(len(batch), device=outputs.device)
    return outputs.index_select(0, batch.find_places(rows, batch.lengths - 1))


def pool_mean(batch: TextBatch, outputs: Tensor) -> Tensor:
    """The mean over each sentence's tokens, including its end, [B, C]."""
    # sums by sentence: `owner` is the row of each token
    total = outputs.new_zeros(len(batch), outputs.shape[1]).index_add(0, batch.owner, outputs)
    return total / batch.lengths[:, None]


def pool_max(batch: TextBatch, outputs: Tensor) -> Tensor:
    """The maximum of each entry over each sentence's tokens, including its end, [B, C]."""
    lowest = outputs.new_full((len(batch), outputs.shape[1]), -torch.inf)
    return lowest.scatter_reduce(0, batch.owner[:, None].expand_as(outputs), outputs, "amax")


POOLS = {"last": pool_last, "mean": pool_mean, "max": pool_max}


# ---------------------------------------------------------------- encoder and decoder


class LSTMEncoder(nn.Module):
    """batch -> pooled states [B, hidden], or [B, 2 hidden] for both directions, forward first."""

    def __init__(self, cfg: LSTMConfig, vocabulary: int):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, cfg.embedding)
        self.lstm = nn.LSTM(cfg.embedding, cfg.hidden, batch_first=True)
        self.reverse = (
            nn.LSTM(cfg.embedding, cfg.hidden, batch_first=True) if cfg.bidirectional else None
        )
        self.pool = POOLS[cfg.pool]

    def forward(self, batch: TextBatch) -> Tensor:
        forward = self.states(self.lstm, batch, batch.targets)
        if self.reverse is None:
            return forward
        # pooling does not depend on the order of the states, so they are not reversed back
        return torch.cat([forward, self.states(self.reverse, batch, reverse_words(batch))], 1)

    def states(self, lstm: nn.LSTM, batch: TextBatch, words: Tensor) -> Tensor:
        """The pooled states [B, hidden] of one direction, from the words [N] in its order."""
        inputs = self.embed(words)
        start = inputs.new_zeros(len(batch), lstm.hidden_size)
        return self.pool(batch, run_lstm(lstm, inputs, batch.batch_sizes, start, start))


def reverse_words(batch: TextBatch) -> Tensor:
    """The real tokens [N] of each sentence from its end to its first word, listed step by step."""
    back = batch.lengths[batch.owner] - 1 - batch.time
    return batch.tokens[batch.owner, back]


class LSTMDecoder(TextDecoder):
    """The LSTM reads the previous word and z; the output layer reads its state."""

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
            # dropout must differ between codes, and gradients need the ordinary forward pass
            drops = self.word_dropout + self.drop_in.p + self.drop_out.p > 0
            if torch.is_grad_enabled() or (self.training and drops):
                return torch.stack([self(batch, one) for one in z])
            return self.nll_of_many(batch, z)
        fed = previous_words(batch)
        if self.training and self.word_dropout > 0:
            fed = drop_words(fed, self.word_dropout)
        words = self.drop_in(self.embed(fed[batch.owner, batch.time]))
        inputs = torch.cat([words, z.index_select(0, batch.owner)], -1)
        cell = self.cell(z)
        outputs = run_lstm(self.lstm, inputs, batch.batch_sizes, torch.tanh(cell), cell)
        features = self.output.features(z)
        features = None if features is None else features.index_select(0, batch.owner)
        seen = join_features(self.drop_out(outputs), features)
        weight, bias = self.output.weight(self.words), self.words.bias
        losses = word_losses(seen, weight, bias, batch.targets)
        return losses.new_zeros(len(batch)).index_add(0, batch.owner, losses)

    def writer(self, z: Tensor) -> NextLogits:
        cell, features = self.cell(z), self.output.features(z)
        state = torch.tanh(cell)[None], cell[None]

        def next_logits(tokens: Tensor, rows: Tensor | None = None) -> Tensor:
            nonlocal state
            if rows is not None:
                state = (state[0][:, rows], state[1][:, rows])
            # only the last word is new; the state holds everything before it
            h, state = self.lstm(torch.cat([self.embed(tokens[:, -1:]), z[:, None]], -1), state)
            return self.output(self.words, h[:, 0], features)

        return next_logits

    def nll_of_many(self, batch: TextBatch, z: Tensor) -> Tensor:
        """-log p(x|z) of n codes of each sentence, z [n, B, D] -> [n, B] nats.

        Without gradients and dropout. The words' contribution to the gates is computed once for all
        codes, and that of z once for all words. Sentences that have ended are dropped, and logits
        exist for one step and one block of words at a time.
        """
        n, count, latent = z.shape
        # the codes of a sentence are adjacent and the longest sentences come first, so the rows
        # that have not ended are the first ones
        z = z.transpose(0, 1).flatten(0, 1)
        weight, features = rescale_features(self.output.weight(self.words), self.output.features(z))
        c, bias = self.cell(z), self.words.bias
        seen = join_features(torch.tanh(c), features)  # the output layer's input
        h = seen[:, : self.lstm.hidden_size]  # a view, so that an update of h changes `seen`
        total = z.new_zeros(count, n)
        # prepared once, outside the loop over words
        gates = Gates(self.lstm, weight, bias, latent)
        # [B, T, 4H], [B n, 4H]
        from_words, from_z = gates.words(self.embed(previous_words(batch))), gates.z(z)
        # one buffer for all steps
        pre, alive = torch.empty_like(from_z), count
        lengths = batch.lengths.tolist()
        for t in range(batch.tokens.shape[1]):
            # sentences are sorted by length, so the shortest end first
            while lengths[alive - 1] <= t:
                alive -= 1
            # slices are views, and updates in place go through them
            seen, h, c, pre = (x[: alive * n] for x in (seen, h, c, pre))
            torch.addmm(from_z[: alive * n], h, gates.recurrent, out=pre)
            pre.view(alive, n, -1).add_(from_words[:alive, t, None])
            update_state(pre, h, c)
            total[:alive] += gates.log_normaliser(seen).view(alive, n)
            target = batch.tokens[:alive, t]
            # the logit of the target alone; the normaliser covers all other words
            chosen = torch.bmm(seen.view(alive, n, -1), weight[target][..., None])[..., 0]
            total[:alive] -= chosen + bias[target][:, None]
        return total.T
