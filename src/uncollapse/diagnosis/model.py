"""The model that `diagnose` is given, two callables: each answer is checked, and asked for twice on the first batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from uncollapse.diagnosis.doubts import Facts
from uncollapse.diagnosis.user_posterior import ATTRIBUTES, UserPosterior
from uncollapse.distributions.normal import DiagonalGaussian, Posterior
from uncollapse.distributions.precision import NARROW, wide
from uncollapse.errors import InputError

ENCODINGS = (
    "a tuple (mean, log_var) of tensors [B, D], a torch.distributions.Normal (or Independent(Normal)) of shape [B, D], "
    "or a posterior of uncollapse.posteriors"
)


@dataclass
class Batch:
    """A batch as it was given, its number, and its posterior once encoded; its length is the posterior's B.

    `narrow`: the dtype of what encode returned where that is float16 or bfloat16.
    """

    x: Any
    number: int
    narrow: torch.dtype | None = None
    posteriors: list[Posterior] = field(default_factory=list)
    # a user's batch may be anything: its text, if it is text, is not counted
    lengths: None = None
    chars: None = None
    bytes: None = None

    def __len__(self) -> int:
        return len(self.posteriors[0].mean)


@dataclass
class Subject:
    """The user's model as metrics see one; at most `rows` rows are decoded at a time, or one batch where that is larger.

    Kept on the way: `facts` for doubts.py, and in `unsteady` a sentence each where encode or nll do not repeat themselves.
    """

    encoder: Callable[[Any], Any]
    decoder: Callable[[Any, Tensor], Tensor]
    rows: int
    facts: Facts = field(default_factory=Facts)
    unsteady: list[str] = field(default_factory=list)
    codes: torch.dtype | None = None  # of z, once known where encode answers in a narrow dtype

    def encode(self, batch: Batch) -> Posterior:
        answer = called("encode", self.encoder, batch.x)
        q = posterior_of(answer, batch.number)
        if isinstance(q, DiagonalGaussian) and q is not answer:
            self.facts.note_pair(*pair_of(answer))
            if q.codes in NARROW:
                batch.narrow, q = q.codes, replace(q, codes=torch.float32)
        else:
            self.facts.note_kl(q.kl)
        tensors = tensors_of(batch.x)
        self.facts.note_data(tensors, isinstance(batch.x, Tensor))
        lengths = [len(x) for x in tensors]
        wrong = [n for n in lengths if n != len(q.mean)]
        if wrong:
            raise InputError(
                f"data: batch {batch.number} has tensors of {' and '.join(map(str, lengths))} rows, and encode returned "
                f"{len(q.mean)}; allowed is the same number of examples in all"
            )
        batch.posteriors.append(q)
        return q

    def nll(self, batch: Batch, z: Tensor) -> Tensor:
        """z [n, B, D] -> -log p(x|z) [n, B]."""
        return torch.cat(
            [self.decode(batch, part) for part in z.split(max(1, self.rows // z.shape[1]))]
        )

    def decode(self, batch: Batch, z: Tensor) -> Tensor:
        """The same in one call where x can be repeated: row b n + k holds example b and its code k."""
        n, size, dims = z.shape
        if n == 1 or not tensors_of(batch.x):
            return torch.stack([self.answer(batch, batch.x, code) for code in z])
        rows = z.transpose(0, 1).reshape(n * size, dims)
        return self.answer(batch, repeated(batch.x, n), rows).reshape(size, n).T

    def answer(self, batch: Batch, x: Any, z: Tensor) -> Tensor:
        """nll of each row of z, in float32 at least."""
        found = checked_nll(self.decoded(batch, x, z), len(z), batch.number)
        self.facts.note_nll(found)
        return wide(found)

    def decoded(self, batch: Batch, x: Any, z: Tensor) -> Any:
        """What the decoder says of codes in float32, or where it fails on those, of codes in the dtype that encode answers in."""
        if self.codes is None and batch.narrow is not None:
            try:
                found = called("nll", self.decoder, x, z)
            except (RuntimeError, InputError):
                self.codes = batch.narrow
            else:
                self.codes = z.dtype
                return found
        return called("nll", self.decoder, x, z.to(self.codes or z.dtype))

    def probe(self, batch: Batch) -> None:
        """Note where encode or nll answers differently when asked the same again, or for the first half of the batch alone."""
        (q,) = batch.posteriors
        z, half = q.sample(), len(batch) // 2
        several = half > 1 and bool(tensors_of(batch.x))

        def encoded(x: Any) -> list[Tensor]:
            again = posterior_of(self.encoder(x), batch.number)
            return [again.mean, again.variance]

        def decoded(x: Any, z: Tensor) -> list[Tensor]:
            return [wide(checked_nll(self.decoded(batch, x, z), len(z), batch.number))]

        first = [q.mean, q.variance]
        self.compare("encode", AGAIN, first, lambda: encoded(batch.x))
        if several:
            self.compare(
                "encode", ALONE, [x[:half] for x in first], lambda: encoded(cut(batch.x, half))
            )
        costs = decoded(batch.x, z)
        if half > 1 and bool((costs[0] == costs[0][0]).all()):
            self.unsteady.append(f"nll: {EQUAL}")
        self.compare("nll", AGAIN, costs, lambda: decoded(batch.x, z))
        if several:
            self.compare(
                "nll",
                ALONE,
                [x[:half] for x in costs],
                lambda: decoded(cut(batch.x, half), z[:half]),
            )

    def compare(
        self, name: str, why: str, first: list[Tensor], ask: Callable[[], list[Tensor]]
    ) -> None:
        if any(said.startswith(f"{name}: ") for said in self.unsteady):
            return
        try:
            second = ask()
        except (
            Exception
        ):  # made for batches of one size, or to be asked once: nothing is known then
            return
        if not all(alike(a, b, ALIKE[why]) for a, b in zip(first, second, strict=True)):
            self.unsteady.append(f"{name}: {why}")


AGAIN = (
    "answers differently when asked the same again, so its numbers are noisy ones: dropout or another random draw is on; put the "
    "model in evaluation mode, and give F.dropout its training=self.training"
)
ALONE = (
    "answers differently for the same examples in a smaller batch: batch statistics (batch norm in training mode) are in use, or it "
    "sums or averages over the batch; put the model in evaluation mode, and keep examples apart"
)
EQUAL = "gives every example of a batch the very same number: it sums or averages over the batch; keep examples apart"
# of the root mean square: products of other sizes are rounded differently, in bfloat16 the more; dropout changes more than that
ALIKE = {AGAIN: 1e-3, ALONE: 0.02}


def alike(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Equal up to rounding."""
    a, b = a.double(), b.double()
    return a.shape == b.shape and bool((a - b).square().mean() <= tolerance**2 * a.square().mean())


def cut(x: Any, n: int) -> Any:
    """The first n examples of a batch of tensors."""
    return each_tensor(x, lambda part: part[:n])


def called(name: str, function: Callable, x: Any, *codes: Tensor) -> Any:
    """function(x, *codes); InputError where it fails on a batch of several parts, of which it may have been made for one."""
    try:
        return function(x, *codes)
    except (TypeError, AttributeError, RuntimeError, ValueError, LookupError) as error:
        if not isinstance(x, tuple | list | Mapping):
            raise
        first = str(error).strip().splitlines() or [""]
        raise InputError(
            f"data: each batch is {structure(x)}, and {name} failed on one ({type(error).__name__}: {first[0]}); {remedy(x)}"
        ) from error


def structure(x: Any) -> str:
    """'a list of 2 (float32 [64, 784], int64 [64])'."""
    parts = (
        [(f"{name}: ", part) for name, part in x.items()]
        if isinstance(x, Mapping)
        else [("", part) for part in x]
    )
    shown = [name + described(part) for name, part in parts[:6]] + (
        ["..."] if len(parts) > 6 else []
    )
    return f"a {type(x).__name__} of {len(parts)} ({', '.join(shown)})"


def described(part: Any) -> str:
    if isinstance(part, Tensor):
        return f"{str(part.dtype).removeprefix('torch.')} {list(part.shape)}"
    return type(part).__name__


def remedy(x: Any) -> str:
    """How to hand over the part of a batch that encode and nll were made for."""
    if isinstance(x, Mapping):
        at, loop = repr(next(iter(x), "x")), ""
    else:
        at, loop = "0", f"data=(x for x{', _' if len(x) == 2 else ', *_'} in loader), or "
    return f"give {loop}encode=lambda batch: model.encode(batch[{at}]) and nll=lambda batch, z: model.nll(batch[{at}], z)"


def tensors_of(x: Any) -> list[Tensor]:
    """The tensors that a batch consists of; [] where it is anything else, which cannot be repeated."""
    parts = list(x.values()) if type(x) is dict else list(x) if type(x) in (tuple, list) else [x]
    return parts if all(isinstance(part, Tensor) and part.dim() > 0 for part in parts) else []


def repeated(x: Any, n: int) -> Any:
    """Each example n times, one copy after the other."""
    return each_tensor(x, lambda part: part.repeat_interleave(n, 0))


def each_tensor(x: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A batch with each of its tensors changed; see `tensors_of`."""
    if isinstance(x, Tensor):
        return change(x)
    if isinstance(x, dict):
        return {name: change(part) for name, part in x.items()}
    return type(x)(change(part) for part in x)


def pair_of(answer: Any) -> tuple[Tensor, Tensor]:
    """mean and ln sigma² as encode gave them: in their own dtype."""
    while isinstance(answer, Independent):
        answer = answer.base_dist
    return (
        (answer.loc, 2 * answer.scale.log())
        if isinstance(answer, Normal)
        else (answer[0], answer[1])
    )


def posterior_of(found: Any, number: int) -> Posterior:
    """A posterior of the house from what encode returned; InputError where it is none."""
    while isinstance(found, Independent):
        found = found.base_dist
    if isinstance(found, Normal):
        mean, scale = checked_pair(("mean", found.loc), ("scale", found.scale), number)
        if not (scale > 0).all():
            few = int((scale <= 0).sum())
            raise InputError(
                f"encode: scale has {few} of {scale.numel()} values that are not above 0 in batch {number}"
            )
        return DiagonalGaussian(mean, scale, 2 * wide(scale).log())
    if (
        isinstance(found, tuple | list)
        and len(found) == 2
        and all(isinstance(part, Tensor) for part in found)
    ):
        mean, log_var = checked_pair(("mean", found[0]), ("log_var", found[1]), number)
        q: Posterior = DiagonalGaussian.from_log_var(mean, log_var)
    elif isinstance(found, Posterior) or all(hasattr(found, name) for name in ATTRIBUTES):
        q = found if isinstance(found, Posterior) else UserPosterior(found)
        checked_pair(("mean", q.mean), ("variance", q.variance), number)
    else:
        what = type(found).__name__
        if isinstance(found, tuple | list):
            what += f" of {' and '.join(type(part).__name__ for part in found)}"
        raise InputError(f"encode: returned a {what}; allowed is {ENCODINGS}")
    if q.kl.dim() != 2 or len(q.kl) != len(q.mean):
        raise InputError(
            f"encode: the posterior's kl is of shape {list(q.kl.shape)}; allowed is [{len(q.mean)}, D] or [.., 1]"
        )
    check_finite("encode: the kl of the posterior", q.kl, number)
    return q


def checked_pair(
    first: tuple[str, Tensor], second: tuple[str, Tensor], number: int
) -> tuple[Tensor, Tensor]:
    """Two tensors [B, D] of finite numbers, without their graph."""
    for name, x in (first, second):
        if x.dim() != 2 or not x.is_floating_point() or 0 in x.shape:
            raise InputError(
                f"encode: {name} is of shape {list(x.shape)} and type {x.dtype} in batch {number}; allowed are floats [B, D]"
            )
    shapes = [list(x.shape) for _, x in (first, second)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"encode: {first[0]} is of shape {shapes[0]} and {second[0]} of shape {shapes[1]} in batch {number}; "
            "allowed is one shape [B, D] for both"
        )
    for name, x in (first, second):
        check_finite(f"encode: {name}", x, number)
    return first[1].detach(), second[1].detach()


def check_finite(what: str, x: Tensor, number: int) -> None:
    bad = x.numel() - int(x.isfinite().sum())
    if bad:
        raise InputError(
            f"{what} has {bad} of {x.numel()} values that are not finite (NaN or infinite) in batch {number}"
        )


def checked_nll(found: Any, size: int, number: int) -> Tensor:
    """[size] finite floats, or InputError."""
    if not isinstance(found, Tensor):
        raise InputError(
            f"nll: returned a {type(found).__name__}; allowed is a tensor [B], one number for each row of z"
        )
    if found.shape != (size,) or not found.is_floating_point():
        raise InputError(
            f"nll: returned shape {list(found.shape)} and type {found.dtype} for {size} rows of z in batch {number}; allowed are floats "
            f"[{size}]: summed over all that an example consists of, neither summed nor averaged over examples"
        )
    check_finite("nll", found, number)
    return found.detach()
