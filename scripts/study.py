"""Keep a study in one file: python scripts/study.py pack|merge|list|verify results/<study>"""

import sys

from uncollapse.entry import run_main

if __name__ == "__main__":
    sys.exit(run_main("uncollapse.runs.study_cli"))
