"""Write the files of a text set into a folder: python scripts/prepare_data.py NAME --out FOLDER"""

import sys

from uncollapse.entry import run_main

if __name__ == "__main__":
    sys.exit(run_main("uncollapse.data.sets"))
