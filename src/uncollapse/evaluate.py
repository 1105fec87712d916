"""Numbers of finished runs that are too dear for training: nll by importance weighting, probes, and every metric on other splits.

Results lie in the run folder, `evaluations/<split>-<metric>...json` (nll per example beside it, as .jsonl), and join summary.json; what
training wrote stays as it is. A stopped evaluation goes on where it was.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uncollapse.checkpoint import write_whole
from uncollapse.data.batches import epoch_batches, near_equal
from uncollapse.data.corpus import taken
from uncollapse.data.text import SPLITS
from uncollapse.errors import InputError, whole
from uncollapse.metrics.evaluation import EVAL_BATCH, EVAL_SEED, collect, evaluate, evaluating, statistics
from uncollapse.metrics.likelihood import ROWS, importance_weighted, likelihood, log_weights
from uncollapse.metrics.probes import check_budgets, fitting, probe
from uncollapse.metrics.rates import per_size
from uncollapse.record import plain, whole_lines
from uncollapse.report.results import ReportError, run_folders
from uncollapse.run import alone
from uncollapse.subject import Subject, encoded_means, opened, read_json
from uncollapse.trainer import FINAL_MIXTURE, promised_floor

NO_UNKNOWN = "-no-unknown"  # ends the name of a result from samples without <unk>
METRICS = ("nll", "probe", "statistics", "samples")
MOST = 1_000_000  # codes per example: they are drawn at once
TOLD = (  # on the line that tells of a result
    "nll", "nll_ppl", "oracle_gap", "probe", "nelbo", "rec", "kl", "mi", "shuffle_gap",
    "sample_grammatical", "sample_oracle_ppl", "sample_lm_ppl", "sample_distinct", "sample_novel", "sample_self_bleu",
    "response_bleu4", "response_distinct_1", "response_distinct_2", "response_variety",
)  # fmt: skip
OWN = (
    "nll",
    "oracle_gap",
    "probe",
    "sample_",
    "response_",
)  # summary keys with these beginnings are written here, never by training
HELP = """Evaluate a finished run, or every finished run of a study: nll by importance weighting (bound of -log p(x)), probes of
known labels, the statistics of one pass (rec, kl, mi, au, shuffle_gap ...), and samples to look at. Results join
summary.json; evaluated before: skipped."""


@dataclass(frozen=True)
class Settings:
    """What to compute, on which split, from how many codes (K), examples (None: all) and labels (None: the usual that fit)."""

    metrics: tuple[str, ...]
    split: str = "test"
    samples: int = 500
    examples: int | None = None
    labels: tuple[int, ...] | None = None
    workers: int = 1
    unknown: bool = True  # whether samples may hold <unk>

    def check(self) -> None:
        for metric in self.metrics:
            if metric not in METRICS:
                raise InputError(f"--metrics {metric}: allowed are {', '.join(METRICS)}")
        if self.split not in SPLITS:
            raise InputError(f"--split {self.split}: allowed are {', '.join(SPLITS)}")
        if whole("--samples", self.samples, 1) > MOST:
            raise InputError(f"--samples={self.samples}: allowed is at most {MOST:,}")
        for budget in self.labels or ():
            whole("--labels", budget, 2)
        if self.split == "train" and self.metrics == ("probe",):
            raise InputError("--split train: the probe learns from the training part; allowed with it are valid, test")
        whole("--workers", self.workers, 1)
        if self.examples is not None and whole("--examples", self.examples, 1) < 2:
            raise InputError("--examples=1: errors, mi and the shuffled gap compare examples; allowed is at least 2")

    def name(self, metric: str) -> str:
        """The stem of a result's files."""
        few = "" if self.examples is None else f"-N{self.examples}"
        if metric == "nll":
            return f"{self.split}-nll-K{self.samples}{few}"
        if metric == "probe":
            return f"{self.split}-probe" + ("" if self.labels is None else "-" + "-".join(map(str, self.labels)))
        if metric == "samples":
            return f"{self.split}-samples" + ("" if self.unknown else NO_UNKNOWN)
        return f"{self.split}-statistics{few}"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence, or 130 when stopped."""
    parser = argparse.ArgumentParser(prog="evaluate.py", description=HELP)
    parser.add_argument("folder", type=Path, help="results/<study>, or one run folder in it")
    parser.add_argument(
        "--metrics", help=f"some of {','.join(METRICS)} (default: nll, and probe where labels are known)"
    )
    parser.add_argument("--split", default="test", help="train, valid or test (default)")
    parser.add_argument("--samples", type=int, default=500, metavar="K", help="codes per example for nll (default 500)")
    parser.add_argument("--examples", type=int, metavar="N", help="a fixed random choice of N examples (default: all)")
    parser.add_argument(
        "--labels", help="label budgets of the probe, such as 100,1000 (default: 100,500,1000,2000,10000)"
    )
    parser.add_argument(
        "--no-unknown", action="store_true", help="samples without <unk>, kept apart from the ordinary ones"
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--workers", type=int, default=cores, help=f"threads (default: the {cores} cores)")
    asked = parser.parse_args(argv)
    try:
        settings = understand(asked)
        evaluate_all(asked.folder, settings, explicit=asked.metrics is not None)
    except (InputError, ReportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {unreachable(error, asked.folder)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last example", file=sys.stderr)
        return 130
    return 0


def understand(asked: argparse.Namespace) -> Settings:
    """InputError for what is not allowed."""
    metrics = (
        ("nll", "probe") if asked.metrics is None else tuple(dict.fromkeys(map(str.strip, asked.metrics.split(","))))
    )
    if asked.metrics is None and asked.split == "train":  # what the probe learns from
        metrics = ("nll",)
    try:
        labels = None if asked.labels is None else tuple(sorted({int(word) for word in asked.labels.split(",")}))
    except ValueError:
        raise InputError(f"--labels {asked.labels}: allowed are whole numbers such as 100,1000") from None
    if asked.no_unknown and "samples" not in metrics:
        raise InputError("--no-unknown: it is about samples; give --metrics samples")
    unknown = not asked.no_unknown
    settings = Settings(metrics, asked.split, asked.samples, asked.examples, labels, asked.workers, unknown)
    settings.check()
    return settings


def evaluate_all(folder: Path, settings: Settings, explicit: bool) -> None:
    """Every finished run under `folder`, one after another; data are loaded once for all runs that share them."""
    loaded: dict[str, Any] = {}
    folder = folder.resolve()
    folders = run_folders(folder)
    finished = [path for path in folders if (path / "done").exists()]
    if not finished:
        raise InputError(
            f"{folder}: no run in it is finished; {len(folders)} {'is' if len(folders) == 1 else 'are'} not"
        )
    if len(finished) < len(folders):
        print(f"{len(folders) - len(finished)} of {len(folders)} runs are not finished and are left out")
    refused = 0
    for number, path in enumerate(finished, 1):
        say = saying(f"{number}/{len(finished)} {path if path == folder else path.relative_to(folder)}")
        try:
            evaluate_run(path, settings, explicit, loaded, say)
        except (InputError, OSError) as error:
            if len(folders) == 1:
                raise
            refused += 1
            print(f"error: {error if isinstance(error, InputError) else unreachable(error, path)}", file=sys.stderr)
    if refused:
        raise InputError(f"{refused} of {len(finished)} runs could not be evaluated, for the reasons above")


def unreachable(error: OSError, folder: Path) -> str:
    return f"{error.filename or folder}: cannot be read or written ({error.strerror})"


def evaluate_run(
    folder: Path, settings: Settings, explicit: bool, loaded: dict[str, Any], say: Callable[[str], None]
) -> None:
    """What is asked for and not there yet. A probe that nobody asked for is left out where there are no labels."""
    missing = [m for m in settings.metrics if not (folder / "evaluations" / f"{settings.name(m)}.json").exists()]
    if missing:
        with alone(folder):
            subject = opened(folder, loaded, say)
            if settings.examples is not None and settings.examples >= subject.data.size(settings.split):
                settings = replace(settings, examples=None)
                missing = [metric for metric in missing if not subject.results(settings.name(metric)).exists()]
            if not subject.data.labels and not explicit:
                missing = [metric for metric in missing if metric != "probe"]
            for metric in missing:
                write_result(subject, settings.name(metric), FUNCTIONS[metric](subject, settings))
            join(folder)
    if not missing:
        say("skipped: evaluated before")


# ---------------------------------------------------------------- the metrics


def statistics_of(subject: Subject, settings: Settings) -> dict:
    """Everything that one pass tells, in evaluation mode."""
    model, data, floor = subject.model, subject.data, promised_floor(subject.model)
    if settings.examples is None:
        return evaluate(model, data, settings.split, "eval", None, floor, FINAL_MIXTURE, subject.encode)
    batches = near_equal(chosen(data, settings), EVAL_BATCH)
    with evaluating(model, train=False):
        seen = collect(subject.encode, model.nll, (subject.batch(settings.split, part) for part in batches))
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
    path = subject.results(settings.name("nll"), ".jsonl")
    path.parent.mkdir(exist_ok=True)
    groups = groups_of(subject.data, settings)
    rows = begun(path, digest(subject.folder / "model.safetensors"), len(groups))
    todo = [(i, group) for i, group in enumerate(groups) if i not in rows]
    with (
        path.open("a", encoding="utf-8") as file,
        progress(subject.say, len(groups), len(rows)) as step,
        workers(subject.model, settings.workers) as pool,
    ):
        for row in pool.map(lambda item: weighted(subject, settings, *item), todo):
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows[row["group"]] = row
            step()
    seen = {name: np.concatenate([rows[i][name] for i in range(len(groups))]) for name in ("nll", "ess", "examples")}
    tokens = [row["tokens"] for row in rows.values()]
    counted = None if None in tokens else np.concatenate([rows[i]["tokens"] for i in range(len(groups))])
    known = subject.data.log_prob.get(settings.split)
    order = seen["examples"].astype(int)
    log_prob = None if known is None else known[order]
    corpus = getattr(subject.data, "corpora", {}).get(settings.split)
    chars, size = (None, None) if corpus is None else (taken(corpus.chars, order), taken(corpus.bytes, order))
    found = likelihood(seen["nll"], seen["ess"], settings.samples, counted, log_prob)
    return found | per_size(seen["nll"], chars, size, "nll", "nll_")


def groups_of(data: Any, settings: Settings) -> list[np.ndarray]:
    """Which examples are decoded together: as many of one length as give about ROWS codes; the unit of resuming."""
    examples = chosen(data, settings)
    lengths = data.lengths(settings.split)[examples]
    size = max(1, ROWS // settings.samples)
    return [examples[group] for group in epoch_batches(lengths, size, "by_length", EVAL_SEED, 0)]


def weighted(subject: Subject, settings: Settings, number: int, group: np.ndarray) -> dict:
    """nll, nelbo and ess of one group's examples. Its noise depends on the group alone, so order and stops change nothing."""
    model = subject.model
    device = next(model.parameters()).device
    with torch.no_grad():
        batch = subject.batch(settings.split, group)
        generator = torch.Generator(device).manual_seed(EVAL_SEED + number)
        q = subject.encode(batch, generator)
        weights = log_weights(lambda z: model.nll(batch, z), q, settings.samples, generator)
    if not weights.isfinite().all():
        raise InputError(
            f"{subject.folder}: the weights of {settings.split} example {batch.examples[0]} are not finite numbers"
        )
    lengths = getattr(batch, "lengths", None)
    return {
        "group": number,
        "examples": batch.examples.tolist(),
        "tokens": None if lengths is None else lengths.tolist(),
        **{name: values.tolist() for name, values in importance_weighted(weights).items()},
    }


def samples_of(subject: Subject, settings: Settings) -> dict:
    """What the model writes or draws, into `samples/` of the run folder, and numbers about it."""
    if hasattr(subject.model, "respond"):
        from uncollapse.responses import look
    else:
        from uncollapse.samples import look

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
    pool = ThreadPoolExecutor(1 if on_gpu else count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


# ---------------------------------------------------------------- what lies on disk


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def begun(path: Path, weights: str, groups: int) -> dict[int, dict]:
    """Rows on disk by group, from a file that starts with the weights it belongs to; a torn line is dropped."""
    head = {"weights": weights, "groups": groups}
    kept = whole_lines(path)
    if kept and kept[0] != head:
        raise InputError(f"{path}: it was begun with other weights or data; move it away to start anew")
    rows = {row["group"]: row for row in kept[1:]}
    write_whole(path, "".join(json.dumps(row) + "\n" for row in [head, *rows.values()]).encode())
    return rows


def write_result(subject: Subject, name: str, result: dict) -> None:
    path = subject.results(name)
    path.parent.mkdir(exist_ok=True)
    write_whole(path, (json.dumps(plain(result), indent=1) + "\n").encode())
    subject.say(f"{name}: " + line(result))


def join(folder: Path) -> None:
    """Bring the results into summary.json: all under `evaluations`; those of test also at the top, where training wrote nothing.

    Of several nll the one from most examples, then most codes, stands at the top; of several probes the one with most labels.
    """
    path = folder / "summary.json"
    summary = read_json(path)
    summary = {k: v for k, v in summary.items() if not k.startswith(OWN) and k != "evaluations"}
    results = {file.stem: read_json(file) for file in sorted((folder / "evaluations").glob("*.json"))}
    # what was drawn without <unk> is no description of the model
    test = [result for name, result in results.items() if name.startswith("test-") and not name.endswith(NO_UNKNOWN)]
    test.sort(key=lambda r: (r.get("nll_examples", 0), r.get("nll_samples", 0), r.get("probe_labels", 0)))
    found = {key: value for result in test for key, value in result.items()}
    write_whole(path, (json.dumps({**found, **summary, "evaluations": results}, indent=1) + "\n").encode())


# ---------------------------------------------------------------- telling


def line(result: dict) -> str:
    """The scalars that matter, with their errors."""
    found = [name for name in TOLD if isinstance(result.get(name), float)]
    errors = {name: result.get(f"{name}_se") for name in found}
    return ", ".join(f"{n} {result[n]:.3f}" + (f" ± {errors[n]:.3f}" if errors[n] is not None else "") for n in found)


def saying(name: str) -> Callable[[str], None]:
    return lambda text: print(f"[{name}] {text}", flush=True)


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
            say(f"nll: {count} of {total} groups, {(now - start) / (count - done) * (total - count):.0f} s left")

    yield step
