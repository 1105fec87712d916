"""Evaluate finished runs (nll, probes, samples ...): python scripts/evaluate.py results/<study>"""

import sys

from uncollapse.entry import call

if __name__ == "__main__":
    sys.exit(call("uncollapse.evaluation.command"))
