"""A skip connection from z to the output layer, so that z reaches every word past the recurrence.

Dieng, Kim, Rush & Blei, "Avoiding Latent Variable Collapse with Generative Skip Models", AISTATS
2019 (arXiv 1807.04863), section 3: each layer of the decoder reads z and the layer below it.
The published decoder has one recurrent layer, which already reads z at every step, so only the path
to the output is missing:

    logits = W h + S z + b,   S [V, D] learned from 0

Deviations: the paper joins z through a learned non-linear layer; here the joint is linear, as at
this decoder's input, and S is its weight. S starts at 0, so that the first loss is that of plain.
Its gradient is not 0, since z is not.
"""

import torch
from torch import Tensor, nn

from uncollapse.interfaces.decoder import OutputLayer


class Skip(OutputLayer):
    """An output layer that reads z itself.

    In the linear model, whose output reads z already, it changes nothing but the step size.
    """

    def __init__(self, latent: int, outputs: int):
        super().__init__(latent, outputs)
        self.skip = nn.Parameter(torch.zeros(outputs, latent))

    def features(self, z: Tensor) -> Tensor:
        return z

    def weight(self, layer: nn.Linear) -> Tensor:
        return torch.cat([layer.weight, self.skip], 1)
