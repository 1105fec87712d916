"""Reports: run folders -> tidy frames (results) -> intervals (stats) -> figures, tables and one page."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from uncollapse.arguments import Parser

HELP = "Figures, tables and one page from a study (results/<study>) or a single run folder, finished or not."


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 and the summary on the terminal, or 2 and one sentence saying what to mend."""
    from uncollapse.disk import resolve_path
    from uncollapse.errors import InputError
    from uncollapse.runs.layout import PACK, RUN_PATH, check_is_study, is_pack

    parser = Parser(prog="report.py", description=HELP)
    parser.add_argument("folder", help=f"results/<study>, its {PACK}, or one run: {RUN_PATH}")
    folder = Path(parser.parse_args(argv).folder)
    try:
        check_is_study(
            folder if is_pack(folder) else resolve_path(folder)
        )  # before pandas and matplotlib are imported
        from .page import write_report

        page, summary = write_report(folder)
    except InputError as error:
        return refuse(str(error))
    except OSError as error:
        where = error.filename or folder
        return refuse(
            f"{where}: cannot be read or written ({error.strerror or error}); no file was cut"
        )
    say(f"{summary}\n\nReport: {page}", sys.stdout)
    return 0


def refuse(reason: str) -> int:
    from .text import visible

    say(f"report: {visible(reason)}", sys.stderr)
    return 2


def say(text: str, stream: TextIO) -> None:
    """What the stream has no character for comes as an escape, not as an error."""
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)
