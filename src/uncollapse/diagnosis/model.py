"""The user's model, given as two callables, with the interface that metrics use.

Every returned value is checked. Codes z are passed in float32; if the decoder fails on float32,
in the dtype that encode returns.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from uncollapse.diagnosis.answers import check_nll, raw_mean_log_var, to_posterior
from uncollapse.diagnosis.batches import (
    batch_tensors,
    describe_batch,
    repeat_examples,
    suggest_unpacking,
)
from uncollapse.diagnosis.facts import BatchFacts
from uncollapse.distributions.normal import DiagonalGaussian, Posterior
from uncollapse.distributions.precision import NARROW, wide
from uncollapse.errors import InputError

EncodeFunction = Callable[[Any], object]  # x -> a value that `to_posterior` accepts
NllFunction = Callable[[Any, Tensor], object]  # (x, z) -> -log p(x|z) [B]


@dataclass
class NumberedBatch:
    """A batch as it was given, its number, and its posterior once encoded; its length is B."""

    x: Any  # whatever the user's callables take
    number: int
    narrow: torch.dtype | None = None  # that encode returned, if it is float16 or bfloat16
    posteriors: list[Posterior] = field(default_factory=list)
    # sizes of text, which are unknown for a user's batch
    lengths: None = None
    chars: None = None
    bytes: None = None

    def __len__(self) -> int:
        return len(self.posteriors[0].mean)


@dataclass
class CheckedModel:
    """encode and nll with checked return values, and what was noticed about them.

    At most `rows` rows are decoded at a time, or one batch where that is larger.
    """

    encoder: EncodeFunction
    decoder: NllFunction
    rows: int
    facts: BatchFacts = field(default_factory=BatchFacts)
    unsteady: list[str] = field(default_factory=list)  # sentences; see repeatability.py
    code_dtype: torch.dtype | None = None  # of z; set at encode's first narrow result

    def encode(self, batch: NumberedBatch) -> Posterior:
        """The posterior of a batch. InputError if encode returns none, or one of another length."""
        answer = call_user_function("encode", self.encoder, batch.x)
        q = to_posterior(answer, batch.number)
        # a posterior that is passed through computes its own kl, and has no log_var to inspect
        if isinstance(q, DiagonalGaussian) and q is not answer:
            self.facts.note_mean_log_var(*raw_mean_log_var(answer))
            # codes are drawn in float32, since rounded codes would change log q(z)
            if q.codes in NARROW:
                batch.narrow, q = q.codes, replace(q, codes=torch.float32)
        else:
            self.facts.note_kl(q.kl)
        tensors = batch_tensors(batch.x)
        self.facts.note_data(tensors, isinstance(batch.x, Tensor))
        lengths = [len(x) for x in tensors]
        if any(length != len(q.mean) for length in lengths):
            raise InputError(
                f"data: batch {batch.number} has tensors of {' and '.join(map(str, lengths))} "
                f"rows, and encode returned {len(q.mean)}; allowed is the same number of examples "
                "in all"
            )
        batch.posteriors.append(q)
        return q

    def nll(self, batch: NumberedBatch, z: Tensor) -> Tensor:
        """z [n, B, D] -> -log p(x|z) [n, B]."""
        # as many codes at a time as the limit on rows allows
        codes_per_call = max(1, self.rows // z.shape[1])
        return torch.cat([self.decode(batch, codes) for codes in z.split(codes_per_call)])

    def decode(self, batch: NumberedBatch, z: Tensor) -> Tensor:
        """As `nll`, in one call if x can be repeated: row b n + k has example b and its code k."""
        n, size, dims = z.shape
        if n == 1 or not batch_tensors(batch.x):
            return torch.stack([self.decode_rows(batch, batch.x, code) for code in z])
        # row b n + k, as repeat_interleave orders the examples
        rows = z.transpose(0, 1).reshape(n * size, dims)
        return self.decode_rows(batch, repeat_examples(batch.x, n), rows).reshape(size, n).T

    def decode_rows(self, batch: NumberedBatch, x: object, z: Tensor) -> Tensor:
        """-log p(x|z) for each row of z, in float32 or wider."""
        nll = check_nll(self.call_decoder(batch, x, z), len(z), batch.number)
        self.facts.note_nll(nll)
        return wide(nll)

    def call_decoder(self, batch: NumberedBatch, x: object, z: Tensor) -> object:
        """What nll returns for float32 codes or, if it fails on those, for narrow ones."""
        # tried once: later calls use the dtype with which the first one succeeded
        if self.code_dtype is None and batch.narrow is not None:
            try:
                answer = call_user_function("nll", self.decoder, x, z)
            # both the user's own error and the explanation of `call_user_function`
            except (RuntimeError, InputError):
                self.code_dtype = batch.narrow
            else:
                self.code_dtype = z.dtype
                return answer
        return call_user_function("nll", self.decoder, x, z.to(self.code_dtype or z.dtype))


def call_user_function(
    name: str, function: Callable[..., object], x: object, *codes: Tensor
) -> object:
    """function(x, *codes).

    InputError if it fails on a batch of several tensors; it may expect only one of them.
    """
    try:
        return function(x, *codes)
    except (TypeError, AttributeError, RuntimeError, ValueError, LookupError) as error:
        if not isinstance(x, tuple | list | Mapping):
            raise
        first = str(error).strip().splitlines() or [""]
        raise InputError(
            f"data: each batch is {describe_batch(x)}, and {name} failed on one "
            f"({type(error).__name__}: {first[0]}); {suggest_unpacking(x)}"
        ) from error
