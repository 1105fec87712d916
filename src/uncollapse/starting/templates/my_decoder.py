"""FILL IN: how the output layer differs, in one sentence.

FILL IN: authors, "title", venue and year (arXiv number), section, equations.
    outputs = W h / temperature + b
temperature 1 is the plain layer.
FILL IN: deviations from the paper, and why; what it guarantees, and under which conditions.
"""

from torch import Tensor, nn

from uncollapse.errors import check_number
from uncollapse.interfaces.decoder import OutputLayer


class MyDecoder(OutputLayer):
    """InputError unless temperature > 0. A layer that reads z overrides `features` too."""

    def __init__(self, latent: int, outputs: int, temperature: float):
        super().__init__(latent, outputs)
        self.temperature = check_number("temperature", temperature, 0)

    def weight(self, layer: nn.Linear) -> Tensor:
        return layer.weight / self.temperature
