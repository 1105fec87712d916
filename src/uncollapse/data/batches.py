"""Which examples form the batches of an epoch.

Every example comes once per epoch, in batches of nearly equal size, in an order that depends on
(seed, epoch) alone.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from tempfile import TemporaryFile
from typing import overload

import numpy as np

from uncollapse.errors import InputError

BATCHING = ("mixed", "by_length")
LARGE_EPOCH = 1 << 20  # from this many examples on, their order is kept in a temporary file


class Batches(Sequence[np.ndarray]):
    """The batches of one epoch, each made when it is indexed.

    order [N]: the examples, batch after batch. bounds [M+1]: where batches begin and end in it.
    turns [M]: the order in which batches are used (None: as stored). An item is an int64 array of
    example numbers.
    """

    def __init__(self, order: np.ndarray, bounds: np.ndarray, turns: np.ndarray | None = None):
        self.order, self.bounds, self.turns = order, bounds, turns

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, number: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, number: slice) -> list[np.ndarray]: ...
    def __getitem__(self, number: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        place = number % len(self) if self.turns is None else self.turns[number]
        return self.order[self.bounds[place] : self.bounds[place + 1]].astype(np.int64)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))


def epoch_batches(
    lengths: np.ndarray, size: int, batching: str, seed: int, epoch: int
) -> Sequence[np.ndarray]:
    """The batches of one epoch: index arrays of at most `size` examples.

    mixed: random composition. by_length: examples of equal length only, as in published protocols
    for text VAEs. A sentence whose length occurs only once joins the group of the next shorter
    length, so no batch holds a single example unless the data do; such a batch may exceed `size`
    by one.
    """
    rng = np.random.default_rng((seed, epoch))
    if batching not in BATCHING:
        raise InputError(f"data.batching={batching}: allowed are {', '.join(BATCHING)}")
    shuffled = list_numbers(len(lengths))
    rng.shuffle(shuffled)  # the same order as rng.permutation gives, for any integer type
    if batching == "mixed":
        return Batches(shuffled, split_evenly(len(shuffled), size))
    # the sort is stable, so the order within a length stays random
    by_length = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    groups = join_singles(np.split(by_length, np.flatnonzero(np.diff(lengths[by_length])) + 1))
    ends = np.cumsum([0, *map(len, groups)])
    inner = [
        # without the first bound of each group, which is the last one of the group before
        start + split_evenly(len(group), size)[1:]
        for start, group in zip(ends, groups, strict=False)
    ]
    bounds = np.concatenate([[0], *inner])
    # batches are used in random order, or lengths would increase through the epoch
    return Batches(by_length, bounds, rng.permutation(len(bounds) - 1))


def list_numbers(n: int) -> np.ndarray:
    """0 ... n-1 in the smallest integer type; many are kept in an unnamed temporary file."""
    kind = np.dtype(np.int32 if n <= 2**31 else np.int64)
    if n < LARGE_EPOCH:
        return np.arange(n, dtype=kind)
    # the mapping keeps the file alive after it is closed; its name is never visible
    with TemporaryFile(prefix="uncollapse-") as file:
        file.truncate(n * kind.itemsize)
        # a plain ndarray, because numpy shuffles its subclasses slowly
        numbers = np.memmap(file, dtype=kind, shape=n).view(np.ndarray)
    for start in range(0, n, LARGE_EPOCH):
        numbers[start : start + LARGE_EPOCH] = np.arange(start, min(start + LARGE_EPOCH, n))
    return numbers


def split_evenly(n: int, size: int) -> np.ndarray:
    """Bounds [M+1] of M = ceil(n / size) batches of n examples, sizes differing by at most one.

    There is no short last batch to drop. From size 2 on, no batch holds a single example unless
    there is only one (so size 2 and an odd n give one batch of 3).
    """
    if n == 0:
        return np.zeros(1, dtype=np.int64)
    count = -(-n // size)  # rounded up
    if size > 1:
        # fewer, larger batches, so that none holds a single example, where batch norm would fail
        count = min(count, max(1, n // 2))
    small, longer = divmod(n, count)  # the first `longer` batches have one example more
    numbers = np.arange(count + 1)
    return numbers * small + np.minimum(numbers, longer)


def split_examples(examples: np.ndarray, size: int) -> list[np.ndarray]:
    """`examples` in batches with the bounds of `split_evenly`."""
    bounds = split_evenly(len(examples), size)
    return [examples[a:b] for a, b in pairwise(bounds)]


def join_singles(groups: list[np.ndarray]) -> list[np.ndarray]:
    """Merge each group of one into the group before it (the first into the one after)."""
    joined: list[np.ndarray] = []
    for group in groups:
        # the second test merges the first group, if it is single, into the one after
        if joined and (len(group) == 1 or len(joined[-1]) == 1):
            joined[-1] = np.concatenate([joined[-1], group])
        else:
            joined.append(group)
    return joined
