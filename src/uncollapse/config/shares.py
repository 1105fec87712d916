"""Lengths of schedules as shares of training: `anneal=0.5` stands for half of trainer.epochs.

A share is replaced by the knob in epochs before the run is named, so both spellings are one run.
"""

from collections.abc import Sequence

from omegaconf import DictConfig, open_dict

from uncollapse.errors import InputError, check_number

# knob that gives a share -> knob that gives the same length in epochs
SHARES = {
    "anneal": "anneal_epochs",
    "pretrain": "pretrain_epochs",
    "growth": "capacity_epochs",
    "middle": "midpoint",
}


def replace_shares(cfg: DictConfig, words: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """The config and its override words with every share given in epochs.

    InputError for a share outside [0, 1], and for a length that is given twice.
    """
    cfg, words = cfg.copy(), list(words)
    for share, length in SHARES.items():
        value = cfg.get(share)
        if value is not None:
            check_number(share, value, 0, 1, closed=True)
            if twice := [word for word in words if key_of(word) == length]:
                raise InputError(
                    f"{share}={value} and {twice[0]}: both give the same length; give one of them"
                )
            cfg[length] = value * cfg.trainer.epochs
            words = [f"{length}={cfg[length]}" if key_of(w) == share else w for w in words]
        with open_dict(cfg):
            cfg.pop(share, None)
    return cfg, words


def key_of(word: str) -> str:
    """The key that an override word sets."""
    return word.lstrip("+").partition("=")[0]
