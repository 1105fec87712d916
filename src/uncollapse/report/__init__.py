"""Reports: run folders -> tidy frames (results) -> intervals (stats) -> figures, tables and one page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

HELP = "Figures, tables and one page from a study (results/<study>) or a single run folder, finished or not."


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 and the summary on the terminal, or 2 and one sentence saying what to mend."""
    from uncollapse.errors import InputError

    from .folders import ReportError, run_folders

    parser = argparse.ArgumentParser(prog="report.py", description=HELP)
    parser.add_argument("folder", help="results/<study>, or one run: results/<study>/runs/<head>/<overrides>/seed=<n>")
    folder = Path(parser.parse_args(argv).folder)
    try:
        run_folders(folder.resolve())  # before pandas and matplotlib are imported
        from .page import write_report

        page, summary = write_report(folder)
    except (ReportError, InputError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = error.filename or folder
        print(f"report: {where}: cannot be read or written ({error.strerror}); no file was cut", file=sys.stderr)
        return 2
    print(summary)
    print(f"\nReport: {page}")
    return 0
