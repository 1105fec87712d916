"""Divides one file or folder into the splits, by `data.split` and `data.split_seed`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uncollapse.data import SPLITS
from uncollapse.data.batches import list_numbers
from uncollapse.errors import InputError, check_integer, check_number
from uncollapse.json_types import JsonObject


def check_shares(shares: Sequence[float] | None, seed: int) -> None:
    """InputError unless the shares are three positive numbers with the sum 1, and the seed fits."""
    listed = None if shares is None else list(shares)
    if listed is None or len(listed) != len(SPLITS):
        raise InputError(f"data.split={listed}: allowed are three shares, such as [0.8,0.1,0.1]")
    for share in listed:
        check_number("data.split", share, 0, 1)
    if abs(sum(listed) - 1) > 1e-6:
        raise InputError(f"data.split={listed}: the shares must add up to 1")
    check_integer("data.split_seed", seed, 0)


def divide_examples(count: int, shares: Sequence[float]) -> list[int]:
    """Where train ends and where valid ends, for shares of train, valid and test.

    InputError where a split is empty.
    """
    bounds = [round(count * shares[0]), round(count * (shares[0] + shares[1]))]
    if min(bounds[0], bounds[1] - bounds[0], count - bounds[1]) < 1:
        raise InputError(f"data.split={list(shares)}: {count} examples leave a split empty")
    return bounds


def draw_rows(count: int, shares: Sequence[float], seed: int) -> dict[str, np.ndarray]:
    """The numbers of the examples of each split, in an order that depends on the seed alone.

    Many numbers are kept in a temporary file. InputError for bad shares and where a split is empty.
    """
    check_shares(shares, seed)
    bounds, order = divide_examples(count, shares), list_numbers(count)
    np.random.default_rng(seed).shuffle(order)
    return dict(zip(SPLITS, np.split(order, bounds), strict=True))


def describe_division(
    path: str, shares: Sequence[float], seed: int, kind: str = "file"
) -> JsonObject:
    """What data.json says about it. Only the last name of the path: the rest differs by machine."""
    return {kind: Path(path).name, "split": list(shares), "split_seed": seed}
