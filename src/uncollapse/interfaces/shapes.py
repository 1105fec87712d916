"""The shapes of tensors in the signatures of the interfaces.

They are annotations for the reader; `pytest --shapes` checks them. B is the number of examples, D
of latent dimensions, H of entries of the encoder's state; G is D where the KL splits over
dimensions, else 1. `*n` stands for any number of leading axes, such as several codes of each
example, and `#B` for B or 1.
"""

from typing import Annotated

from torch import Tensor

States = Annotated[Tensor, "B H"]
PerExample = Annotated[Tensor, "B"]
PerDimension = Annotated[Tensor, "B D"]
PerGroup = Annotated[Tensor, "B G"]
Codes = Annotated[Tensor, "*n B D"]
CodesOfAny = Annotated[Tensor, "*n #B D"]  # one code of each example, or one for all of them
PerCode = Annotated[Tensor, "*n B"]
PriorCodes = Annotated[Tensor, "n D"]
PerDimensionOfAny = Annotated[Tensor, "D n B"]
