"""One pass over a split, and every metric that can be had from it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.distributions.moments import population
from uncollapse.distributions.normal import Posterior
from uncollapse.metrics import Pass
from uncollapse.metrics.information import information
from uncollapse.metrics.rates import floor_distance, perplexity, rates
from uncollapse.metrics.usage import active_units, collapse, moments, shuffle_gap
from uncollapse.models import Model

EVAL_BATCH = 128  # evaluation batches are at least this large: no gradient is kept, and larger products run faster
EVAL_SEED = 7381  # batches and noise of an evaluation are the same at every step and for every head


def evaluate(
    model: Model,
    data,
    split: str,
    mode: str,
    limit: int | None = None,
    floor: float | None = None,
    mixture: int | None = None,
    encode: Callable[[Any], Posterior] | None = None,
) -> dict:
    """Every metric of one pass over a split, or over a fixed random `limit` of its examples; at most about `mixture` form q(z).

    encode: where codes are found in another way than by the model's own encoder.
    mode "eval": population statistics, no dropout. mode "train": as the optimiser meets it, with batch statistics and dropout.
    """
    with evaluating(model, train=mode == "train"):
        seen = collect(
            encode or model.encode, model.nll, evaluation_batches(model, data, split, mode, limit)
        )
        return statistics(seen, floor, mixture)


def statistics(seen: Pass, floor: float | None = None, mixture: int | None = None) -> dict:
    """All that one pass tells."""
    parts = (
        rates(seen),
        perplexity(seen),
        active_units(seen),
        shuffle_gap(seen),
        information(seen, mixture),
        collapse(seen),
        moments(seen),
        floor_distance(seen, floor),
    )
    return {name: value for part in parts for name, value in part.items()} | {
        "examples": len(seen.rec)
    }


@contextmanager
def evaluating(model: Model, train: bool) -> Iterator[None]:
    """No gradients, the model in the asked mode, randomness forked and seeded. All is as before on leaving, running averages too."""
    was_training = model.training
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()} if train else {}
    model.train(train)
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(EVAL_SEED)
            yield
    finally:
        for name, buffer in model.named_buffers():
            if name in kept:
                buffer.copy_(kept[name])
        model.train(was_training)


def collect(
    encode: Callable[[Any], Posterior], nll: Callable[[Any, Tensor], Tensor], batches: Iterable
) -> Pass:
    """Encode each batch once, decode it with its own z and with another example's.

    nll takes z [n, B, D]. A batch has a length and may have `lengths`, the tokens of each example.
    """
    columns: dict[str, list[Tensor]] = {
        name: [] for name in ("rec", "rec_shuffled", "kl", "mean", "variance", "z")
    }
    tokens: list[Tensor | None] = []
    posteriors = []
    sizes: dict[str, list[np.ndarray | None]] = {"chars": [], "bytes": []}
    for batch in batches:
        q = encode(batch)
        z = q.sample()
        if len(batch) > 1:
            rec, shuffled = nll(batch, torch.stack([z, z[somebody_else(len(batch))]]))
        else:
            (rec,) = nll(batch, z[None])
            shuffled = torch.full_like(rec, torch.nan)
        found = {
            "rec": rec,
            "rec_shuffled": shuffled,
            "kl": q.kl,
            "mean": q.mean,
            "variance": q.variance,
            "z": z,
        }
        for name, values in found.items():
            columns[name].append(values)
        tokens.append(batch.lengths)
        for name, parts in sizes.items():
            parts.append(getattr(batch, name, None))
        posteriors.append(q)
    z = torch.cat(columns.pop("z")).detach()
    arrays = {
        name: torch.cat(parts).detach().double().cpu().numpy() for name, parts in columns.items()
    }
    known = [t for t in tokens if t is not None]
    counted = torch.cat(known).cpu().numpy() if len(known) == len(tokens) else None
    return Pass(
        **arrays,
        tokens=counted,
        z=z,
        posteriors=posteriors,
        chars=joined(sizes["chars"]),
        bytes=joined(sizes["bytes"]),
    )


def joined(parts: list[np.ndarray | None]) -> np.ndarray | None:
    """All parts as one array; None where one is missing."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known and len(known) == len(parts) else None


def evaluation_batches(model: Model, data, split: str, mode: str, limit: int | None) -> Iterator:
    """Fixed batches on the model's device: of training's own kind in mode "train", otherwise large and of mixed composition."""
    device = next(model.parameters()).device
    if mode == "train":
        batches = data.batches(split, EVAL_SEED, 0)
    else:
        batches = data.batches(
            split, EVAL_SEED, 0, size=max(EVAL_BATCH, data.batch_size), batching="mixed"
        )
    seen = 0
    for examples in batches:
        if limit is not None and seen >= limit:
            return
        seen += len(examples)
        yield data.batch(split, examples).to(device)


def somebody_else(n: int) -> Tensor:
    """A random permutation of n >= 2 without fixed point: everyone gets the code of the next one in a random ring, [n]."""
    ring = torch.randperm(n)
    partner = torch.empty_like(ring)
    partner[ring] = ring.roll(1)
    return partner


def recompute_population(model: Model, data, examples: int) -> None:
    """Set the batch-norm heads' evaluation statistics to the exact moments of (a fixed choice of) training examples.

    Nothing is run for heads that keep no such statistics.
    """
    if not list(model.posterior.buffers()):
        return
    was_training = model.training
    model.eval()
    model.posterior.train()  # only a head in training mode gathers; dropout elsewhere stays off, as in evaluation
    # a head may draw noise in training mode: how often one looks must not change what training draws
    with torch.no_grad(), torch.random.fork_rng(), population(model):
        for batch in evaluation_batches(model, data, "train", "eval", examples):
            model.encode(batch)
    model.train(was_training)
