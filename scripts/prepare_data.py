"""The files of a text set in a folder: python scripts/prepare_data.py NAME --out FOLDER"""

import sys

if __name__ == "__main__":
    try:
        from uncollapse.data.sets import main

        sys.exit(main())
    except KeyboardInterrupt:  # while still importing
        sys.exit(130)
