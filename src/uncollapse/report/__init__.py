"""Reports: run folders -> tidy frames (results) -> intervals (stats) -> figures, tables and one page."""

import sys
from collections.abc import Sequence

from uncollapse.arguments import Parser

HELP = "Figures, tables and one page from a study (results/<study>) or a single run folder, finished or not."


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 and the summary on the terminal, or 2 and one sentence saying what to mend."""
    parser = Parser(prog="report.py", description=HELP)
    parser.add_argument("folder", help="results/<study>, or one run: results/<study>/runs/<head>/<overrides>/seed=<n>")
    folder = parser.parse_args(argv).folder
    from .page import write_report  # here, not above: --help should not wait for pandas and matplotlib
    from .results import ReportError

    try:
        page, summary = write_report(folder)
    except ReportError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(summary)
    print(f"\nReport: {page}")
    return 0
