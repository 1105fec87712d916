"""Write a study's figures, tables and page: python scripts/report.py results/<study>"""

import sys

from uncollapse.entry import call

if __name__ == "__main__":
    sys.exit(call("uncollapse.report"))
