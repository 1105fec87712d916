"""nll, probes and more for finished runs: python scripts/evaluate.py results/<study>"""

import sys

from uncollapse.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
