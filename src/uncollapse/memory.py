"""Checks that a model fits into memory before any memory is allocated."""

import os
from collections.abc import Callable
from math import prod

from omegaconf import DictConfig
from torch import nn

from uncollapse.config import COMMON
from uncollapse.errors import InputError

BYTES_PER_PARAMETER = 16  # in training, in float32: value, gradient and Adam's two moments
SMALL_PRODUCT = 10**8  # product of the three largest sizes; below it every model fits


def require_memory(make: Callable[[], nn.Module], sizes: dict[str, object]) -> None:
    """InputError when the model that `make` builds needs more memory than the machine has.

    `sizes` are the values that decide how large it is, by key. The model is built without storage.
    That takes a second or two, so it is done only for large sizes.
    """
    # type() instead of isinstance(), because a boolean is an int
    counts = {key: size for key, size in sizes.items() if type(size) is int}
    # a layer has two sizes, and a vocabulary or a number of layers may be the third
    if prod(sorted(counts.values(), reverse=True)[:3]) <= SMALL_PRODUCT:
        return
    import torch

    try:
        with torch.device("meta"):  # tensors without storage
            parameters = sum(parameter.numel() for parameter in make().parameters())
    except (RuntimeError, OverflowError):  # a size that overflows 64 bits
        parameters = 2**63
    needed = parameters * BYTES_PER_PARAMETER
    # physical memory, not what is free: other programs may be closed
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        # name the largest size: most likely it is the wrong one
        key = max(counts, key=lambda key: counts[key])
        raise InputError(
            f"{key}={counts[key]}: a model of {parameters:.3g} parameters takes "
            f"{needed / 1e9:,.0f} GB in training, and this machine has {memory / 1e9:,.0f}; "
            "allowed is what fits"
        )


def list_sizes(cfg: DictConfig) -> dict[str, object]:
    """The values that decide how large a model is, by key: the model's own and the head's knobs."""
    # a knob may be a size, too
    knobs = {str(key): value for key, value in cfg.items() if key not in COMMON}
    return {f"model.{key}": value for key, value in cfg.model.items()} | knobs
