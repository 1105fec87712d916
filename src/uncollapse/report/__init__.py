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
    "or not."
)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 after printing the summary, or 2 after printing what to correct."""
    from uncollapse.disk import resolve_path
    from uncollapse.runs.layout import PACK, RUN_PATH, check_is_study, is_pack
    from uncollapse.runs.rules import DEFAULT_RULE, RULES

    parser = Parser(prog="uncollapse report", description=REPORT_HELP)
    parser.add_argument("folder", help=f"results/<study>, its {PACK}, or one run: {RUN_PATH}")
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
    arguments = parser.parse_with_plugins(argv)
    single = None if arguments.single is None else Path(arguments.single)
    folder, rule = Path(arguments.folder), arguments.select
    try:
        check_choice("--select", rule, RULES)
        check_alone(arguments)
        if arguments.figure is not None:
            # imported only now, because pandas and matplotlib are slow to import
            from uncollapse.report.one_figure import Asked, find_plot, write_figure

            width = arguments.width or "page"
            asked = Asked(arguments.figure, arguments.x, arguments.y, width, arguments.to)
            # the words are checked before the study
            find_plot(asked)
        check_is_study(folder if is_pack(folder) else resolve_path(folder))
        if arguments.figure is not None:
            path, caption = write_figure(folder, rule, asked)
            print_text(f"{caption}\n\nFigure: {path}", sys.stdout)
            return 0
        from uncollapse.report.page import write_report

        page, summary = write_report(folder, rule, single)
    except InputError as error:
        return print_refusal(str(error))
    except OSError as error:
        where = error.filename or folder
        return print_refusal(
            f"{where}: cannot be read or written ({error.strerror or error}); no file was truncated"
        )
    print_text(f"{summary}\n\nReport: {page}", sys.stdout)
    return 0


def check_alone(arguments: Namespace) -> None:
    """InputError for options of one figure without --figure, or with --single."""
    if arguments.figure is not None and arguments.single is not None:
        raise InputError("--single belongs to a report, not to --figure")
    if arguments.figure is None:
        for option in ("x", "y", "width", "to"):
            if getattr(arguments, option):
                raise InputError(f"--{option} belongs to --figure NAME")


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
