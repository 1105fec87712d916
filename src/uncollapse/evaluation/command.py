"""The command `evaluate`.

Heavy imports wait until there is something to compute, so that help, error messages and studies
that are already evaluated return at once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uncollapse.arguments import Parser
from uncollapse.device import count_available_cores
from uncollapse.disk import resolve_path
from uncollapse.errors import InputError, escape_unsafe
from uncollapse.evaluation.completeness import is_evaluated
from uncollapse.evaluation.settings import METRIC_CHOICES, Settings
from uncollapse.metrics.rows_evaluation import LABEL_BUDGETS
from uncollapse.runs.layout import DONE, Run, require_runs
from uncollapse.runs.rules import RULES

if TYPE_CHECKING:
    from uncollapse.evaluation.opened import LoadedData

MOST_ERRORS = 20  # printed for one study
EVALUATE_HELP = """Evaluate a finished run, or every finished run of a study: nll by importance
weighting (an upper bound on -log p(x)), probes of known labels, the statistics of one pass (rec,
kl, mi, au, shuffle_gap ...), samples, disentanglement (MIG, DCI) of known labels, and for text
reconstruction and reverse_ppl. The results are added to the summary of the run; existing results
are skipped."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0; 2 after an error, which is printed; or 130 if interrupted."""
    arguments = command_parser().parse_with_plugins(argv)
    try:
        settings = parse_settings(arguments)
        evaluate_all(arguments.folder, settings, explicit=arguments.metrics is not None)
    except (InputError, OSError) as error:
        print(f"error: {describe_error(error, arguments.folder)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command continues after the last example", file=sys.stderr)
        return 130
    return 0


def command_parser() -> Parser:
    parser = Parser(prog="uncollapse evaluate", description=EVALUATE_HELP)
    parser.add_argument("folder", type=Path, help="results/<study>, or one run folder in it")
    parser.add_argument(
        "--metrics",
        help=f"some of {','.join(METRIC_CHOICES)} (default: nll, and probe if labels are known)",
    )
    parser.add_argument("--split", default=Settings.split, help="train, valid or test (default)")
    add_nll_options(parser)
    parser.add_argument(
        "--examples", type=int, metavar="N", help="a fixed random subset of N (default: all)"
    )
    parser.add_argument(
        "--labels",
        help=f"label budgets of the probe (default: {','.join(map(str, LABEL_BUDGETS))})",
    )
    parser.add_argument(
        "--no-unknown", action="store_true", help="samples without <unk>, in a separate folder"
    )
    parser.add_argument(
        "--weights",
        default=Settings.rule,
        metavar="RULE",
        help=f"the weights to evaluate: {', '.join(RULES)} (default: {Settings.rule})",
    )
    cores = count_available_cores()
    parser.add_argument(
        "--workers", type=int, default=cores, help=f"threads (default: the {cores} cores)"
    )
    return parser


def add_nll_options(parser: argparse.ArgumentParser) -> None:
    """The options for the number of codes."""
    parser.add_argument(
        "--samples",
        type=int,
        default=Settings.samples,
        metavar="K",
        help=f"codes per example for nll (default {Settings.samples})",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="T",
        help="draw as many codes of each example as bring the error of its nll to about T nats "
        "(0.1 is a good value), K at most",
    )


def parse_settings(arguments: argparse.Namespace) -> Settings:
    """The settings given by the arguments. InputError for values that are not allowed."""
    if arguments.metrics is not None:
        metrics = tuple(dict.fromkeys(map(str.strip, arguments.metrics.split(","))))
    else:  # the probe is fitted to the training split, so it is not tested there
        metrics = ("nll",) if arguments.split == "train" else ("nll", "probe")
    if arguments.no_unknown and "samples" not in metrics:
        raise InputError("--no-unknown applies to samples only; add --metrics samples")
    settings = Settings(
        metrics,
        arguments.split,
        arguments.samples,
        arguments.examples,
        parse_budgets(arguments.labels),
        arguments.workers,
        not arguments.no_unknown,
        arguments.weights,
        arguments.tolerance,
    )
    settings.check()
    return settings


def parse_budgets(labels: str | None) -> tuple[int, ...] | None:
    """'1000,100' as (100, 1000)."""
    if labels is None:
        return None
    try:
        return tuple(sorted({int(word) for word in labels.split(",")}))
    except ValueError:
        raise InputError(f"--labels {labels}: allowed are integers such as 100,1000") from None


def evaluate_all(folder: Path, settings: Settings, explicit: bool) -> None:
    """Evaluate every finished run under `folder`; runs on the same data share one copy of it.

    explicit: whether the user named the metrics. InputError if a run could not be evaluated.
    """
    folder = resolve_path(folder)
    runs = require_runs(folder)
    # the status is read from the folder, without loading anything
    finished = [run for run in runs if run.status == DONE]
    if not finished:
        verb = "is" if len(runs) == 1 else "are"
        raise InputError(f"{folder}: no run in it is finished; {len(runs):,} {verb} not")
    if unfinished := len(runs) - len(finished):
        print(f"{unfinished:,} of {len(runs):,} runs are not finished and are left out")
    # decided without torch, so that a study that is already evaluated costs no import
    todo = [run for run in finished if not is_evaluated(run, settings, explicit)]
    if before := len(finished) - len(todo):
        noun = "runs were" if len(finished) > 1 else "run was"
        print(f"{before:,} of {len(finished):,} {noun} evaluated before")
    if not todo:
        return
    failed, partial = evaluate_each(todo, folder, settings, explicit, alone=len(runs) == 1)
    total = f"of {len(finished):,} runs"
    outcomes = [f"{failed:,} {total} could not be evaluated"] if failed else []
    if partial:
        outcomes.append(f"in {partial:,} {total} some metrics could not be computed")
    if outcomes:
        shown = f", of which the first {MOST_ERRORS} are shown"
        limit = shown if failed + partial > MOST_ERRORS else ""
        raise InputError(f"{' and '.join(outcomes)}, for the reasons above{limit}")


def evaluate_each(
    todo: Sequence[Run], folder: Path, settings: Settings, explicit: bool, alone: bool
) -> tuple[int, int]:
    """Evaluate runs and print errors; how many runs failed, and how many lack some metrics.

    alone: whether the user named a single run, whose error is raised instead.
    """
    from uncollapse.evaluation.evaluate import evaluate_run

    # runs of a sweep share their data, so the data sets stay loaded
    loaded: LoadedData = {}
    failed = partial = 0
    for number, run in enumerate(todo, 1):
        name = run.folder if run.folder == folder else run.folder.relative_to(folder)
        try:
            say = printer(f"{number}/{len(todo)} {name}")
            refusals = evaluate_run(run, settings, explicit, loaded, say)
            if refusals and alone:
                raise InputError("; ".join(refusals))
            partial += bool(refusals)
        except (InputError, OSError) as error:
            if alone:
                raise
            failed += 1
            refusals = [describe_error(error, run.folder)]
        if failed + partial <= MOST_ERRORS:
            for sentence in refusals:
                print(f"error: {sentence}", file=sys.stderr)
    return failed, partial


def describe_error(error: InputError | OSError, folder: Path) -> str:
    if isinstance(error, InputError):
        return str(error)
    return f"{error.filename or folder}: cannot be read or written ({error.strerror or error})"


def printer(name: str) -> Callable[[str], None]:
    """A function that prints a text after the name of a run."""
    return lambda text: print(f"[{escape_unsafe(name)}] {text}", flush=True)
