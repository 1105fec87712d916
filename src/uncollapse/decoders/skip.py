"""A skip connection from z to the output layer: z reaches every word by a path that no recurrent state lies on.

Dieng, Kim, Rush & Blei, "Avoiding Latent Variable Collapse with Generative Skip Models", AISTATS 2019 (arXiv 1807.04863), section 3: each
layer of the decoder reads z beside the layer below it. The published decoder has one recurrent layer, which reads z at every step as
it is, so what is missing is the path to the output,
    logits = W h + S z + b,   S [V, D] learned from 0.
Deviations: the paper joins z through a learned layer with a non-linearity of its own; here the joint is linear, as it is at this decoder's
input, and S is its weight. S starts at 0, so that the first loss is plain's; its gradient is not 0, since z is not.
"""

import torch
from torch import Tensor, nn

from uncollapse.decoders.plain import Plain


class Skip(Plain):
    """An output layer that reads z itself. In the linear model, whose output reads z already, it changes nothing but the step size."""

    def __init__(self, latent: int, outputs: int):
        super().__init__(latent, outputs)
        self.skip = nn.Parameter(torch.zeros(outputs, latent))

    def features(self, z: Tensor) -> Tensor:
        return z

    def weight(self, layer: nn.Linear) -> Tensor:
        return torch.cat([layer.weight, self.skip], 1)
