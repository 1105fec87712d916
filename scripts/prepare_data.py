"""Write the files of a text set into a folder: python scripts/prepare_data.py NAME --out FOLDER"""

import sys

from uncollapse.entry import call

if __name__ == "__main__":
    sys.exit(call("uncollapse.data.sets"))
