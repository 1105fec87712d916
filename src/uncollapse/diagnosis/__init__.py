"""Is this VAE collapsed? All metrics, and one page with figures, for any PyTorch model.

    diagnose(model.encode, lambda x, z: -model.decode(z).log_prob(x).sum(-1), x_test,
             page="diagnosis")

given          check data, labels and log_prob, and whether they match
modes          put the modules behind the two callables in evaluation mode during the call
walk           one pass over the data: encode each batch once, decode several kinds of codes
model          the two callables, with every returned value checked (answers, batches)
repeatability  whether encode and nll return the same values twice
doubts         impossible numbers, and the argument most likely at fault (facts)
verdicts       one sentence
The page is made by report/diagnosis.py.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from uncollapse.diagnosis.doubts import find_doubts
from uncollapse.diagnosis.facts import describe_roundings
from uncollapse.diagnosis.given import Reference, make_batches
from uncollapse.diagnosis.model import CheckedModel
from uncollapse.diagnosis.modes import (
    describe_modes,
    evaluation_mode,
    find_fresh_statistics,
    find_modules,
)
from uncollapse.diagnosis.verdicts import COLLAPSE_GAP, verdict
from uncollapse.diagnosis.walk import Walk, compute_statistics
from uncollapse.errors import check_integer
from uncollapse.extras import require_installed
from uncollapse.json_types import JsonMapping, JsonObject
from uncollapse.metrics.information import FINAL_MIXTURE
from uncollapse.metrics.likelihood import DECODED_CODES, likelihood
from uncollapse.metrics.probes import probe, usual_budgets
from uncollapse.metrics.rows_evaluation import DEFAULT_SAMPLES

__all__ = ["diagnose", "verdict"]


def diagnose(
    encode: Callable[[Any], object],
    nll: Callable[[Any, Tensor], Tensor],
    data: object,
    *,
    samples: int = DEFAULT_SAMPLES,
    labels: ArrayLike | Mapping[str, ArrayLike] | None = None,
    log_prob: ArrayLike | None = None,
    page: str | Path | None = None,
    batch: int = 128,
    rows: int = DECODED_CODES,
    mixture: int = FINAL_MIXTURE,
    seed: int = 0,
) -> JsonObject:
    """Every metric of a VAE on `data` (N >= 2 examples) by name, "verdict" and "warnings".

    The verdict is one sentence, the warnings a list of sentences.

    encode(x): the posterior of a batch x. Either (mean, log_var) with log_var = ln sigma², both
        [B, D], or a torch Normal; the prior is then N(0, I). Or a posterior of
        uncollapse.posteriors, which has its own prior.
    nll(x, z): -log p(x|z) in nats, [B], for z [B, D]; summed over all pixels or words of x. For
        several codes, examples are repeated along the first dimension, at most `rows` rows (or one
        batch) at a time, if x is a tensor, or a tuple, list or dict of tensors with one first
        dimension. Any other x is passed on as it is, once for each code.
    data: a tensor or array [N, ...], split into batches of `batch`; or batches (a list, a
        DataLoader), which are passed on as they are and iterated over once. Its batches must be
        what encode and nll take: for pairs (x, y) give `(x for x, _ in loader)`.
    samples: importance samples per example, for nll.
    mixture: about how many examples at most form the aggregate posterior q(z).
    labels: class numbers [N], or {name: [N]}. A linear probe learns from a random half of the
        examples and is tested on the other half.
    log_prob: exact log p(x) [N] in nats, where it is known; gives oracle_gap.
        labels and log_prob must be in the order of `data`, which must be a tensor, a list, or a
        DataLoader that does not shuffle.
    page: a folder for index.html and the figure diagnosis.{pdf,svg,png}; an earlier page of
        `diagnose` in it is replaced.

    Values are nats per example; `<name>_se` is one standard error over examples. There are no
    gradients. Torch's random state is forked and seeded: a call is repeatable, and later random
    numbers are the same with or without it. Modules behind encode and nll, and others called
    meanwhile, are in evaluation mode during the call. Returned float16 and bfloat16 are converted
    to float32. InputError, one sentence, if a request cannot be carried out.
    """
    check_settings(samples=samples, batch=batch, rows=rows, mixture=mixture, seed=seed)
    if labels is not None:
        require_installed("labels", "sklearn")
    if page is not None:
        require_installed("page", "matplotlib", "jinja2", "pandas")
    batches, size = make_batches(data, batch)
    reference = Reference.parse(labels, log_prob, data)
    # before any computing, which may take hours
    folder = None if page is None else find_page_folder(page)
    if size is not None:
        reference.check_counts(size)
    model = CheckedModel(encode, nll, rows)
    notes: list[str] = []
    try:
        metrics = measure(model, batches, reference, samples, mixture, seed, notes)
    finally:  # after an error too: a note may explain it
        for note in notes:
            warnings.warn(note, stacklevel=2)
    metrics = {"verdict": verdict(metrics), "warnings": notes, **metrics}
    if folder is not None and (failure := write_diagnosis_page(metrics, folder)):
        warnings.warn(failure, stacklevel=2)
    return metrics


def check_settings(*, samples: int, batch: int, rows: int, mixture: int, seed: int) -> None:
    """InputError for a setting out of range."""
    check_integer("samples", samples, 1)
    check_integer("batch", batch, 2)
    check_integer("rows", rows, 1)
    check_integer("mixture", mixture, 2)
    check_integer("seed", seed, 0)


def measure(
    model: CheckedModel,
    batches: Iterable[object],
    reference: Reference,
    samples: int,
    mixture: int,
    seed: int,
    notes: list[str],
) -> JsonObject:
    """All metrics by name; `notes` receives a sentence for each thing that makes them doubtful."""
    modules = find_modules(model.encoder, model.decoder)
    # forked, so that the caller's random numbers are the same with or without this call
    with torch.no_grad(), torch.random.fork_rng(), evaluation_mode(modules) as switched:
        reported = list(switched)
        notes += describe_modes(reported, find_fresh_statistics(modules))
        torch.manual_seed(seed)
        # `switched` grows while modules that the search missed are called
        seen, weighted = Walk(model, samples, seed).run(batches)
        notes += describe_modes([name for name in switched if name not in reported], [])
        # of an iterator the number of examples is known only now
        reference.check_counts(len(seen.rec))
        metrics = compute_statistics(seen, mixture)
    falls = weighted["fall_2"], weighted["fall_8"]
    exact = reference.log_prob
    metrics |= likelihood(weighted["nll"], weighted["ess"], samples, None, exact, falls)
    if reference.factors:
        metrics |= run_probe(seen.mean, reference.factors, seed)
    notes += [*model.unsteady, *describe_roundings(model.facts, metrics["kl"])]
    notes += find_doubts(metrics, seen, weighted["nll"], exact, model.facts)
    return metrics


def run_probe(means: np.ndarray, factors: Mapping[str, np.ndarray], seed: int) -> JsonObject:
    """A linear probe of means [N, D], fitted on a random half and tested on the other half."""
    order = np.random.default_rng(seed).permutation(len(means))
    train, test = np.split(order, [len(order) // 2])
    budgets = usual_budgets(len(train)) or [len(train)]
    labels = [{name: values[half] for name, values in factors.items()} for half in (train, test)]
    return probe(means[train], labels[0], means[test], labels[1], budgets)


# ---------------------------------------------------------------- page


def find_page_folder(page: str | Path) -> Path:
    """The folder for the page. InputError if it holds anything but an earlier page."""
    from uncollapse.report.diagnosis import check_page_folder  # imports matplotlib

    return check_page_folder(page)


def write_diagnosis_page(metrics: JsonMapping, folder: Path) -> str:
    """Write the page; '' or why it could not be written.

    Numbers that took long to compute are not lost to a full disk.
    """
    from uncollapse.report.diagnosis import write_page

    try:
        write_page(metrics, folder, COLLAPSE_GAP)
    except OSError as error:
        return f"page={folder}: cannot be written ({error.strerror}); the numbers are returned"
    return ""
