"""Which examples go together: every example once per epoch, batches of nearly equal size, order from (seed, epoch) alone."""

import numpy as np

from uncollapse.errors import InputError

BATCHING = ("mixed", "by_length")


def epoch_batches(lengths: np.ndarray, size: int, batching: str, seed: int, epoch: int) -> list[np.ndarray]:
    """The batches of one epoch: index arrays of at most `size` examples (`by_length` may add one to a group).

    mixed: random composition. by_length: equal lengths only, the habit of published text VAEs, for their protocols; the one
    sentence of a rare length joins the next shorter group, so that no batch holds a single example unless the data does.
    """
    rng = np.random.default_rng((seed, epoch))
    if batching == "mixed":
        return near_equal(rng.permutation(len(lengths)), size)
    if batching != "by_length":
        raise InputError(f"data.batching={batching}: allowed are {', '.join(BATCHING)}")
    shuffled = rng.permutation(len(lengths))
    by_length = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    groups = np.split(by_length, np.flatnonzero(np.diff(lengths[by_length])) + 1)
    batches = [batch for group in join_singles(groups) for batch in near_equal(group, size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def near_equal(examples: np.ndarray, size: int) -> list[np.ndarray]:
    """Split into ceil(n / size) parts whose sizes differ by at most one: no short last batch to drop.

    From size 2 on no part holds a single example unless there is only one (then 2 and an odd n give one part of 3).
    """
    parts = -(-len(examples) // size)
    if size > 1:
        parts = min(parts, max(1, len(examples) // 2))
    return np.array_split(examples, parts) if len(examples) else []


def join_singles(groups: list[np.ndarray]) -> list[np.ndarray]:
    """Merge each group of one into the group before it (the first into the one after)."""
    joined: list[np.ndarray] = []
    for group in groups:
        if joined and (len(group) == 1 or len(joined[-1]) == 1):
            joined[-1] = np.concatenate([joined[-1], group])
        else:
            joined.append(group)
    return joined
