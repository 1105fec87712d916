"""Train one run or a sweep.

python train.py head=bn_tau tau=0.5
python train.py -m head=plain,bn_mu seed=0,1,2
"""

import sys
from typing import TYPE_CHECKING

from uncollapse.entry import run_guarded

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(cfg: "DictConfig") -> None:
    from uncollapse.job import main as run

    run(cfg)


def run_command() -> int:
    from uncollapse.cli import compose_and_run

    return compose_and_run(main, "conf")


if __name__ == "__main__":
    sys.exit(run_guarded(run_command))
