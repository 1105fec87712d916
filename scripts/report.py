"""Figures, tables and one page from the rows of a study: python scripts/report.py results/<study>"""

import sys

from uncollapse.entry import run_main

if __name__ == "__main__":
    sys.exit(run_main("uncollapse.report"))
