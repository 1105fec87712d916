"""Write the skeleton of a new remedy: python scripts/new_remedy.py NAME --slot SLOT"""

import sys

from uncollapse.entry import run_main

if __name__ == "__main__":
    sys.exit(run_main("uncollapse.starting.remedy"))
