"""my_posterior: its formula, and the plain posterior where the knob switches it off."""

import pytest
import torch
from torch import Tensor

from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.errors import InputError
from uncollapse.posteriors.gaussian import Gaussian
from uncollapse.starting.templates.my_posterior import MyPosterior


def posteriors(width: float) -> tuple[DiagonalGaussian, DiagonalGaussian]:
    """Those of plain and of this head, with the same weights and encoder states."""
    torch.manual_seed(0)
    plain, ours = Gaussian(7, 3), MyPosterior(7, 3, width)
    ours.load_state_dict(plain.state_dict())
    h: Tensor = torch.randn(20, 7)
    return plain(h), ours(h)


def test_width_1_is_plain_bit_for_bit() -> None:
    plain, ours = posteriors(1.0)
    assert torch.equal(ours.mean, plain.mean) and torch.equal(ours.variance, plain.variance)


def test_sigma_is_width_times_plains() -> None:
    plain, ours = posteriors(0.3)
    torch.testing.assert_close(ours.std, 0.3 * plain.std)


@pytest.mark.parametrize("width", [0, -1, float("nan"), "wide"])
def test_a_bad_width_is_refused(width: float) -> None:
    with pytest.raises(InputError, match=f"^width={width}: .* allowed is 0 < width$"):
        MyPosterior(7, 3, width)
