"""Write codes to a table: python scripts/export.py RUN --data FILE --out codes.parquet"""

import sys

from uncollapse.entry import run_main

if __name__ == "__main__":
    sys.exit(run_main("uncollapse.finished.export"))
