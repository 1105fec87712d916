"""The output layer of the published decoders: logits, or means, W h + b, where z is not seen again."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Plain(nn.Module):
    """What every output layer offers. A model builds it from (latent D, outputs V) and keeps W [V, H] and b [V] in an `nn.Linear`.

    outputs = weight(layer) [h, features(z)] + b: a remedy says what the layer reads of z, and how that and W make one matrix.
    Its own weights are `nn.Parameter`s and draw nothing from the global random state: `model.init` redraws every `nn.Linear` in
    turn, and all that a model shares with plain, the head included, must start from the same weights.
    """

    def __init__(self, latent: int, outputs: int):
        super().__init__()

    def features(self, z: Tensor) -> Tensor | None:
        """What the output layer reads of the code: z [..., D] -> [..., F], or None for nothing."""
        return None

    def weight(self, layer: nn.Linear) -> Tensor:
        """[V, H + F]."""
        return layer.weight

    def forward(self, layer: nn.Linear, h: Tensor, features: Tensor | None) -> Tensor:
        """h [..., H], features [..., F] -> [..., V]."""
        return functional.linear(beside(h, features), self.weight(layer), layer.bias)


def beside(h: Tensor, features: Tensor | None) -> Tensor:
    """[h, features], [..., H + F]."""
    return h if features is None else torch.cat([h, features], -1)
