"""Sentences as two flat arrays, and the padded batches made of them.

Token ids 0-3 are reserved. Sentences are stored without start and end, which batches add.
"""

from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from uncollapse.interfaces.data import Batch

PAD, BOS, EOS, UNK = range(4)
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")


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
class TextBatch(Batch):
    """B sentences, longest first.

    tokens [B, T] end with EOS and are padded with PAD; lengths [B] include the EOS. The N real
    tokens are also listed step by step, as PyTorch's packed sequences are: targets [N], the row
    (`owner`) and the time step (`time`) of each. batch_sizes [T]: the rows that have not ended
    before each step, always the first ones. examples [B] are numbers in the split; chars and bytes
    [B] are those of the corpus.
    """

    tokens: Tensor
    lengths: Tensor = field()
    batch_sizes: tuple[int, ...]
    targets: Tensor
    owner: Tensor
    time: Tensor
    examples: np.ndarray
    chars: np.ndarray | None = None
    bytes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device) -> "TextBatch":
        if device.type == "cpu":
            return self
        tensors = ("tokens", "lengths", "targets", "owner", "time")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    def select(self, rows: Tensor) -> "TextBatch":
        """The sentences of these rows, which are in increasing order."""
        lengths = self.lengths[rows]
        step, row = torch.nonzero(
            torch.arange(int(lengths.max()), device=lengths.device)[:, None] < lengths,
            as_tuple=True,
        )
        tokens = self.tokens[rows, : int(lengths.max())]
        places = rows.cpu().numpy()
        return TextBatch(
            tokens,
            lengths,
            tuple(torch.bincount(step).tolist()),
            tokens[row, step],
            row,
            step,
            self.examples[places],
            None if self.chars is None else self.chars[places],
            None if self.bytes is None else self.bytes[places],
        )

    def find_places(self, row: Tensor, step: Tensor) -> Tensor:
        """Where the tokens of these rows and time steps are in the list of real tokens."""
        starts = torch.tensor([0, *accumulate(self.batch_sizes)], device=row.device)
        return starts[step] + row

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
    # step by step, and within a step in the order of rows
    step, row = np.nonzero(np.arange(lengths[0])[:, None] < lengths)
    return TextBatch(
        torch.from_numpy(tokens),
        torch.from_numpy(lengths),
        tuple(np.bincount(step).tolist()),
        torch.from_numpy(tokens[row, step]),
        torch.from_numpy(row),
        torch.from_numpy(step),
        examples,
        take_values(corpus.chars, examples),
        take_values(corpus.bytes, examples),
    )
