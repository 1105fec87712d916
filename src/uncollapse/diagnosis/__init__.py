"""Is this VAE collapsed? All metrics and one figure page for anybody's PyTorch model, given two callables.

    diagnose(model.encode, lambda x, z: -model.decode(z).log_prob(x).sum(-1), x_test, page="diagnosis")

1. may labels be matched to the data, do the sizes fit?                                  (given.py)
2. the modules behind the two callables go into evaluation mode, and back at the end     (modes.py)
3. one walk over the data: encode once, decode with own, foreign and K importance codes,
   each answer checked                                                                   (walk, model.py)
4. the metrics, a probe where labels are given, one sentence                             (diagnose, verdicts.py)
5. numbers that cannot be, and the argument that is most likely at fault                 (doubts.py)
6. a page to print                                                                       (report/diagnosis.py)
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from uncollapse.diagnosis.doubts import doubts, roundings
from uncollapse.diagnosis.given import batches_of, check_size, exact_of, factors_of, require_order
from uncollapse.diagnosis.model import Batch, Subject, check_finite
from uncollapse.diagnosis.modes import evaluation_mode, fresh_statistics, modules_behind
from uncollapse.diagnosis.verdicts import NEARLY, verdict
from uncollapse.distributions.moments import FRESH
from uncollapse.errors import InputError, check_integer
from uncollapse.metrics.base import Pass, standard_error
from uncollapse.metrics.one_pass import collect, statistics
from uncollapse.metrics.likelihood import importance_weighted, likelihood, log_weights
from uncollapse.metrics.probes import probe, usual_budgets
from uncollapse.metrics.usage import shuffle_gap

__all__ = ["Batch", "Subject", "diagnose", "verdict"]

PROMISES = ("floor", "kl_minus_floor")  # a stranger's model promises nothing


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
    """Every metric of a VAE on `data` (N examples, N >= 2) by name, "verdict", one sentence, and "warnings", a list of such.

    encode(x): the posterior of a batch x: (mean, log_var) with log_var = ln sigma², [B, D] both; or a torch Normal; or a posterior of
        uncollapse.posteriors. But for the last, the prior is N(0, I).
    nll(x, z): -log p(x|z) in nats, summed over all that x consists of, [B], for z [B, D]. For several codes an example x is repeated
        along its first dimension, at most `rows` rows (or one batch) at a time, if it is a tensor, or a tuple, list or dict of
        tensors of one first dimension; anything else is passed on as it is, once for each code.
    data: a tensor or array [N, ...], cut into batches of `batch`; or the batches (a list, a DataLoader), passed on as they are and
        walked through once. Its batches must be what encode and nll take: of pairs (x, y) give `(x for x, _ in loader)`.
    samples: importance samples K of nll. mixture: at most about so many examples form q(z).
    labels: [N] class numbers, or {name: [N]}, in the order in which `data` gives its examples: a linear probe learns from a random
        half of the examples and is tested on the other. log_prob: [N] exact log p(x) where known, in that order: oracle_gap. Both
        need data whose order is known: a tensor, a list, or a DataLoader that does not shuffle.
    page: a folder for index.html and the figure diagnosis.{pdf,svg,png}; an earlier page of ours in it is replaced.

    Values are nats per example; `<name>_se` is one standard error over examples. No gradients; torch's random state is forked and
    seeded, so a call repeats itself and leaves no trace. Modules behind encode and nll, and any other that is called meanwhile, run in
    evaluation mode and are then as they were; what encode and nll answer in float16 or bfloat16 is widened first. What makes a
    number doubtful is a warning and stands in "warnings". InputError, one sentence, for what cannot be done.
    """
    for name, value, low in (
        ("samples", samples, 1),
        ("batch", batch, 2),
        ("rows", rows, 1),
        ("mixture", mixture, 2),
    ):
        check_integer(name, value, low)
    check_integer("seed", seed, 0)
    batches, size = batches_of(data, batch)
    factors = {} if labels is None else factors_of(labels)
    exact = None if log_prob is None else exact_of(log_prob)
    for name, given in (("labels", labels), ("log_prob", log_prob)):
        if given is not None:
            require_order(name, data)
    folder = None
    if page is not None:
        from uncollapse.report.diagnosis import (  # matplotlib, for those who want a page
            check_page_folder,
            write_page,
        )

        folder = check_page_folder(page)
    if size is not None:
        check_size(size, factors, exact)
    notes: list[str] = []
    try:
        subject, modules = Subject(encode, nll, rows), modules_behind(encode, nll)
        with torch.no_grad(), torch.random.fork_rng(), evaluation_mode(modules) as switched:
            known = list(switched)
            notes += modes(known, fresh_statistics(modules))
            torch.manual_seed(seed)
            seen, weighted = walk(subject, batches, samples, seed)
            notes += modes([name for name in switched if name not in known], [])
            check_size(len(seen.rec), factors, exact)
            found = one_pass(seen, mixture)
        falls = weighted["fall_2"], weighted["fall_8"]
        found |= likelihood(weighted["nll"], weighted["ess"], samples, None, exact, falls)
        found |= probed(seen.mean, factors, seed) if factors else {}
        notes += [*subject.unsteady, *roundings(subject.facts, found["kl"])]
        notes += doubts(found, seen, weighted["nll"], exact, subject.facts)
    finally:
        for note in notes:
            warnings.warn(note, stacklevel=2)
    found = {"verdict": verdict(found), "warnings": notes, **found}
    if folder is not None:
        try:
            write_page(found, folder, NEARLY)
        except OSError as error:  # the numbers took long, the page can be had again
            warnings.warn(
                f"page={page}: cannot be written ({error.strerror}); the numbers are returned",
                stacklevel=2,
            )
    return found


def modes(switched: list[str], fresh: list[str]) -> list[str]:
    """What there is to say of the modules: those that were in training mode, and batch norm without statistics."""
    said = []
    if switched:
        said.append(
            f"{' and '.join(switched)}: in training mode; evaluated in evaluation mode (no dropout, no batch statistics) and set back"
        )
    if fresh:
        said.append(f"{', '.join(dict.fromkeys(fresh))}: {FRESH}")
    return said


def walk(
    subject: Subject, batches: Iterable, samples: int, seed: int
) -> tuple[Pass, dict[str, np.ndarray]]:
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
            if number == 0:
                with torch.random.fork_rng():
                    subject.probe(batch)
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
    found = {
        name: value
        for name, value in statistics(seen, None, mixture).items()
        if name not in PROMISES
    }
    paired = ~np.isnan(seen.rec_shuffled)
    if paired.any():
        found |= shuffle_gap(
            replace(seen, rec=seen.rec[paired], rec_shuffled=seen.rec_shuffled[paired])
        )
    return found | {"kl_per_dim_se": [standard_error(values) for values in seen.kl.T]}


def probed(means: np.ndarray, factors: Mapping[str, np.ndarray], seed: int) -> dict:
    """The probe, taught by a random half of the examples and tested on the other. means [N, D]."""
    order = np.random.default_rng(seed).permutation(len(means))
    taught, tested = np.split(order, [len(order) // 2])
    budgets = usual_budgets(len(taught)) or [len(taught)]
    halves = [{name: values[half] for name, values in factors.items()} for half in (taught, tested)]
    return probe(means[taught], halves[0], means[tested], halves[1], budgets)
