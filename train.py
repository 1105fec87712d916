"""Train one run or a sweep: python train.py head=bn_tau tau=0.5, python train.py -m head=plain,bn_mu seed=0,1,2."""

import sys

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    from uncollapse.run import main as run

    run(cfg)


if __name__ == "__main__":
    from uncollapse.cli import explain, understand_words
    from uncollapse.errors import InputError

    try:
        sys.argv[1:] = understand_words(sys.argv[1:])
    except InputError as error:
        sys.exit(explain(error))
    main()
