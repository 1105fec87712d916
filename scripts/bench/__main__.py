"""Measure speed, as ratios within one run: python scripts/bench all"""

import sys
from pathlib import Path

from uncollapse.entry import install_guard, run_main

if __name__ == "__main__":
    install_guard()  # before the imports below, which take seconds
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the folder of the package `bench`
    sys.exit(run_main("bench.command"))
