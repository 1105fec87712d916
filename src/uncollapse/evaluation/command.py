"""The command line of scripts/evaluate.py: its words, and which runs still lack what is asked for.

Nothing heavy is imported before there is something to compute, so help, refusals and a study that is complete take no time.
"""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uncollapse.arguments import Parser
from uncollapse.data import SPLITS
from uncollapse.disk import resolved
from uncollapse.errors import InputError, check_integer, escape_unsafe
from uncollapse.runs.layout import DATA, DONE, EVALUATIONS, UNLABELLED, Run, run_folders
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import NO_UNKNOWN, is_repaired, read_object

METRICS = ("nll", "probe", "statistics", "samples")
MOST = 1_000_000  # codes per example: they are drawn at once
MOST_ERRORS = 20  # of a study's runs that are shown
HELP = """Evaluate a finished run, or every finished run of a study: nll by importance weighting (bound of -log p(x)), probes of
known labels, the statistics of one pass (rec, kl, mi, au, shuffle_gap ...), and samples to look at. Results join
the summary of the run; evaluated before: skipped."""


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
        check_integer("--samples", self.samples, 1, MOST)
        for budget in self.labels or ():
            check_integer("--labels", budget, 2)
        if self.split == "train" and self.metrics == ("probe",):
            raise InputError(
                "--split train: the probe learns from the training part; allowed with it are valid, test"
            )
        check_integer("--workers", self.workers, 1)
        if self.examples is not None and check_integer("--examples", self.examples, 1) < 2:
            raise InputError(
                "--examples=1: errors, mi and the shuffled gap compare examples; allowed is at least 2"
            )

    def missing(self, there: Collection[str]) -> list[str]:
        """The metrics asked for that are not among the results by these names."""
        return [metric for metric in self.metrics if self.name(metric) not in there]

    def name(self, metric: str) -> str:
        """The stem of a result's files."""
        few = "" if self.examples is None else f"-N{self.examples}"
        if metric == "nll":
            return f"{self.split}-nll-K{self.samples}{few}"
        if metric == "probe":
            return f"{self.split}-probe" + (
                "" if self.labels is None else "-" + "-".join(map(str, self.labels))
            )
        if metric == "samples":
            return f"{self.split}-samples" + ("" if self.unknown else NO_UNKNOWN)
        return f"{self.split}-statistics{few}"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence, or 130 when stopped."""
    parser = Parser(prog="evaluate.py", description=HELP)
    parser.add_argument("folder", type=Path, help="results/<study>, or one run folder in it")
    parser.add_argument(
        "--metrics",
        help=f"some of {','.join(METRICS)} (default: nll, and probe where labels are known)",
    )
    parser.add_argument("--split", default="test", help="train, valid or test (default)")
    parser.add_argument(
        "--samples",
        type=int,
        default=500,
        metavar="K",
        help="codes per example for nll (default 500)",
    )
    parser.add_argument(
        "--examples",
        type=int,
        metavar="N",
        help="a fixed random choice of N examples (default: all)",
    )
    parser.add_argument(
        "--labels",
        help="label budgets of the probe, such as 100,1000 (default: 100,500,1000,2000,10000)",
    )
    parser.add_argument(
        "--no-unknown",
        action="store_true",
        help="samples without <unk>, kept apart from the ordinary ones",
    )
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    parser.add_argument(
        "--workers", type=int, default=cores, help=f"threads (default: the {cores} cores)"
    )
    asked = parser.parse_args(argv)
    try:
        settings = understand(asked)
        evaluate_all(asked.folder, settings, explicit=asked.metrics is not None)
    except InputError as error:
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
        ("nll", "probe")
        if asked.metrics is None
        else tuple(dict.fromkeys(map(str.strip, asked.metrics.split(","))))
    )
    if asked.metrics is None and asked.split == "train":  # what the probe learns from
        metrics = ("nll",)
    try:
        labels = (
            None
            if asked.labels is None
            else tuple(sorted({int(word) for word in asked.labels.split(",")}))
        )
    except ValueError:
        raise InputError(
            f"--labels {asked.labels}: allowed are whole numbers such as 100,1000"
        ) from None
    if asked.no_unknown and "samples" not in metrics:
        raise InputError("--no-unknown: it is about samples; give --metrics samples")
    unknown = not asked.no_unknown
    settings = Settings(
        metrics, asked.split, asked.samples, asked.examples, labels, asked.workers, unknown
    )
    settings.check()
    return settings


def evaluate_all(folder: Path, settings: Settings, explicit: bool) -> None:
    """Every finished run under `folder`, one after another; data are loaded once for all runs that share them."""
    folder = resolved(folder)
    runs = run_folders(folder)
    finished = [run for run in runs if run.status == DONE]
    if not finished:
        raise InputError(
            f"{folder}: no run in it is finished; {len(runs):,} {'is' if len(runs) == 1 else 'are'} not"
        )
    if len(finished) < len(runs):
        print(
            f"{len(runs) - len(finished):,} of {len(runs):,} runs are not finished and are left out"
        )
    todo = [run for run in finished if not complete(run, settings, explicit)]
    if before := len(finished) - len(todo):
        print(
            f"{before:,} of {len(finished):,} run{'s were' if len(finished) > 1 else ' was'} evaluated before"
        )
    refused = evaluate_each(todo, folder, settings, explicit, alone=len(runs) == 1) if todo else 0
    if refused:
        shown = f", of which the first {MOST_ERRORS} are shown" if refused > MOST_ERRORS else ""
        raise InputError(
            f"{refused:,} of {len(finished):,} runs could not be evaluated, for the reasons above{shown}"
        )


def evaluate_each(
    todo: Sequence[Run], folder: Path, settings: Settings, explicit: bool, alone: bool
) -> int:
    """How many runs could not be evaluated. Where one run was named `alone` its error goes on its way."""
    from uncollapse.evaluation.evaluate import evaluate_run

    loaded: dict[str, Any] = {}
    refused = 0
    for number, run in enumerate(todo, 1):
        say = saying(
            f"{number}/{len(todo)} {run.folder if run.folder == folder else run.folder.relative_to(folder)}"
        )
        try:
            evaluate_run(run, settings, explicit, loaded, say)
        except (InputError, OSError) as error:
            if alone:
                raise
            refused += 1
            if refused <= MOST_ERRORS:
                reason = error if isinstance(error, InputError) else unreachable(error, run.folder)
                print(f"error: {reason}", file=sys.stderr)
    return refused


def unreachable(error: OSError, folder: Path) -> str:
    return f"{error.filename or folder}: cannot be read or written ({error.strerror or error})"


def saying(name: str) -> Callable[[str], None]:
    return lambda text: print(f"[{escape_unsafe(name)}] {text}", flush=True)


# ---------------------------------------------------------------- what lies on disk


def complete(run: Run, settings: Settings, explicit: bool) -> bool:
    """Whether a run has every result that is asked for, in its summary too. A probe is not missed where there are no labels."""
    if settings.examples is not None and settings.examples >= size_of(run, settings.split):
        settings = replace(settings, examples=None)
    unlabelled = not explicit and run.has(EVALUATIONS, UNLABELLED)
    names = {
        settings.name(metric)
        for metric in settings.metrics
        if not (metric == "probe" and unlabelled)
    }
    return all(run.has(EVALUATIONS, f"{name}.json") for name in names) and is_sound(run)


def is_sound(run: Run) -> bool:
    """Whether a run's config can be read, and its results and summary say the same."""
    try:
        read_config(run)
    except InputError:
        return False
    return is_repaired(run)


def size_of(run: Run, split: str) -> float:
    """Examples of a split as the run noted them; infinite where it did not."""
    try:
        size = read_object(run, DATA).get(split)
    except InputError:
        return float("inf")
    return size if type(size) is int else float("inf")
