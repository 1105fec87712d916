"""Keep a study in one file: python scripts/study.py pack|merge|list|verify results/<study>"""

import sys

from uncollapse.entry import call

if __name__ == "__main__":
    sys.exit(call("uncollapse.runs.study_cli"))
