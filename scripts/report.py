"""Figures, tables and one page from the rows of a study: python scripts/report.py results/<study>"""

import sys

from uncollapse.report import main

if __name__ == "__main__":
    sys.exit(main())
