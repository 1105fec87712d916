"""Reports: run folders as tidy frames (`results`), intervals (`stats`), figures, tables, a page."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from uncollapse.arguments import Parser

REPORT_HELP = (
    "Figures, tables and one page from a study (results/<study>) or a single run folder, finished "
    "or not; from several studies, the ranks of the heads that they share."
)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 after printing the summary, or 2 after printing what to correct."""
    from uncollapse.disk import resolve_path
    from uncollapse.errors import InputError, check_choice
    from uncollapse.runs.layout import PACK, RUN_PATH, check_is_study, is_pack
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
        help="also write one file that can be sent to others: the page with its figures "
        "(default: single.html in the report)",
    )
    arguments = parser.parse_with_plugins(argv)
    single = None if arguments.single is None else Path(arguments.single)
    folder, rule = Path(arguments.folder), arguments.select
    try:
        check_choice("--select", rule, RULES)
        if arguments.others:
            from uncollapse.report.several.page import write_comparison

            page, summary = write_comparison([folder, *map(Path, arguments.others)], rule, single)
            print_text(f"{summary}\n\nComparison: {page}", sys.stdout)
            return 0
        check_is_study(folder if is_pack(folder) else resolve_path(folder))
        # imported only now, because pandas and matplotlib are slow to import
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
