"""my_decoder: its formula, and the plain layer where the knob switches it off."""

import pytest
import torch
from torch import Tensor, nn

from templates.my_decoder import MyDecoder
from uncollapse.decoders.plain import Plain
from uncollapse.errors import InputError
from uncollapse.interfaces.decoder import OutputLayer

LAYER = nn.Linear(5, 8)
STATES, CODES = torch.randn(3, 5), torch.randn(3, 2)


def decode(output: OutputLayer) -> Tensor:
    return output(LAYER, STATES, output.features(CODES))


def test_temperature_1_is_plain_bit_for_bit() -> None:
    assert torch.equal(decode(MyDecoder(2, 8, 1.0)), decode(Plain(2, 8)))


def test_the_formula() -> None:
    expected = STATES @ LAYER.weight.T / 4 + LAYER.bias
    torch.testing.assert_close(decode(MyDecoder(2, 8, 4.0)), expected)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), "hot"])
def test_a_bad_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match=f"^temperature={temperature}: .* is 0 < temperature$"):
        MyDecoder(2, 8, temperature)
