"""Reports: run folders as tidy frames (results), intervals (stats), figures, tables, one page."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from uncollapse.arguments import Parser

REPORT_HELP = (
    "Figures, tables and one page from a study (results/<study>) or a single run folder, finished "
    "or not."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 and the summary on the terminal, or 2 and one sentence on what to correct."""
    from uncollapse.disk import resolved
    from uncollapse.errors import InputError
    from uncollapse.runs.layout import PACK, WHERE, check_study, is_pack

    parser = Parser(prog="report.py", description=REPORT_HELP)
    parser.add_argument("folder", help=f"results/<study>, its {PACK}, or one run: {WHERE}")
    folder = Path(parser.parse_args(argv).folder)
    try:
        check_study(folder if is_pack(folder) else resolved(folder))
        # only now, as pandas and matplotlib take long to import
        from uncollapse.report.page import write_report

        page, summary = write_report(folder)
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
    from uncollapse.report.text import escape_invisible

    print_text(f"report: {escape_invisible(reason)}", sys.stderr)
    return 2


def print_text(text: str, stream: TextIO) -> None:
    """Print with escapes for characters that the stream cannot encode."""
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)
