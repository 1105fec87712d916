"""Figures, tables and one page from the rows of a study: python scripts/report.py results/<study>"""

import sys

from uncollapse.entry import call

if __name__ == "__main__":
    sys.exit(call("uncollapse.report"))
