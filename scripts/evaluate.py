"""Evaluate finished runs (nll, probes ...): python scripts/evaluate.py results/<study>"""

import sys

from uncollapse.entry import run_main

if __name__ == "__main__":
    sys.exit(run_main("uncollapse.evaluation.command"))
