"""Train one run or a sweep: python train.py head=bn_tau tau=0.5, python train.py -m head=plain,bn_mu seed=0,1,2."""

import sys

from uncollapse.entry import run_guarded


def main(cfg: object) -> None:
    from uncollapse.run import main as run

    run(cfg)  # type: ignore[arg-type]


def compose_and_run() -> int:
    from uncollapse.cli import compose_and_run

    return compose_and_run(main, "conf")


if __name__ == "__main__":
    sys.exit(run_guarded(compose_and_run))
