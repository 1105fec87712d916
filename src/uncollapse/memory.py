"""Whether a model fits into memory, found out before any memory is taken."""

import os
from collections.abc import Callable
from math import prod
from typing import Any

from torch import nn

from uncollapse.errors import InputError

BYTES_PER_PARAMETER = 16  # in training: itself, its gradient and Adam's two moments
SMALL_PRODUCT = 10**8  # product of the three largest sizes; below it every model fits


def require_memory(make: Callable[[], nn.Module], sizes: dict[str, Any]) -> None:
    """InputError when the model that `make` builds needs more memory than the machine has.

    `sizes` are the values that decide how large it is, by key. The model is built without storage,
    and only for large sizes, because that takes a second or two.
    """
    counts = {key: size for key, size in sizes.items() if type(size) is int}
    if prod(sorted(counts.values(), reverse=True)[:3]) <= SMALL_PRODUCT:
        return
    import torch

    try:
        with torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in make().parameters())
    except (RuntimeError, OverflowError):  # more than can be counted
        parameters = 2**63
    needed = parameters * BYTES_PER_PARAMETER
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        key = max(counts, key=lambda key: counts[key])
        raise InputError(
            f"{key}={counts[key]}: a model of {parameters:.3g} parameters takes "
            f"{needed / 1e9:,.0f} GB in training, and this machine has {memory / 1e9:,.0f}; "
            "allowed is what fits"
        )
