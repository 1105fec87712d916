"""The command `diagnose`: whether the model of a finished run is collapsed, in one sentence."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from uncollapse.arguments import Parser, describe_os_error, run_or_refuse

DIAGNOSE_HELP = """Say in one sentence whether the model of a finished run is collapsed, and print
the numbers behind it. For a model of your own, call uncollapse.diagnose in Python."""
SHOWN = ("rec", "kl", "nelbo", "mi", "au", "shuffle_gap")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 after an error, which is printed."""
    arguments = diagnose_parser().parse_with_plugins(argv)
    return run_or_refuse(
        lambda: diagnose_run(arguments), lambda error: describe_os_error(error, arguments.run)
    )


def diagnose_parser() -> Parser:
    parser = Parser(prog="uncollapse diagnose", description=DIAGNOSE_HELP)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--split", default="test", help="train, valid or test (default)")
    parser.add_argument(
        "--examples", type=int, metavar="N", help="a fixed random subset of N (default: all)"
    )
    return parser


def diagnose_run(arguments: argparse.Namespace) -> None:
    """Print the verdict and the numbers behind it."""
    from uncollapse.data import SPLITS
    from uncollapse.diagnosis.verdicts import verdict
    from uncollapse.errors import check_choice, check_integer
    from uncollapse.finished.run import load
    from uncollapse.metrics.catalogue import format_metric_value
    from uncollapse.metrics.information import FINAL_MIXTURE
    from uncollapse.metrics.one_pass import evaluate

    check_choice("--split", arguments.split, SPLITS)
    if arguments.examples is not None:
        check_integer("--examples", arguments.examples, 2)
    opened = load(arguments.run).opened
    found = evaluate(
        opened.model,
        opened.data,
        arguments.split,
        "eval",
        arguments.examples,
        mixture=FINAL_MIXTURE,
        encode=opened.encode,
    )
    print(verdict(found))
    print(", ".join(f"{name} {format_metric_value(name, found[name])}" for name in SHOWN))
