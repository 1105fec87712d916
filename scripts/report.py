"""Write a study's figures, tables and page: python scripts/report.py results/<study>"""

import sys

from uncollapse.entry import run_main

if __name__ == "__main__":
    sys.exit(run_main("uncollapse.report"))
