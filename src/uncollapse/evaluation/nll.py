"""nll of every example by importance weighting, resumable after each group of examples."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.batches import epoch_batches
from uncollapse.data.corpus import take_values
from uncollapse.errors import InputError
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.resumable import GroupRow, GroupRows, has_number_columns
from uncollapse.evaluation.settings import Settings
from uncollapse.interfaces.data import Batch
from uncollapse.json_types import JsonObject
from uncollapse.metrics.likelihood import (
    DECODED_CODES,
    importance_weighted,
    likelihood,
    log_weights,
)
from uncollapse.metrics.one_pass import EVAL_SEED
from uncollapse.metrics.rates import per_char_and_byte
from uncollapse.runs.json_values import replace_nonfinite
from uncollapse.runs.layout import EVALUATIONS

# the columns of a row: lists with one value per example of the group
ROW_COLUMNS = ("nll", "ess", "fall_2", "fall_8", "examples")
PILOT_CODES = 16  # from which a tolerance plans the codes of an example


def evaluate_nll(opened: OpenedRun, settings: Settings) -> JsonObject:
    """nll of a split, in nats per example, with its error, bias and effective sample size."""
    groups = group_examples(opened, settings)
    path = opened.run.path(EVALUATIONS, f"{settings.result_name('nll')}.jsonl")
    # bound to the digest of the weights, so that rows of other weights are never mixed in
    store = GroupRows(path, opened.weights, groups, has_all_columns)
    with worker_threads(opened.device, settings.workers) as pool:
        rows = store.complete("nll", partial(weigh_group, opened, settings), pool, opened.say)
    return summarise_rows(opened, settings, rows)


def group_examples(opened: OpenedRun, settings: Settings) -> list[np.ndarray]:
    """The examples that are decoded together: of one length, with about DECODED_CODES codes."""
    examples = opened.examples(settings.split, settings.examples)
    lengths = opened.data.lengths(settings.split)[examples]
    # K codes of each example are decoded together, or those of the pilot
    codes = settings.samples if settings.tolerance is None else PILOT_CODES
    size = max(1, DECODED_CODES // codes)
    # of one length, so that no time is spent on padding
    return [examples[group] for group in epoch_batches(lengths, size, "by_length", EVAL_SEED, 0)]


def weigh_group(
    opened: OpenedRun, settings: Settings, number: int, examples: np.ndarray
) -> GroupRow:
    """The row of one group. InputError for weights that are not finite."""
    # seeded by the group's number, so that neither order nor interruptions change the result
    generator = torch.Generator(opened.device).manual_seed(EVAL_SEED + number)
    batch = opened.batch(settings.split, examples)
    if settings.tolerance is None:
        drawn = [(batch, draw_weights(opened, settings, batch, settings.samples, generator))]
    else:
        drawn = draw_planned(opened, settings, batch, generator)
    columns = [importance_weighted(weights) for _, weights in drawn]
    lengths = [part.lengths for part, _ in drawn if part.lengths is not None]
    return {
        "group": number,
        "examples": np.concatenate([part.examples for part, _ in drawn]).tolist(),
        "tokens": torch.cat(lengths).tolist() if lengths else None,
        "codes": [len(weights) for _, weights in drawn for _ in range(weights.shape[1])],
        **{
            name: replace_nonfinite(np.concatenate([found[name] for found in columns]).tolist())
            for name in columns[0]
        },
    }


def draw_weights(
    opened: OpenedRun, settings: Settings, batch: Batch, codes: int, generator: torch.Generator
) -> Tensor:
    """Log importance weights [codes, B] of the examples of a batch.

    InputError for weights that are not finite.
    """
    with torch.no_grad():
        q = opened.encode(batch, generator)
        weights = log_weights(partial(opened.model.nll, batch), q, codes, generator)
    if not weights.isfinite().all():
        raise InputError(
            f"{opened.run.folder}: the weights of {settings.split} example {batch.examples[0]} "
            "are not finite numbers"
        )
    return weights


def draw_planned(
    opened: OpenedRun, settings: Settings, batch: Batch, generator: torch.Generator
) -> list[tuple[Batch, Tensor]]:
    """The examples in groups, with log weights [K, B] of each; K is planned from a pilot.

    The pilot's codes are not used again: an nll from codes that also decided when to stop is too
    high, because drawing stops early where the large weights have not been seen yet.
    """
    assert settings.tolerance is not None
    pilot = draw_weights(opened, settings, batch, PILOT_CODES, generator)
    planned = plan_codes(pilot, settings.tolerance, settings.samples)
    drawn = []
    for places in split_by_codes(planned):
        part, codes = opened.batch(settings.split, batch.examples[places]), planned[places].max()
        drawn.append((part, draw_weights(opened, settings, part, int(codes), generator)))
    return drawn


def plan_codes(pilot: Tensor, tolerance: float, most: int) -> np.ndarray:
    """K [B] for an error of log mean weight of at most `tolerance`, from log weights [n, B].

    For log weights of variance s^2 and a normal distribution, weights have the relative variance
    exp(s^2) - 1, and the log of the mean of K has that over K. The variance of the logs is used
    because n weights seldom contain the large ones, which dominate the variance of the weights.
    """
    variance = pilot.double().var(0).clamp_max(50)  # exp(50) exceeds every K
    needed = torch.expm1(variance) / tolerance**2
    return needed.ceil().clamp(min(len(pilot), most), most).long().cpu().numpy()


def split_by_codes(planned: np.ndarray) -> list[np.ndarray]:
    """Groups of places in planned [B], each with about DECODED_CODES codes in total.

    Similar numbers come together, as each group draws the largest K of its places.
    """
    groups: list[list[int]] = []
    for place in np.argsort(planned, kind="stable").tolist():
        if groups and (len(groups[-1]) + 1) * planned[place] <= DECODED_CODES:
            groups[-1].append(place)
        else:
            groups.append([place])
    return [np.array(group) for group in groups]


def has_all_columns(row: GroupRow) -> bool:
    """Whether every column is a list of numbers, one per example; tokens may be null."""
    if "tokens" not in row:
        return False
    names = ROW_COLUMNS if row["tokens"] is None else (*ROW_COLUMNS, "tokens")
    return has_number_columns(row, names)


def summarise_rows(opened: OpenedRun, settings: Settings, rows: list[GroupRow]) -> JsonObject:
    """The result of a split from the rows of all groups."""
    columns = {
        name: np.concatenate([np.array(row[name], float) for row in rows]) for name in ROW_COLUMNS
    }
    # rows of a group are sorted by length; exact values are put into the same order
    order = columns["examples"].astype(int)
    has_tokens = all(row["tokens"] is not None for row in rows)
    tokens = np.concatenate([row["tokens"] for row in rows]) if has_tokens else None
    log_prob = opened.data.log_prob.get(settings.split)
    found = likelihood(
        columns["nll"],
        columns["ess"],
        settings.samples,
        tokens,
        None if log_prob is None else log_prob[order],
        (columns["fall_2"], columns["fall_8"]),
        np.concatenate([count_codes(row, settings) for row in rows]),
    )
    corpus = opened.data.corpora.get(settings.split)
    chars, size = (
        (None, None)
        if corpus is None
        else (take_values(corpus.chars, order), take_values(corpus.bytes, order))
    )
    return found | per_char_and_byte(columns["nll"], chars, size, "nll", "nll_")


def count_codes(row: GroupRow, settings: Settings) -> np.ndarray:
    """The number of codes of each example of a row; rows of older versions have K of each."""
    return np.array(row.get("codes") or [settings.samples] * len(row["examples"]))


@contextmanager
def worker_threads(device: torch.device, count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that use one core each; a single thread on a GPU."""
    # PyTorch releases the GIL, and small matrix products do not gain from a second core
    pool = ThreadPoolExecutor(
        1 if device.type == "cuda" else count, initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        yield pool
    finally:
        # queued groups are dropped, so that Ctrl-C takes effect at once
        pool.shutdown(cancel_futures=True)
