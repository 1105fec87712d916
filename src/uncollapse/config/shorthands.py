"""Words that stand for others: `anneal=0.5` for a length in epochs, `level=2` for a knob's value.

They are replaced before the run is named, so both spellings are one run. A head's file may name its
frontier, the knob and the values that take it from a low to a high rate; a level counts them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from uncollapse.config import SHORTHANDS
from uncollapse.errors import MAX_NUMBER, InputError, check_integer, check_number

# knob that gives a share of trainer.epochs -> knob that gives the same length in epochs
SHARES = {
    "anneal": "anneal_epochs",
    "pretrain": "pretrain_epochs",
    "growth": "capacity_epochs",
    "middle": "midpoint",
}
LEVEL, FRONTIER = SHORTHANDS


@dataclass(frozen=True)
class Frontier:
    """The knob that sets a head's rate and values for it, or why there is none."""

    knob: str
    values: tuple[float, ...]
    reason: str = ""  # of a head without a frontier


class NoSuchLevel(Exception):
    """A level that the head does not have; sweeps over heads with different counts skip it."""


def replace_shorthands(
    cfg: DictConfig, words: Sequence[str], head: str
) -> tuple[DictConfig, list[str]]:
    """The config and its override words without shares and levels.

    InputError for a value out of range, or for a setting that is given twice.
    """
    cfg, words = cfg.copy(), list(words)
    words = replace_level(cfg, words, head)
    words = replace_shares(cfg, words)
    with open_dict(cfg):
        cfg.pop(LEVEL, None)
        cfg.pop(FRONTIER, None)
        if cfg.get("from") is None:  # a config without it is the same run
            cfg.pop("from", None)
        if cfg.get("rate") is None:  # a rate is replaced before: uncollapse.rate_search
            cfg.pop("rate", None)
    return cfg, words


def replace_shares(cfg: DictConfig, words: list[str]) -> list[str]:
    """Replace shares of training by lengths in epochs, in the config and in the words returned."""
    for share, length in SHARES.items():
        if share not in cfg or length not in cfg:
            continue
        if cfg[share] is not None:
            value = check_number(share, cfg[share], 0, 1, closed=True)
            # 0.4 of 6 epochs is 2.4, not 2.4000000000000004
            epochs = float(f"{value * cfg.trainer.epochs:.12g}")
            words = replace_word(cfg, words, share, length, epochs)
        with open_dict(cfg):
            cfg.pop(share)
    return words


def replace_level(cfg: DictConfig, words: list[str], head: str) -> list[str]:
    """Replace a level by the value of the head's knob. NoSuchLevel if it has fewer."""
    level = cfg.get(LEVEL)
    if level is None:
        return words
    check_integer(LEVEL, level, 1)
    frontier = read_frontier(cfg, head)
    if frontier.reason and level == 1:  # the head as it is
        return [word for word in words if key_of(word) != LEVEL]
    if level > len(frontier.values):
        raise NoSuchLevel(describe_levels(frontier, head, level))
    return replace_word(cfg, words, LEVEL, frontier.knob, frontier.values[level - 1])


def describe_levels(frontier: Frontier, head: str, level: int) -> str:
    """One sentence on a level that a head does not have."""
    if frontier.reason:
        return f"{LEVEL}={level}: head={head} has no frontier ({frontier.reason}), only level 1"
    values = ", ".join(f"{value:g}" for value in frontier.values)
    return (
        f"{LEVEL}={level}: head={head} has levels 1 to {len(frontier.values)} "
        f"({frontier.knob}={values})"
    )


def read_frontier(cfg: DictConfig, head: str) -> Frontier:
    """The frontier that a composed config states. InputError where it is not valid."""
    stated: Any = cfg.get(FRONTIER)
    if OmegaConf.is_config(stated):
        stated = OmegaConf.to_container(stated)
    if isinstance(stated, str):
        return Frontier("", (), stated)
    if not isinstance(stated, dict) or stated.keys() != {"knob", "values"}:
        raise InputError(
            f"head={head}: its file states no frontier; allowed is "
            "`frontier: {knob: NAME, values: [...]}`, or a sentence that says why it has none"
        )
    knob, values = stated["knob"], stated["values"]
    if knob not in cfg:
        raise InputError(f"head={head}: frontier.knob={knob}: the head has no such knob")
    if not isinstance(values, list) or len(values) < 2:
        raise InputError(f"head={head}: frontier.values={values}: allowed are two or more numbers")
    for value in values:
        check_number("frontier.values", value, -MAX_NUMBER)
    return Frontier(knob, tuple(values))


def replace_word(cfg: DictConfig, words: list[str], old: str, new: str, value: float) -> list[str]:
    """Set `new` in the config, and put it in the place of `old` in the words returned.

    InputError if the words set `new` as well.
    """
    if twice := [word for word in words if key_of(word) == new]:
        given = next((word for word in words if key_of(word) == old), f"{old}={cfg[old]}")
        raise InputError(f"{given} and {twice[0]}: both set {new}; give one of them")
    cfg[new] = value
    return [f"{new}={value}" if key_of(word) == old else word for word in words]


def key_of(word: str) -> str:
    """The key that an override word sets."""
    return word.lstrip("+").partition("=")[0]
