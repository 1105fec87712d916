"""Sentences as two flat arrays, and the padded batches made of them.

Token ids 0-3 are reserved. Sentences are stored without start and end, which batches add.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from uncollapse.interfaces.data import Batch

PAD, BOS, EOS, UNK = range(4)
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")

# A batch is sorted by length and processed in stretches of time steps, each with only those rows
# that have not ended. Each LSTM call has a fixed cost of about CALL_COST row-steps (it repacks the
# weights, and small matrix products are slower), so a stretch must save more than that. Stretches
# may end at STRETCH_QUANTILES quantiles of the lengths.
CALL_COST = 150
STRETCH_QUANTILES = 8


@dataclass(frozen=True)
class Corpus:
    """One split. tokens [total] are ids; sentence i is tokens[offsets[i]:offsets[i+1]].

    chars, bytes [N]: characters and UTF-8 bytes of each sentence as it was read, one space between
    words. None where the ids do not come from text, as in sentences that a model generated.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    chars: np.ndarray | None = None
    bytes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Words per sentence, [N], without end-of-sentence."""
        return np.diff(self.offsets)

    @property
    def words_per_sentence(self) -> float:
        """The mean of the lengths."""
        return float(self.offsets[-1] - self.offsets[0]) / len(self)


def gather_slices(tokens: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> Corpus:
    """The sentences tokens[start:stop], which may overlap, as a corpus."""
    lengths = stops - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    # the index of each token: its sentence's start, plus the steps since the start
    return Corpus(
        tokens[np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])], offsets
    )


def take_sentences(corpus: Corpus, examples: np.ndarray) -> Corpus:
    """The sentences of these numbers, in this order."""
    chosen = gather_slices(corpus.tokens, corpus.offsets[examples], corpus.offsets[examples + 1])
    return replace(
        chosen, chars=take_values(corpus.chars, examples), bytes=take_values(corpus.bytes, examples)
    )


def join_corpora(corpora: list[Corpus]) -> Corpus:
    """The sentences of several corpora, one corpus after another."""
    lengths = np.concatenate([corpus.lengths for corpus in corpora])
    return Corpus(
        np.concatenate([corpus.tokens for corpus in corpora]),
        np.concatenate([[0], np.cumsum(lengths)]),
    )


def take_values(values: np.ndarray | None, examples: np.ndarray) -> np.ndarray | None:
    """The values of these examples; None for None."""
    return None if values is None else values[examples]


@dataclass(frozen=True)
class Stretch:
    """Time steps start:stop of the first `rows` rows.

    real [k]: positions of its real tokens in the flattened [rows * (stop - start)].
    """

    rows: int
    start: int
    stop: int
    real: Tensor


@dataclass(frozen=True)
class TextBatch(Batch):
    """B sentences, longest first.

    tokens [B, T] end with EOS and are padded with PAD; lengths [B] include the EOS. targets [n] and
    owner [n] list the real tokens, stretch after stretch, and their rows. examples [B] are numbers
    in the split; chars and bytes [B] are those of the corpus.
    """

    tokens: Tensor
    lengths: Tensor = field()
    stretches: tuple[Stretch, ...]
    targets: Tensor
    owner: Tensor
    examples: np.ndarray
    chars: np.ndarray | None = None
    bytes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device) -> "TextBatch":
        if device.type == "cpu":
            return self
        move = {
            name: getattr(self, name).to(device)
            for name in ("tokens", "lengths", "targets", "owner")
        }
        return replace(
            self,
            stretches=tuple(replace(s, real=s.real.to(device)) for s in self.stretches),
            **move,
        )

    def bag_nll(self, outputs: Tensor) -> Tensor:
        """-log of each sentence as a bag of words under softmax(outputs), outputs [B, V]; [B] nats.

        The end of a sentence counts as a word, as it does in a decoder's -log p(x|z).
        """
        # one softmax per sentence, then one look-up per real token
        losses = -functional.log_softmax(outputs, -1)[self.owner, self.targets]
        return losses.new_zeros(len(self)).index_add(0, self.owner, losses)


def make_batch(corpus: Corpus, examples: np.ndarray) -> TextBatch:
    """The sentences `examples` [B] of a corpus as one batch."""
    starts, lengths = (
        corpus.offsets[examples],
        corpus.offsets[examples + 1] - corpus.offsets[examples],
    )
    # decreasing lengths, so that the rows still running are always the first ones; stable, so
    # that the batch does not depend on the sorting algorithm
    order = np.argsort(-lengths, kind="stable")
    examples, starts, lengths = examples[order], starts[order], lengths[order]
    time = np.arange(lengths[0] + 1)
    inside = time < lengths[:, None]
    tokens = np.full(inside.shape, PAD, dtype=np.int64)
    tokens[inside] = corpus.tokens[(starts[:, None] + time)[inside]]
    # at the position after the last word, which `time` has room for
    tokens[np.arange(len(examples)), lengths] = EOS
    lengths = lengths + 1

    stretches, targets, owner = [], [], []
    for rows, start, stop in choose_stretches(lengths):
        # row-major order: `real` then indexes the flattened outputs in the order of `targets`
        row, step = np.nonzero(np.arange(start, stop) < lengths[:rows, None])
        stretches.append(Stretch(rows, start, stop, torch.from_numpy(row * (stop - start) + step)))
        targets.append(tokens[row, step + start])
        owner.append(row)
    return TextBatch(
        torch.from_numpy(tokens),
        torch.from_numpy(lengths),
        tuple(stretches),
        torch.from_numpy(np.concatenate(targets)),
        torch.from_numpy(np.concatenate(owner)),
        examples,
        take_values(corpus.chars, examples),
        take_values(corpus.bytes, examples),
    )


def choose_stretches(lengths: np.ndarray) -> list[tuple[int, int, int]]:
    """(rows, start, stop) of each stretch for decreasing `lengths` [B].

    The stops of lowest cost are found as a shortest path (dynamic programming). A stretch holds
    exactly the rows that are longer than its start, so each row ends inside its last stretch.
    """
    size = len(lengths)
    # only quantiles of the lengths are candidates, so that the search is fast
    times = [
        0,
        *sorted({int(lengths[size * k // STRETCH_QUANTILES]) for k in range(STRETCH_QUANTILES)}),
    ]
    alive = [int((lengths > time).sum()) for time in times]
    cost, came_from = [0.0] * len(times), [0] * len(times)
    for j in range(1, len(times)):
        # a last stretch from times[i] to times[j], after the cheapest way to times[i]
        ways = [cost[i] + CALL_COST + alive[i] * (times[j] - times[i]) for i in range(j)]
        cost[j] = min(ways)
        came_from[j] = ways.index(cost[j])
    # walk back from the end along the choices that were cheapest
    bounds, j = [], len(times) - 1
    while j > 0:
        i = came_from[j]
        bounds.append((alive[i], times[i], times[j]))
        j = i
    return bounds[::-1]
