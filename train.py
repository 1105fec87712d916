"""Train one run or a sweep: python train.py head=bn_tau tau=0.5, python train.py -m head=plain,bn_mu seed=0,1,2."""

import sys

from uncollapse.entry import guarded


def main(cfg: object) -> None:
    from uncollapse.job import main as run

    run(cfg)  # type: ignore[arg-type]


def train() -> int:
    from uncollapse.cli import train

    return train(main, "conf")


if __name__ == "__main__":
    sys.exit(guarded(train))
