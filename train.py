"""Train one run or a sweep.

python train.py head=bn_tau tau=0.5
python train.py -m head=plain,bn_mu seed=0,1,2
"""

import sys

from uncollapse.entry import run_guarded


def run_command() -> int:
    # imported here, so that Ctrl-C is handled meanwhile
    from uncollapse.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run_guarded(run_command))
