"""One pass over a split: encode and decode its examples, then compute every metric of the pass."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from uncollapse.distributions.moments import population
from uncollapse.interfaces.data import Batch, Data
from uncollapse.interfaces.posterior import Posterior
from uncollapse.json_types import JsonObject
from uncollapse.metrics import catalogue
from uncollapse.metrics.base import Pass
from uncollapse.metrics.likelihood import importance_weighted, log_weights
from uncollapse.metrics.metric import PASS
from uncollapse.models import Model

Encode = Callable[[Any], Posterior]  # a batch -> its posterior
FinalLoss = Callable[[Tensor, Posterior, Tensor, Any], Tensor]  # rec [B], q, z, batch -> nats
Decode = Callable[[Any, Tensor], Tensor]  # a batch and codes [n, B, D] -> -log p(x|z) [n, B]
EVAL_BATCH = 128  # smallest batch in evaluation: larger matrix products run faster
EVAL_SEED = 7381  # evaluations use the same batches and noise at every step and for every head


def evaluate(
    model: Model,
    data: Data,
    split: str,
    mode: str,
    limit: int | None = None,
    floor: float | None = None,
    mixture: int | None = None,
    encode: Encode | None = None,
    loss: FinalLoss | None = None,
) -> JsonObject:
    """Every metric of one pass over a split, or over a fixed random subset of `limit` examples.

    mode "eval": population statistics, no dropout. mode "train": batch statistics and dropout, as
    in a training step. About `mixture` examples estimate q(z). `encode` replaces the model's own
    encoder, for procedures that infer codes in another way. `loss` adds the metric "objective".
    """
    # the mode decides what is measured: the loss in training, or the trained model
    with evaluating(model, train=mode == "train"):
        batches = evaluation_batches(model, data, split, mode, limit)
        seen = collect(encode or model.encode, model.nll, batches, loss)
        return statistics(seen, floor, mixture)


def estimate_nll(model: Model, data: Data, encode: Encode, examples: int, samples: int) -> float:
    """The importance-weighted nll of about `examples` validation examples, in nats."""
    found = []
    with evaluating(model, train=False):
        for batch in evaluation_batches(model, data, "valid", "eval", examples):
            q = encode(batch)
            weights = log_weights(partial(model.nll, batch), q, samples, None)
            found.append(importance_weighted(weights)["nll"])
    return float(np.concatenate(found).mean())


def statistics(seen: Pass, floor: float | None = None, mixture: int | None = None) -> JsonObject:
    """Every metric of the stage "pass", by name."""
    return catalogue.compute(PASS, replace(seen, floor=floor, mixture=mixture))


@contextmanager
def evaluating(model: Model, train: bool) -> Iterator[None]:
    """Without gradients, with the model in the given mode and with seeded randomness.

    Restores the mode, the random state and the buffers of the model on exit.
    """
    was_training = model.training
    # in training mode, batch norm updates its running averages
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()} if train else {}
    model.train(train)
    try:
        # forked, so that training continues as if no evaluation had taken place
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(EVAL_SEED)
            yield
    finally:
        for name, buffer in model.named_buffers():
            if name in kept:
                buffer.copy_(kept[name])
        model.train(was_training)


# ---- the pass ------------------------------------------------------------------------------------


class CountedBatch(Protocol):
    """A batch whose length metrics need and, for text, the sizes of its examples, [B] each."""

    def __len__(self) -> int: ...
    @property
    def lengths(self) -> Tensor | None: ...  # tokens
    @property
    def chars(self) -> np.ndarray | None: ...
    @property
    def bytes(self) -> np.ndarray | None: ...


def collect(
    encode: Encode,
    nll: Decode,
    batches: Iterable[CountedBatch],
    loss: FinalLoss | None = None,
) -> Pass:
    """Encode each batch once; decode it with its own codes and with those of other examples.

    nll takes z [n, B, D].
    """
    losses: list[float] = []  # each batch's loss times its size
    columns: dict[str, list[Tensor]] = {}
    counts: dict[str, list[np.ndarray | None]] = {"tokens": [], "chars": [], "bytes": []}
    posteriors = []
    for batch in batches:
        q = encode(batch)
        posteriors.append(q)
        for name, values in decode(batch, q, nll).items():
            # columns are created at the first batch, whose posterior decides their widths
            columns.setdefault(name, []).append(values)
        if loss is not None:
            rec, z = columns["rec"][-1], columns["z"][-1]
            with torch.random.fork_rng():  # a loss may draw numbers: the codes stay the same
                losses.append(len(batch) * float(loss(rec, q, z, batch)))
        tokens = None if batch.lengths is None else batch.lengths.cpu().numpy()
        for name, count in (("tokens", tokens), ("chars", batch.chars), ("bytes", batch.bytes)):
            counts[name].append(count)
    joined = {name: torch.cat(parts).detach() for name, parts in columns.items()}
    # z keeps its dtype and device, because posteriors evaluate densities at it
    arrays = {name: joined[name].double().cpu().numpy() for name in joined.keys() - {"z"}}
    return Pass(
        rec=arrays["rec"],
        rec_shuffled=arrays["rec_shuffled"],
        kl=arrays["kl"],
        mean=arrays["mean"],
        variance=arrays["variance"],
        z=joined["z"],
        posteriors=posteriors,
        tokens=concatenate_complete(counts["tokens"]),
        chars=concatenate_complete(counts["chars"]),
        bytes=concatenate_complete(counts["bytes"]),
        loss=sum(losses) / len(arrays["rec"]) if losses else None,
    )


def decode(batch: CountedBatch, q: Posterior, nll: Decode) -> dict[str, Tensor]:
    """The values of one batch, by their names in `Pass`; a single example has no shuffled rec."""
    z = q.sample()
    if len(batch) > 1:
        rec, shuffled = nll(batch, torch.stack([z, z[derangement(len(batch))]]))
    else:
        (rec,) = nll(batch, z[None])
        shuffled = torch.full_like(rec, torch.nan)
    drawn = {"rec": rec, "rec_shuffled": shuffled, "z": z}
    return {**drawn, "kl": q.kl, "mean": q.mean, "variance": q.variance}


def derangement(n: int) -> Tensor:
    """A random permutation [n] without fixed points, for n >= 2: each takes the next in a ring."""
    # a cycle through all examples has no fixed point
    ring = torch.randperm(n)
    partner = torch.empty_like(ring)
    partner[ring] = ring.roll(1)
    return partner


def concatenate_complete(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """All parts as one array; None if one is missing."""
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present and len(present) == len(parts) else None


# ---- batches and statistics ----------------------------------------------------------------------


def evaluation_batches(
    model: Model, data: Data, split: str, mode: str, limit: int | None
) -> Iterator[Batch]:
    """Fixed batches on the model's device: those of training in mode "train", otherwise larger
    ones of mixed lengths."""
    device = next(model.parameters()).device
    if mode == "train":
        batches = data.batches(split, EVAL_SEED, 0)
    else:
        size = max(EVAL_BATCH, data.batch_size)
        batches = data.batches(split, EVAL_SEED, 0, size=size, batching="mixed")
    # the limit counts examples, but batches stay complete
    seen = 0
    for examples in batches:
        if limit is not None and seen >= limit:
            return
        seen += len(examples)
        yield data.batch(split, examples).to(device)


def recompute_population(model: Model, data: Data, examples: int) -> None:
    """Set the evaluation statistics of batch-norm heads to the exact moments of training examples.

    Wu & Johnson 2021 ("precise BN"). Uses a fixed choice of about `examples` examples; does nothing
    for heads without such statistics.
    """
    # heads with batch moments keep them in buffers
    if not list(model.posterior.buffers()):
        return
    was_training = model.training
    model.eval()
    # only a head in training mode collects moments; dropout elsewhere stays off, as in evaluation
    model.posterior.train()
    # the head may draw noise, which must not change the random numbers of training
    with torch.no_grad(), torch.random.fork_rng(), population(model):
        for batch in evaluation_batches(model, data, "train", "eval", examples):
            model.encode(batch)
    model.train(was_training)
