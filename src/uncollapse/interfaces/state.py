"""State that is not part of the model: networks and running values of objectives and procedures."""

from torch import nn

from uncollapse.interfaces.hooks import Interface


class Stateful(metaclass=Interface, interface=True):
    """Base of objectives and procedures, most of which have no state."""

    def state_module(self) -> nn.Module:
        """The module that goes to the device and into checkpoints; its parameters are trained.

        A class that is an `nn.Module` returns itself. A class that is not, but keeps its state in a
        module, must return that module.
        """
        # an empty module has an empty state, and the checkpoint needs no special case
        return self if isinstance(self, nn.Module) else nn.Module()
