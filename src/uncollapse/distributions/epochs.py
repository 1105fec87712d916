"""Heads whose state moves on from one epoch of training to the next, and how they hear of it."""

from typing import Any

from torch import nn


class PerEpoch(nn.Module):
    """A head that is told which epoch begins, as a PyTorch sampler is."""

    def set_epoch(self, epoch: int) -> None:
        """Epoch `epoch` of training, counted from 0, begins or (after resuming) goes on."""
        raise NotImplementedError


def begin_epoch(model: Any, epoch: int) -> None:
    """Call `set_epoch` on all heads under `model` that have one."""
    for module in model.modules():
        if isinstance(module, PerEpoch):
            module.set_epoch(epoch)
