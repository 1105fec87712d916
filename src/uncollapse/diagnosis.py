"""Is this VAE collapsed? All metrics and one figure page for anybody's PyTorch model, given two callables.

    diagnose(model.encode, lambda x, z: -model.decode(z).log_prob(x).sum(-1), x_test, page="diagnosis")

1. the outsider's two callables become the two verbs of the house, each answer checked      (Subject)
2. one walk over the data: encode once, decode with own, foreign and K importance codes     (walk)
3. the metrics of the house, a probe where labels are given, one sentence                   (diagnose, verdict)
4. a page to print                                                                          (report/diagnosis.py)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.distributions import Independent, Normal

from uncollapse.errors import InputError, whole
from uncollapse.metrics import Pass, standard_error
from uncollapse.metrics.evaluation import collect, statistics
from uncollapse.metrics.likelihood import importance_weighted, likelihood, log_weights
from uncollapse.metrics.probes import fitting, probe
from uncollapse.metrics.usage import shuffle_gap
from uncollapse.posteriors.normal import DiagonalGaussian, Posterior

NEARLY = 0.1  # nats: a shuffled gap surely below it is called a collapse
WRITTEN = 0.05  # nats: a dimension tells of x when its mi is above this and above two standard errors
PROMISES = ("floor", "kl_minus_floor")  # a stranger's model promises nothing
OFFERS = ("kl", "log_ratio", "sample", "mean", "variance")  # what makes a posterior
ENCODINGS = (
    "a tuple (mean, log_var) of tensors [B, D], a torch.distributions.Normal (or Independent(Normal)) of shape [B, D], "
    "or a posterior of uncollapse.posteriors"
)


def diagnose(
    encode: Callable[[Any], Any],
    nll: Callable[[Any, Tensor], Tensor],
    data: Any,
    *,
    samples: int = 500,
    labels: ArrayLike | Mapping[str, ArrayLike] | None = None,
    log_prob: ArrayLike | None = None,
    page: str | Path | None = None,
    batch: int = 128,
    rows: int = 512,
    mixture: int = 10_000,
    seed: int = 0,
) -> dict:
    """Every metric of a VAE on `data` (N examples, N >= 2) by name, and "verdict", one sentence. Put the model in eval mode first.

    encode(x): the posterior of a batch x: (mean, log_var) with log_var = ln sigma², [B, D] both; or a torch Normal; or a posterior of
        uncollapse.posteriors. But for the last, the prior is N(0, I).
    nll(x, z): -log p(x|z) in nats, summed over all that x consists of, [B], for z [B, D]. For several codes an example x is repeated
        along its first dimension, at most `rows` rows (or one batch) at a time, if it is a tensor, or a tuple, list or dict of
        tensors of one first dimension; anything else is passed on as it is, once for each code.
    data: a tensor or array [N, ...], cut into batches of `batch`; or the batches (a list, a DataLoader), passed on as they are and
        walked through once.
    samples: importance samples K of nll. mixture: at most about so many examples form q(z).
    labels: [N] class numbers, or {name: [N]}, in the order in which `data` gives its examples: a linear probe learns from a random
        half of the examples and is tested on the other. log_prob: [N] exact log p(x) where known, in that order: oracle_gap.
    page: a folder for index.html and the figure diagnosis.{pdf,svg,png}; an earlier page of ours in it is replaced.

    Values are nats per example; `<name>_se` is one standard error over examples. No gradients; torch's random state is forked and
    seeded, so a call repeats itself and leaves no trace. InputError, one sentence, for what cannot be done.
    """
    for name, value, low in (("samples", samples, 1), ("batch", batch, 2), ("rows", rows, 1), ("mixture", mixture, 2)):
        whole(name, value, low)
    whole("seed", seed, 0)
    batches, size = batches_of(data, batch)
    factors = {} if labels is None else factors_of(labels)
    exact = None if log_prob is None else exact_of(log_prob)
    folder = None
    if page is not None:
        from uncollapse.report.diagnosis import free_folder, write_page  # matplotlib, for those who want a page

        folder = free_folder(page)
    if size is not None:
        check_size(size, factors, exact)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        seen, weighted = walk(Subject(encode, nll, rows), batches, samples, seed)
    check_size(len(seen.rec), factors, exact)
    found = {
        **one_pass(seen, mixture),
        **likelihood(weighted["nll"], weighted["ess"], samples, None, exact, (weighted["fall_2"], weighted["fall_8"])),
        **(probed(seen.mean, factors, seed) if factors else {}),
    }
    found = {"verdict": verdict(found), **found}
    if folder is not None:
        write_page(found, folder, NEARLY)
    return found


# ---- what is given -----------------------------------------------------------------------------------------------------


def batches_of(data: Any, batch: int) -> tuple[Iterable, int | None]:
    """The batches, and the number of examples where it can be known before the walk."""
    if hasattr(data, "__array__"):
        try:
            x = data if isinstance(data, Tensor) else torch.as_tensor(np.asarray(data))
        except TypeError as error:
            raise InputError(f"data: an array that makes no tensor ({error}); allowed is an array of numbers") from None
        if x.dim() == 0:
            raise InputError("data: a tensor without dimensions; allowed is [N, ...]")
        return x.split(batch), len(x)
    walkable = isinstance(data, Iterable) or hasattr(data, "__getitem__")
    if isinstance(data, str | bytes | Mapping) or not walkable:
        raise InputError(
            f"data: a {type(data).__name__}; allowed is a tensor or array [N, ...], or batches: a list, a DataLoader"
        )
    if isinstance(data, list | tuple) and all(tensors_of(x) for x in data):
        return data, sum(len(tensors_of(x)[0]) for x in data)
    return data, None


def factors_of(labels: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """{name: class numbers 0, 1, ... [N]}."""
    named = labels if isinstance(labels, Mapping) else {"label": labels}
    return {str(name): classes(str(name), as_array(values)) for name, values in named.items()}


def classes(name: str, values: np.ndarray) -> np.ndarray:
    if values.ndim != 1 or values.dtype.kind not in "iubUS":
        raise InputError(
            f"labels: {name} is of shape {list(values.shape)} and type {values.dtype}; allowed are whole numbers, [N]"
        )
    return np.unique(values, return_inverse=True)[1]


def exact_of(log_prob: ArrayLike) -> np.ndarray:
    values = as_array(log_prob)
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise InputError(
            f"log_prob: of shape {list(values.shape)} and type {values.dtype}; allowed are finite numbers, [N]"
        )
    return values.astype(np.float64)


def as_array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def check_size(size: int, factors: Mapping[str, np.ndarray], exact: np.ndarray | None) -> None:
    """InputError where there are too few examples, or not one label and one log_prob for each."""
    if size < 2:
        examples = "1 example" if size else "no example"
        raise InputError(f"data: {examples}; errors, mi and the shuffled gap compare examples: at least 2 are needed")
    if factors and size < 4:
        raise InputError(f"labels: {size} examples; a probe learns from one half and needs at least 4")
    for name, values in factors.items():
        if len(values) != size:
            raise InputError(f"labels: {name} has {len(values)} entries; allowed are {size}, one for each example")
    if exact is not None and len(exact) != size:
        raise InputError(f"log_prob: {len(exact)} entries; allowed are {size}, one for each example")


# ---- the two callables -------------------------------------------------------------------------------------------------


@dataclass
class Batch:
    """A batch as it was given, its number, and its posterior once encoded; its length is the posterior's B."""

    x: Any
    number: int
    posteriors: list[Posterior] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.posteriors[0].mean)


@dataclass
class Subject:
    """The outsider's model with the verbs of the house; at most `rows` rows are decoded at a time, or one batch where that is larger."""

    encoder: Callable[[Any], Any]
    decoder: Callable[[Any, Tensor], Tensor]
    rows: int

    def encode(self, batch: Batch) -> Posterior:
        q = posterior_of(self.encoder(batch.x), batch.number)
        lengths = [len(x) for x in tensors_of(batch.x)]
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
        return torch.cat([self.decode(batch, part) for part in z.split(max(1, self.rows // z.shape[1]))])

    def decode(self, batch: Batch, z: Tensor) -> Tensor:
        """The same in one call where x can be repeated: row b n + k holds example b and its code k."""
        n, size, dims = z.shape
        if n == 1 or not tensors_of(batch.x):
            return torch.stack([checked_nll(self.decoder(batch.x, code), size, batch.number) for code in z])
        rows = z.transpose(0, 1).reshape(n * size, dims)
        return checked_nll(self.decoder(repeated(batch.x, n), rows), n * size, batch.number).reshape(size, n).T


def tensors_of(x: Any) -> list[Tensor]:
    """The tensors that a batch consists of; [] where it is anything else, which cannot be repeated."""
    parts = list(x.values()) if type(x) is dict else list(x) if type(x) in (tuple, list) else [x]
    return parts if all(isinstance(part, Tensor) and part.dim() > 0 for part in parts) else []


def repeated(x: Any, n: int) -> Any:
    """Each example n times, one copy after the other."""
    if isinstance(x, Tensor):
        return x.repeat_interleave(n, 0)
    if isinstance(x, dict):
        return {name: part.repeat_interleave(n, 0) for name, part in x.items()}
    return type(x)(part.repeat_interleave(n, 0) for part in x)


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
        return DiagonalGaussian(mean, scale, 2 * scale.log())
    if isinstance(found, tuple | list) and len(found) == 2 and all(isinstance(part, Tensor) for part in found):
        mean, log_var = checked_pair(("mean", found[0]), ("log_var", found[1]), number)
        q: Posterior = DiagonalGaussian.from_log_var(mean, log_var)
    elif all(hasattr(found, name) for name in OFFERS):
        q = found
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


def checked_pair(first: tuple[str, Tensor], second: tuple[str, Tensor], number: int) -> tuple[Tensor, Tensor]:
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


# ---- the walk and the numbers ------------------------------------------------------------------------------------------


def walk(subject: Subject, batches: Iterable, samples: int, seed: int) -> tuple[Pass, dict[str, np.ndarray]]:
    """One pass, and nll, ess and the falls [N] from `samples` codes an example. Each batch is met once, and may be forgotten after it."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("nll", "ess", "fall_2", "fall_8")}
    dims: set[int] = set()

    def each() -> Iterator[Batch]:
        for number, x in enumerate(batches):
            batch = Batch(x, number)
            torch.manual_seed(stream(seed, number, 0))  # whatever a loader drew for its own use
            yield batch  # here it is encoded, and decoded with its own and with foreign codes
            (q,) = batch.posteriors
            dims.add(q.mean.shape[1])
            if len(dims) > 1:
                raise InputError(
                    f"encode: {' and '.join(map(str, sorted(dims)))} latent dimensions; allowed is one D for all"
                )
            generator = torch.Generator(q.mean.device).manual_seed(stream(seed, number, 1))
            weights = log_weights(partial(subject.nll, batch), q, samples, generator, subject.rows)
            check_finite("nll: its importance weights", weights, number)
            found = importance_weighted(weights)
            for name, values in parts.items():
                values.append(found[name])
        if not parts["nll"]:
            raise InputError(
                "data: no batch in it; allowed are at least 2 examples, and an iterator not walked through before"
            )

    seen = collect(subject.encode, subject.nll, each())
    return seen, {name: np.concatenate(values) for name, values in parts.items()}


def stream(seed: int, number: int, use: int) -> int:
    """A seed of a batch's own, the same whatever the batches before it were; another one for another use."""
    return int(np.random.SeedSequence((seed, number, use)).generate_state(1)[0])


def one_pass(seen: Pass, mixture: int) -> dict:
    """The statistics of a pass. Examples alone in their batch have nobody to swap codes with and are left out of the shuffled gap."""
    found = {name: value for name, value in statistics(seen, None, mixture).items() if name not in PROMISES}
    paired = ~np.isnan(seen.rec_shuffled)
    if paired.any():
        found |= shuffle_gap(replace(seen, rec=seen.rec[paired], rec_shuffled=seen.rec_shuffled[paired]))
    return found | {"kl_per_dim_se": [standard_error(values) for values in seen.kl.T]}


def probed(means: np.ndarray, factors: Mapping[str, np.ndarray], seed: int) -> dict:
    """The probe, taught by a random half of the examples and tested on the other. means [N, D]."""
    order = np.random.default_rng(seed).permutation(len(means))
    taught, tested = np.split(order, [len(order) // 2])
    budgets = fitting(len(taught)) or [len(taught)]
    halves = [{name: values[half] for name, values in factors.items()} for half in (taught, tested)]
    return probe(means[taught], halves[0], means[tested], halves[1], budgets)


# ---- the verdict -------------------------------------------------------------------------------------------------------


def verdict(found: Mapping[str, Any]) -> str:
    """One sentence: does the decoder read z, and what does the encoder write into it?"""
    reads, collapsed = decoder_part(found)
    link = ", yet" if collapsed and found["kl"] > NEARLY else ";"
    return f"{reads}{link} {encoder_part(found)}."


def decoder_part(found: Mapping[str, Any]) -> tuple[str, bool]:
    """What the shuffled gap allows to say, and whether that is a collapse."""
    gap, error = found["shuffle_gap"], found["shuffle_gap_se"]
    if gap is None or error is None:
        return (
            "cannot tell whether the decoder reads z: too few batches hold two examples whose codes could be exchanged",
            False,
        )
    measured = f"shuffled gap {round(gap, 2) + 0:.2f} ± {error:.2f} nats"
    if gap == 0 and error == 0:
        return f"collapsed: the decoder ignores z: {measured}", True
    if gap < -3 * error:
        return (
            f"something is wrong: another example's code fits better than the own one ({measured}), "
            "so encode and nll may not see the examples in the same order"
        ), False
    if gap + 2 * error < NEARLY:
        much = "nothing" if gap <= 2 * error else "next to nothing"
        return f"collapsed: the decoder gains {much} from z: {measured}", True
    if gap <= 2 * error:
        return (
            f"cannot tell whether the decoder reads z: {measured} does not differ from 0 at this number of examples",
            False,
        )
    return f"not collapsed: the decoder reads z: {measured}", False


def encoder_part(found: Mapping[str, Any]) -> str:
    """mi, with its ceiling where that is what was measured, and the dimensions that tell of x."""
    told, rest = f"{max(found['mi'], 0):.2f} ± {found['mi_se']:.2f} nats", dimensions_part(found)
    if found["mi_saturated"]:
        told = f"at least about {found['mi']:.2f} nats"
        rest += f"; mi is saturated (ceiling ln {found['mi_n']:,} = {found['mi_ceiling']:.2f})"
    return f"the encoder writes {told} about x, of a rate of {found['kl']:.2f}{rest}"


def dimensions_part(found: Mapping[str, Any]) -> str:
    """', into 2 of 8 dimensions (z[0], z[5])'; '' where the posterior does not split."""
    if found["mi_per_dim"] is None:
        return ""
    mi, error = np.array(found["mi_per_dim"]), np.array(found["mi_per_dim_se"])
    used = np.flatnonzero(mi > np.maximum(WRITTEN, 2 * error))
    if not len(used):
        return f", and no dimension tells more than {WRITTEN} nats of x"
    names = f" ({', '.join(f'z[{i}]' for i in used)})" if len(used) < len(mi) and len(used) <= 8 else ""
    return f", into {len(used)} of {len(mi)} dimensions{names}"
