"""Reports: run folders as tidy frames (`results`), intervals (`stats`), figures, tables, a page."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from uncollapse.arguments import Parser
from uncollapse.errors import InputError, check_choice

REPORT_HELP = (
    "Figures, tables and one page from a study (results/<study>) or a single run folder, finished "
    "or not; from several studies, the ranks of the heads that they share."
)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 after printing the summary, or 2 after printing what to correct."""
    from uncollapse.runs.rules import RULES

    arguments = make_parser().parse_with_plugins(argv)
    try:
        check_choice("--select", arguments.select, RULES)
        check_together(arguments)
        if arguments.figure is not None:
            text = write_one_figure(arguments)
        elif arguments.watch:
            text = watch_folder(arguments)
        elif arguments.others:
            text = write_several(arguments)
        else:
            text = write_one_report(arguments)
    except InputError as error:
        return print_refusal(str(error))
    except OSError as error:
        where = error.filename or arguments.folder
        return print_refusal(
            f"{where}: cannot be read or written ({error.strerror or error}); no file was truncated"
        )
    print_text(text, sys.stdout)
    return 0


def make_parser() -> Parser:
    from uncollapse.runs.layout import PACK, RUN_PATH
    from uncollapse.runs.rules import DEFAULT_RULE, RULES

    parser = Parser(prog="uncollapse report", description=REPORT_HELP)
    parser.add_argument("folder", help=f"results/<study>, its {PACK}, or one run: {RUN_PATH}")
    parser.add_argument(
        "others",
        nargs="*",
        metavar="folder",
        help="more studies: one page with the ranks of the heads that they share, beside them",
    )
    parser.add_argument(
        "--select",
        default=DEFAULT_RULE,
        metavar="RULE",
        help=f"whose weights the numbers are of: {', '.join(RULES)} (default: {DEFAULT_RULE}); "
        "another rule writes report-RULE beside report",
    )
    parser.add_argument(
        "--single",
        nargs="?",
        const="",
        metavar="FILE",
        help="also write the page, which is one file, to FILE, without links to other files",
    )
    one = parser.add_argument_group("one figure, without the rest of the report")
    one.add_argument("--figure", metavar="NAME", help="a figure of the page, or plane")
    one.add_argument("--x", default="", metavar="METRIC", help="across the plane: mi, for example")
    one.add_argument("--y", default="", metavar="METRIC", help="upwards: nll_minus_plain")
    one.add_argument("--width", metavar="WIDTH", help="page (7.0 inches, default) or column (3.3)")
    one.add_argument(
        "--to",
        default="",
        metavar="FILE",
        help=".pdf, .svg or .png (default: a PDF in the figures of the report)",
    )
    watched = parser.add_argument_group("a page in the browser while a sweep runs")
    watched.add_argument(
        "--watch", action="store_true", help="serve the page and follow the study; writes nothing"
    )
    watched.add_argument("--port", type=int, metavar="PORT", help="default: 8765")
    watched.add_argument(
        "--host",
        metavar="ADDRESS",
        help="of the network interface; 0.0.0.0 means all, and needs the token of the printed "
        "address (default: this machine only)",
    )
    return parser


def check_together(arguments: Namespace) -> None:
    """InputError for options that have no meaning together."""
    ways = {
        "--figure": arguments.figure is not None,
        "--single": arguments.single is not None,
        "--watch": arguments.watch,
        "several studies": bool(arguments.others),
    }
    given = [name for name, is_given in ways.items() if is_given]
    # the page of several studies may be written to a file, too
    if len(given) > 1 and given != ["--single", "several studies"]:
        raise InputError(f"{' and '.join(given)} do not go together")
    for owner, options in (("--figure", ("x", "y", "width", "to")), ("--watch", ("port", "host"))):
        for option in options:
            if not ways[owner] and getattr(arguments, option):
                raise InputError(f"--{option} belongs to {owner}")


# The commands import what they need themselves, as pandas and matplotlib are slow to import.


def write_one_report(arguments: Namespace) -> str:
    """The summary, after writing the report of a study or a run."""
    folder = find_study(arguments.folder)
    from uncollapse.report.page import write_report

    single = None if arguments.single is None else Path(arguments.single)
    page, summary = write_report(folder, arguments.select, single)
    return f"{summary}\n\nReport: {page}"


def write_several(arguments: Namespace) -> str:
    """The summary, after writing the page of several studies."""
    from uncollapse.report.several.page import write_comparison

    folders = [Path(folder) for folder in (arguments.folder, *arguments.others)]
    single = None if arguments.single is None else Path(arguments.single)
    page, summary = write_comparison(folders, arguments.select, single)
    return f"{summary}\n\nComparison: {page}"


def write_one_figure(arguments: Namespace) -> str:
    """The caption and the path of a figure, after drawing it."""
    from uncollapse.report.one_figure import Asked, find_plot, write_figure

    width = arguments.width or "page"
    asked = Asked(arguments.figure, arguments.x, arguments.y, width, arguments.to)
    # the words are checked before the study
    find_plot(asked)
    path, caption = write_figure(find_study(arguments.folder), arguments.select, asked)
    return f"{caption}\n\nFigure: {path}"


def watch_folder(arguments: Namespace) -> str:
    """Serve the page until Ctrl-C."""
    from uncollapse.report.server import LOCAL, PORT
    from uncollapse.report.watch import watch_study
    from uncollapse.runs.status import wait_for_status

    folder = Path(arguments.folder)
    wait_for_status(folder)
    port = PORT if arguments.port is None else arguments.port
    watch_study(folder, arguments.select, arguments.host or LOCAL, port)
    return "stopped"


def find_study(folder: str) -> Path:
    """The folder of a study or run, or a pack. InputError for anything else."""
    from uncollapse.disk import resolve_path
    from uncollapse.runs.layout import check_is_study, is_pack

    path = Path(folder)
    check_is_study(path if is_pack(path) else resolve_path(path))
    return path


def print_refusal(reason: str) -> int:
    """Print why there is no report, and return the exit code 2."""
    from uncollapse.report.text import escape_invisible

    print_text(f"report: {escape_invisible(reason)}", sys.stderr)
    return 2


def print_text(text: str, stream: TextIO) -> None:
    """Print text, with escapes for characters that the stream cannot encode."""
    # a terminal or a pipe may be limited to ASCII
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)
