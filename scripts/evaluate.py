"""nll, probes and more for finished runs: python scripts/evaluate.py results/<study>"""

import sys

if __name__ == "__main__":
    try:
        from uncollapse.evaluate_cli import main

        sys.exit(main())
    except KeyboardInterrupt:  # while still importing
        sys.exit(130)
