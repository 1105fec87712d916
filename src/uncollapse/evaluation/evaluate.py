"""Numbers of finished runs that cost too much for training: nll by importance weighting, probes, and every metric on other splits.

Results lie in the run folder, `evaluations/<split>-<metric>...json` (nll per example beside it, as .jsonl), and join
its summary; what training wrote stays as it is. A stopped evaluation goes on where it was.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uncollapse.data.batches import epoch_batches, near_equal
from uncollapse.data.corpus import taken
from uncollapse.data.digests import file_digest
from uncollapse.disk import write_atomic
from uncollapse.errors import InputError
from uncollapse.evaluation.command import Settings
from uncollapse.evaluation.command import main as main
from uncollapse.evaluation.opened import Subject, encoded_means, opened
from uncollapse.metrics.evaluation import (
    EVAL_BATCH,
    EVAL_SEED,
    collect,
    evaluate,
    evaluating,
    statistics,
)
from uncollapse.metrics.likelihood import ROWS, importance_weighted, likelihood, log_weights
from uncollapse.metrics.probes import check_budgets, fitting, probe
from uncollapse.metrics.rates import per_size
from uncollapse.runs.json_values import complete_lines, is_intact, is_numbers, plain, sealed
from uncollapse.runs.layout import EVALUATIONS, UNLABELLED, WEIGHTS, Run
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import repair, write_result
from uncollapse.training.trainer import FINAL_MIXTURE, promised_floor

COLUMNS = ("nll", "ess", "fall_2", "fall_8", "examples")  # of each example, on the rows of an nll
SHOWN = (  # on the line about a result
    "nll", "nll_ppl", "oracle_gap", "probe", "nelbo", "rec", "kl", "mi", "shuffle_gap",
    "sample_grammatical", "sample_oracle_ppl", "sample_lm_ppl", "sample_distinct", "sample_novel", "sample_self_bleu",
    "response_bleu4", "response_distinct_1", "response_distinct_2", "response_variety",
)  # fmt: skip
BESIDE = {
    "nll": {"bias about": "nll_bias", "ess": "nll_ess"},
    "probe": {"chance": "probe_chance"},
}  # what it is read with


def evaluate_run(
    run: Run, settings: Settings, explicit: bool, loaded: dict[str, Any], say: Callable[[str], None]
) -> None:
    """What is asked for and not there yet. A probe that nobody asked for is left out where there are no labels."""
    with run.lock():
        read_config(run)  # a damaged one is said, also where nothing is left to do
        there, damaged = repair(run)
        for sentence in damaged:
            say(f"warning: {sentence}; kept under another name")
        if missing := settings.missing(there):
            subject = opened(run, loaded, say)
            if settings.examples is not None and settings.examples >= subject.data.size(
                settings.split
            ):
                settings = replace(settings, examples=None)
                missing = settings.missing(there)
            if "probe" in missing and not subject.data.labels and not explicit:
                missing.remove("probe")
                run.write(EVALUATIONS, UNLABELLED, data=b"")
            for metric in missing:
                result, name = FUNCTIONS[metric](subject, settings), settings.name(metric)
                write_result(run, name, result)
                say(f"{name}: {line(result)}")
            repair(run)


# ---------------------------------------------------------------- the metrics


def statistics_of(subject: Subject, settings: Settings) -> dict:
    """Everything that one pass tells, in evaluation mode."""
    model, data, floor = subject.model, subject.data, promised_floor(subject.model)
    if settings.examples is None:
        return evaluate(
            model, data, settings.split, "eval", None, floor, FINAL_MIXTURE, subject.encode
        )
    batches = near_equal(chosen(data, settings), EVAL_BATCH)
    with evaluating(model, train=False):
        seen = collect(
            subject.encode, model.nll, (subject.batch(settings.split, part) for part in batches)
        )
        return statistics(seen, floor, FINAL_MIXTURE)


def chosen(data: Any, settings: Settings) -> np.ndarray:
    """The examples asked for, the same random choice for every run and metric, [N]."""
    order = np.random.default_rng((EVAL_SEED, 0)).permutation(data.size(settings.split))
    return order[: settings.examples]


def probe_of(subject: Subject, settings: Settings) -> dict:
    """Linear classifiers on the means of labelled training examples, tested on the split."""
    data = subject.data
    if not data.labels:
        raise InputError("--metrics probe: this run's data have no labels")
    available = data.size("train")
    budgets = fitting(available) if settings.labels is None else sorted(settings.labels)
    if not budgets:
        raise InputError(
            f"--metrics probe: the smallest budget is 100 labels, and the training part has {available}; give --labels"
        )
    check_budgets(budgets, available)
    labelled = np.random.default_rng(EVAL_SEED).choice(available, budgets[-1], replace=False)
    codes = encoded_means(subject, "train", labelled)
    labels = {name: values[labelled] for name, values in data.labels["train"].items()}
    tested = encoded_means(subject, settings.split, np.arange(data.size(settings.split)))
    best = data.best_accuracy(settings.split) if data.best_accuracy else None
    return probe(codes, labels, tested, data.labels[settings.split], budgets, best)


def nll_of(subject: Subject, settings: Settings) -> dict:
    """Importance weights of every example, a few examples at a time on each core; those on disk already are not done again."""
    path = subject.run.path(EVALUATIONS, f"{settings.name('nll')}.jsonl")
    path.parent.mkdir(exist_ok=True)
    groups = groups_of(subject.data, settings)
    rows, again = begun(path, file_digest(subject.run.path(WEIGHTS))[:16], groups)
    if again:
        subject.say(
            f"nll: {again} of {len(groups)} groups were begun without all columns or are damaged, and are evaluated again"
        )
    todo = [(i, group) for i, group in enumerate(groups) if i not in rows]
    with (
        path.open("a", encoding="utf-8") as file,
        progress(subject.say, len(groups), len(rows)) as step,
        workers(subject.model, settings.workers) as pool,
    ):
        for row in pool.map(lambda item: weighted(subject, settings, *item), todo):
            file.write(json.dumps(sealed(row)) + "\n")
            file.flush()
            rows[row["group"]] = row
            step()
    seen = {
        name: np.concatenate([np.array(rows[i][name], float) for i in range(len(groups))])
        for name in COLUMNS
    }
    tokens = [row["tokens"] for row in rows.values()]
    counted = (
        None if None in tokens else np.concatenate([rows[i]["tokens"] for i in range(len(groups))])
    )
    known = subject.data.log_prob.get(settings.split)
    order = seen["examples"].astype(int)
    log_prob = None if known is None else known[order]
    corpus = getattr(subject.data, "corpora", {}).get(settings.split)
    chars, size = (
        (None, None) if corpus is None else (taken(corpus.chars, order), taken(corpus.bytes, order))
    )
    falls = seen["fall_2"], seen["fall_8"]
    found = likelihood(seen["nll"], seen["ess"], settings.samples, counted, log_prob, falls)
    return found | per_size(seen["nll"], chars, size, "nll", "nll_")


def groups_of(data: Any, settings: Settings) -> list[np.ndarray]:
    """Which examples are decoded together: as many of one length as give about ROWS codes; the unit of resuming."""
    examples = chosen(data, settings)
    lengths = data.lengths(settings.split)[examples]
    size = max(1, ROWS // settings.samples)
    return [examples[group] for group in epoch_batches(lengths, size, "by_length", EVAL_SEED, 0)]


def weighted(subject: Subject, settings: Settings, number: int, group: np.ndarray) -> dict:
    """nll, nelbo, ess and falls of one group's examples. Its noise depends on the group alone, so order and stops change nothing."""
    model = subject.model
    device = next(model.parameters()).device
    with torch.no_grad():
        batch = subject.batch(settings.split, group)
        generator = torch.Generator(device).manual_seed(EVAL_SEED + number)
        q = subject.encode(batch, generator)
        weights = log_weights(lambda z: model.nll(batch, z), q, settings.samples, generator)
    if not weights.isfinite().all():
        raise InputError(
            f"{subject.run.folder}: the weights of {settings.split} example {batch.examples[0]} are not finite numbers"
        )
    lengths = getattr(batch, "lengths", None)
    return {
        "group": number,
        "examples": batch.examples.tolist(),
        "tokens": None if lengths is None else lengths.tolist(),
        **{name: plain(values.tolist()) for name, values in importance_weighted(weights).items()},
    }


def samples_of(subject: Subject, settings: Settings) -> dict:
    """What the model writes or draws, into `samples/` of the run folder, and numbers about it."""
    if subject.model.can_respond:
        from uncollapse.evaluation.responses import look
    else:
        from uncollapse.evaluation.samples import look

    return look(subject, settings.split, settings.unknown)


FUNCTIONS: dict[str, Callable[[Subject, Settings], dict]] = {
    "samples": samples_of,
    "nll": nll_of,
    "probe": probe_of,
    "statistics": statistics_of,
}


@contextmanager
def workers(model: Any, count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads with one core each: matrix products release Python's lock, and small ones gain nothing from a second core."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    pool = ThreadPoolExecutor(
        1 if on_gpu else count, initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


# ---------------------------------------------------------------- what lies on disk


def begun(path: Path, weights: str, groups: list[np.ndarray]) -> tuple[dict[int, dict], int]:
    """Rows on disk by group, from a file that starts with the weights it belongs to; a torn line is dropped.

    Also how many rows are damaged, or lack a column that was not yet kept when they were written: they are dropped, to be made again.
    """
    head = {"weights": weights, "groups": len(groups)}
    kept = complete_lines(path)
    if kept and kept[0] != head:
        raise InputError(
            f"{path}: damaged, or begun with other weights or data; move it away to start anew"
        )
    complete = [
        row for row in kept[1:] if is_complete(row) and is_of(row, groups) and is_intact(row)
    ]
    rows = {row["group"]: row for row in complete}
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in [head, *rows.values()]).encode())
    return rows, len(kept[1:]) - len(complete)


def is_of(row: dict, groups: list[np.ndarray]) -> bool:
    """Whether a row's examples are those of its group."""
    number = row["group"]
    return 0 <= number < len(groups) and {*row["examples"]} == {*groups[number].tolist()}


def is_complete(row: Any) -> bool:
    """Whether a row has every column of its group, each a list of numbers, one for each example."""
    if not isinstance(row, dict) or type(row.get("group")) is not int or "tokens" not in row:
        return False
    named = COLUMNS if row["tokens"] is None else (*COLUMNS, "tokens")
    columns: list[Any] = [row.get(name) for name in named]
    return all(map(is_numbers, columns)) and len({*map(len, columns)}) == 1


# ---------------------------------------------------------------- what the user sees


def line(result: dict) -> str:
    """The scalars that matter, with their errors, an nll with its bias and effective samples, a probe with chance."""
    return ", ".join(
        f"{name} {measured(result, name)}" for name in SHOWN if isinstance(result.get(name), float)
    )


def measured(result: dict, name: str) -> str:
    """'25.31 ± 0.12 (bias 0.15 ± 0.02, ess 18.3)'."""
    beside = [
        f"{label} {result[key]:.3f}"
        for label, key in BESIDE.get(name, {}).items()
        if known(result, key)
    ]
    return spread(result, name) + (f" ({', '.join(beside)})" if beside else "")


def spread(result: dict, name: str) -> str:
    return f"{result[name]:.3f}" + (
        f" ± {result[f'{name}_se']:.3f}" if known(result, f"{name}_se") else ""
    )


def known(result: dict, name: str) -> bool:
    value = result.get(name)
    return isinstance(value, float) and math.isfinite(value)


@contextmanager
def progress(say: Callable[[str], None], total: int, done: int) -> Iterator[Callable[[], None]]:
    """Yields what to call once per group: a bar on a terminal, else a line every half minute."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("nll", total=total, completed=done)
            yield lambda: bar.advance(task)
        return
    start = last = time.monotonic()
    count = done

    def step() -> None:
        nonlocal count, last
        count += 1
        now = time.monotonic()
        if now - last > 30:
            last = now
            say(
                f"nll: {count} of {total} groups, {(now - start) / (count - done) * (total - count):.0f} s left"
            )

    yield step
