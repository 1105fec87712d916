"""my_decoder: its formula, and the plain layer where the knob switches it off."""

import pytest
import torch
from torch import Tensor, nn

from uncollapse.decoders.plain import Plain
from uncollapse.errors import InputError
from uncollapse.interfaces.decoder import OutputLayer
from uncollapse.starting.templates.my_decoder import MyDecoder

EXAMPLE_LAYER = nn.Linear(5, 8)
EXAMPLE_STATES, EXAMPLE_CODES = torch.randn(3, 5), torch.randn(3, 2)


def apply_output(output: OutputLayer) -> Tensor:
    return output(EXAMPLE_LAYER, EXAMPLE_STATES, output.features(EXAMPLE_CODES))


def test_temperature_1_is_plain_bit_for_bit() -> None:
    assert torch.equal(apply_output(MyDecoder(2, 8, 1.0)), apply_output(Plain(2, 8)))


def test_the_formula() -> None:
    expected = EXAMPLE_STATES @ EXAMPLE_LAYER.weight.T / 4 + EXAMPLE_LAYER.bias
    torch.testing.assert_close(apply_output(MyDecoder(2, 8, 4.0)), expected)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), "hot"])
def test_a_bad_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match=f"^temperature={temperature}: .* is 0 < temperature$"):
        MyDecoder(2, 8, temperature)
