"""The command line of scripts/study.py: pack, merge, list, verify and follow studies."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uncollapse.arguments import Parser
from uncollapse.errors import InputError, escape_unsafe

if TYPE_CHECKING:
    from uncollapse.runs.merge import RunCollection

STUDY_HELP = (
    "Keep a study's finished runs in one file, results/<study>/runs.parquet, without weights."
)
MAX_LINES = 20  # runs left out, or problems, that are printed
MOST_ENTRIES = 60  # runs and jobs of `status` that are printed


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 if `verify` found problems; 2, with one sentence, for bad input."""
    args = study_parser().parse_args(argv)
    try:
        return int(args.call(args))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        where, reason = error.filename or "the study", error.strerror or error
        sentence = f"{where}: cannot be read or written ({reason}); nothing was changed"
        print(f"error: {escape_unsafe(sentence)}", file=sys.stderr)
    return 2


def study_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="uncollapse study", description=STUDY_HELP)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    pack = commands.add_parser("pack", help="put the finished runs of studies into their packs")
    pack.add_argument("studies", type=Path, nargs="+", metavar="STUDY", help="results/<study>")
    pack.add_argument(
        "--without-examples",
        action="store_true",
        help="leave out samples that show sentences or pictures of data that must not be shared",
    )
    pack.set_defaults(call=run_pack)
    merge = commands.add_parser("merge", help="merge packs and studies into the pack of STUDY")
    merge.add_argument("study", type=Path, metavar="STUDY", help="results/<study>, may be new")
    merge.add_argument("sources", type=Path, nargs="+", metavar="FROM", help="a pack or a study")
    merge.set_defaults(call=run_merge)
    for name, call, text in (
        ("list", run_list, "every run, and whether it is in a folder, in the pack, or in both"),
        ("verify", run_verify, "read and check everything; one line for each problem"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("study", type=Path, metavar="STUDY", help="results/<study>, or a pack")
        command.set_defaults(call=call)
    status = commands.add_parser(
        "status", help="what is being trained, waits, failed or was lost, on any machine"
    )
    status.add_argument("study", type=Path, metavar="STUDY", help="results/<study>")
    status.set_defaults(call=run_status)
    return parser


# Each command imports what it needs itself, so that --help and refusals are quick.


def run_pack(args: argparse.Namespace) -> int:
    from uncollapse.runs.merge import pack_study

    refused = 0
    for study in args.studies:
        try:
            print_written(*pack_study(study, not args.without_examples))
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            refused += 1
    return 2 if refused else 0


def run_merge(args: argparse.Namespace) -> int:
    from uncollapse.runs.merge import merge_studies

    print_written(*merge_studies(args.study, args.sources))
    return 0


def print_written(path: Path, collection: "RunCollection") -> None:
    size = path.stat().st_size
    runs = collection.runs.values()
    new = sum(where != str(path) for where, _ in runs)
    print(f"{path}: {format_run_count(len(runs))}, {new:,} of them new in it; {size / 1e3:,.0f} kB")
    print_lines([f"left out: {line}" for line in collection.left_out])


def print_lines(lines: Sequence[str]) -> None:
    for line in lines[:MAX_LINES]:
        print(escape_unsafe(line))
    if len(lines) > MAX_LINES:
        print(f"... and {len(lines) - MAX_LINES:,} more")


def format_run_count(number: int) -> str:
    return f"{number:,} run{'' if number == 1 else 's'}"


def run_list(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    from uncollapse.runs.listing import list_study

    notes: list[str] = []
    rows = [[escape_unsafe(cell) for cell in row] for row in list_study(args.study, notes)]
    headers = ("run", "where", "status", "evaluations", "weights")
    print(tabulate(rows, headers, disable_numparse=True))
    print_lines(notes)
    return 0


def run_verify(args: argparse.Namespace) -> int:
    from uncollapse.runs.listing import find_problems

    checked, problems = find_problems(args.study)
    print_lines(problems)
    if not problems:
        print(f"{format_run_count(checked)}: fine")
    return 1 if problems else 0


def run_status(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    from uncollapse.runs.layout import DONE
    from uncollapse.runs.status import (
        check_has_status,
        describe_entry,
        describe_status,
        read_status,
    )

    check_has_status(args.study)
    status = read_status(args.study)
    for line in describe_status(args.study, status):
        print(escape_unsafe(line))
    open_entries = [entry for entry in status.entries if entry.state != DONE]
    rows = [
        [escape_unsafe(text) for text in (entry.state, entry.name, describe_entry(entry))]
        for entry in open_entries[:MOST_ENTRIES]
    ]
    if rows:
        print(tabulate(rows, tablefmt="plain", disable_numparse=True))
    if len(open_entries) > MOST_ENTRIES:
        print(f"... and {len(open_entries) - MOST_ENTRIES:,} more")
    return 0
