"""Whether a model fits into memory, found out before a byte of it is taken."""

import os
from collections.abc import Callable
from math import prod
from typing import Any

from torch import nn

from uncollapse.errors import InputError

BYTES = 16  # of a parameter in training: itself, its gradient and Adam's two moments
ORDINARY = 10**8  # product of the three largest sizes; below it no model is too large


def require_room(make: Callable[[], nn.Module], sizes: dict[str, Any]) -> None:
    """InputError when the model that `make` builds, from `sizes` by key, takes more memory than the machine has.

    It is built without storage, which is looked at for large sizes only: it takes a second or two.
    """
    counted = sorted((size for size in sizes.values() if type(size) is int), reverse=True)
    if prod(counted[:3]) <= ORDINARY:
        return
    import torch

    try:
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in make().parameters())
    except (RuntimeError, OverflowError):  # more than can be counted
        count = 2**63
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if count * BYTES > room:
        key = max((key for key in sizes if type(sizes[key]) is int), key=lambda key: sizes[key])
        raise InputError(
            f"{key}={sizes[key]}: a model of {count:.3g} parameters takes {count * BYTES / 1e9:,.0f} GB in training, "
            f"and this machine has {room / 1e9:,.0f}; allowed is what fits"
        )
