"""The layer that makes a decoder's outputs: logits of words or pixels, or means of numbers."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncollapse.interfaces.hooks import Interface


class OutputLayer(nn.Module, metaclass=Interface, interface=True):
    """outputs = weight(layer) [h, features(z)] + b, where `layer` holds W [V, H] and b [V].

    The model owns `layer`, an `nn.Linear`, and constructs this module with the number of latent
    dimensions D and of outputs V. A remedy overrides the hooks `features` and `weight`.

    Its own weights must be `nn.Parameter`s, because `model.init` draws every `nn.Linear` again.
    They must not be drawn from the global random state: all weights that a model shares with the
    plain one, its head included, must start from the same values.
    """

    def __init__(self, latent: int, outputs: int):
        super().__init__()

    def features(self, z: Tensor) -> Tensor | None:
        """What the layer reads of the code: z [..., D] -> [..., F], or None for nothing."""
        return None

    def weight(self, layer: nn.Linear) -> Tensor:
        """The matrix for h and features together, [V, H + F]."""
        return layer.weight

    def forward(self, layer: nn.Linear, h: Tensor, features: Tensor | None) -> Tensor:
        """h [..., H], features [..., F] -> [..., V]."""
        return functional.linear(join_features(h, features), self.weight(layer), layer.bias)


def join_features(h: Tensor, features: Tensor | None) -> Tensor:
    """[h, features], [..., H + F]."""
    return h if features is None else torch.cat([h, features], -1)
