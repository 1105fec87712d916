"""The command line of the benchmark: which question, how thorough, and where the numbers go.

    python scripts/bench QUESTION|all [--json FILE] [--quick]
    python scripts/bench heads --heads bn_mu,aggressive --study results/compare

Machines differ, and other processes disturb them. So training steps run on one thread and are
timed by that thread's own clock, alternatives take turns step by step, and the result is the median
of the paired ratios. Commands that run as processes of their own are timed by the wall clock.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bench.best import BestCost, print_best_costs, read_best_costs
from bench.corpus import measure_corpora
from bench.evaluation import measure_evaluation
from bench.heads import measure_heads
from bench.likelihood import measure_likelihood
from bench.mixture import measure_mixture
from bench.published import measure_published
from bench.report import measure_report
from bench.startup import measure_startup
from bench.sweep import measure_sweep
from bench.training import measure_training
from uncollapse.arguments import Parser
from uncollapse.config import heads
from uncollapse.config.knobs import check_head
from uncollapse.disk import write_atomic
from uncollapse.errors import InputError

Question = Callable[[bool], object]  # quick -> results, which `as_json` can write

QUESTIONS: dict[str, Question] = {
    "training": measure_training,
    "published": measure_published,
    "heads": lambda quick: measure_heads(quick, heads()),  # main replaces it by `answer_heads`
    "likelihood": measure_likelihood,
    "mixture": measure_mixture,
    "evaluation": measure_evaluation,
    "startup": measure_startup,
    "report": measure_report,
    "sweep": measure_sweep,
    "corpus": measure_corpora,
}


def main() -> int:
    parser = make_parser()
    args = parser.parse_args()
    try:
        names = [check_head(name) for name in (args.heads or "").split(",") if name]
        # read first, so that a wrong folder is refused now and not after an hour of measuring
        best = {} if args.study is None else read_best_costs(args.study)
    except InputError as error:
        parser.error(str(error))
    chosen = partial(answer_heads, names or heads(), args.study, best)
    questions: dict[str, Question] = {**QUESTIONS, "heads": chosen}
    results = {
        name: question(args.quick)
        for name, question in questions.items()
        if args.question in (name, "all")
    }
    if args.json:
        write_atomic(args.json, as_json(results).encode())
    return 0


def make_parser() -> Parser:
    parser = Parser(prog="bench", description="Measure speed, as ratios within one run.")
    parser.add_argument("question", nargs="?", default="all", choices=[*QUESTIONS, "all"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    parser.add_argument(
        "--quick", action="store_true", help="fewer steps and runs: a rough estimate"
    )
    parser.add_argument("--heads", metavar="A,B", help="for heads: only these, beside plain")
    parser.add_argument(
        "--study",
        type=Path,
        metavar="FOLDER",
        help="for heads: finished runs, from which the time to the best weights is read",
    )
    return parser


def answer_heads(
    names: list[str], study: Path | None, best: dict[str, BestCost], quick: bool
) -> dict[str, object]:
    """Seconds per step of each head; with a study, also the seconds to the best weights."""
    results: dict[str, object] = {"steps": measure_heads(quick, names)}
    if study is None:
        print("time to the best weights: skipped (give finished runs with --study results/<study>)")
    else:
        print_best_costs(study, best)
        results["best"] = best
    return results


def as_json(results: object) -> str:
    """Nested dictionaries of numbers and of the dataclasses that the questions return."""
    return json.dumps(results, indent=1, default=asdict) + "\n"
