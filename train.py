"""Train one run or a sweep.

python train.py head=bn_tau tau=0.5
python train.py -m head=plain,bn_mu seed=0,1,2
"""

import sys

from uncollapse.entry import run_main

if __name__ == "__main__":
    sys.exit(run_main("uncollapse.cli", clean_stop=False))
