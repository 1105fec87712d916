"""Image models with colour, values of a byte, and images that are not square."""

import itertools
import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import composed
from schemas import DigitsConfig, ImageMLPConfig, ImagePixelCNNConfig
from scipy.stats import chisquare

from uncollapse.building import prepare
from uncollapse.data.image_size import ImageSize, as_image_size
from uncollapse.data.images import ImageBatch
from uncollapse.decoders import Options
from uncollapse.errors import InputError
from uncollapse.models.image_mlp import center_pixels
from uncollapse.models.image_pixelcnn import ImagePixelCNN, join_channels
from uncollapse.posteriors.gaussian import Gaussian

SIZES = [ImageSize(1, 2, 3), ImageSize(2, 3), ImageSize(3, 2)]
LOGISTIC = {"likelihood": "discretised_logistic", "levels": 3}


def pixelcnn(size: ImageSize, decoder: Options | None = None, **changes: object) -> ImagePixelCNN:
    torch.manual_seed(0)
    small = {"latent": 2, "hidden": 5, "channels": 4, "layers": 3, "kernel": 3, "z_channels": 2}
    return ImagePixelCNNConfig(**{**small, **changes}).build(size, Gaussian, decoder).eval()


def mlp(size: ImageSize, **changes: object):
    torch.manual_seed(0)
    return ImageMLPConfig(**{"hidden": 5, "latent": 2, **changes}).build(size, Gaussian).eval()


def sharpen(model: torch.nn.Module, factor: float = 3.0) -> None:
    """Untrained outputs hardly depend on anything."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "log_scale" in name:
                parameter.fill_(-0.5)
            else:
                parameter.mul_(factor)


def all_images(size: ImageSize, levels: int) -> ImageBatch:
    values = [k / (levels - 1) for k in range(levels)]
    x = torch.tensor(list(itertools.product(values, repeat=size)))
    return ImageBatch(x, np.arange(len(x)))


def outputs_of(model: ImagePixelCNN, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """What the likelihood of each value reads, [N, P]."""
    fed = center_pixels(x).view(len(x), -1, model.decoder.size.channels)
    outputs, coefficients = model.decoder.read(fed, model.decoder.map_of(z))
    return join_channels(outputs, coefficients, fed).flatten(1)


# ---------------------------------------------------------------- sizes


def test_image_size_is_a_number_that_knows_its_shape() -> None:
    size = ImageSize(4, 6, 3)
    assert size == 72 and size.shape == (4, 6, 3) and ImageSize(4, 6).shape == (4, 6)
    for copy in (pickle.loads(pickle.dumps(size)), deepcopy(size)):
        assert copy == 72 and copy.shape == size.shape
    assert as_image_size(49).shape == (7, 7) and as_image_size(size) is size
    with pytest.raises(InputError, match=r"50 pixels an image: .*a square number"):
        as_image_size(50)


# ---------------------------------------------------------------- densities


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("changes", [{}, LOGISTIC])
@pytest.mark.parametrize("make", [pixelcnn, mlp])
@torch.no_grad()
def test_probabilities_of_all_images_sum_to_one(make, changes: dict, size: ImageSize) -> None:
    """For the PixelCNN this holds only if no value sees itself or those after it."""
    model = make(size, **changes)
    sharpen(model)
    everything = all_images(size, 3 if changes else 2)
    z = 2 * torch.randn(2, 1, 2)
    total = torch.exp(-model.nll(everything, z.expand(2, len(everything), 2)).double()).sum(1)
    np.testing.assert_allclose(total, np.ones(2), rtol=1e-4)


@pytest.mark.parametrize("size", [ImageSize(3, 4, 3), ImageSize(5, 3), ImageSize(4, 4, 2)])
@torch.no_grad()
def test_value_depends_on_all_values_before_it_and_on_none_after(size: ImageSize) -> None:
    model = pixelcnn(size, layers=6)
    sharpen(model, 2.0)
    x, z = torch.rand(1, size), torch.randn(1, 2)
    before = outputs_of(model, x, z)
    for place in range(size):
        changed = x.clone()
        changed[0, place] = 1 - changed[0, place]
        differs = (outputs_of(model, changed, z) != before)[0]
        # neither the value itself nor any before it
        assert not differs[: place + 1].any(), place
        assert differs[-1] or place == size - 1, place
        # the later channels of the same pixel
        rest = size.channels - 1 - place % size.channels
        assert differs[place + 1 : place + 1 + rest].all(), place


@torch.no_grad()
def test_channels_are_added_in_order() -> None:
    outputs = torch.tensor([[1.0, 2.0, 3.0]])
    coefficients = torch.tensor([[10.0, 100.0, 1000.0]])  # green: red; blue: red, green
    fed = torch.tensor([[0.5, 0.25, 7.0]])
    found = join_channels(outputs, coefficients, fed)
    assert found.tolist() == [[1.0, 2 + 10 * 0.5, 3 + 100 * 0.5 + 1000 * 0.25]]


@pytest.mark.parametrize("changes", [{}, LOGISTIC])
@pytest.mark.parametrize("make", [pixelcnn, mlp])
@torch.no_grad()
def test_images_are_drawn_with_their_probabilities(make, changes: dict) -> None:
    size = ImageSize(1, 1, 3)
    model = make(size, **changes)
    sharpen(model)
    everything, count = all_images(size, 3 if changes else 2), 20_000
    z = torch.randn(1, 2)
    drawn = model.generate(z.expand(count, 2), generator=torch.Generator().manual_seed(0))
    same = (drawn[:, None] - everything.x).abs().amax(-1) < 1e-6
    assert (same.sum(1) == 1).all()
    expected = count * torch.exp(-model.nll(everything, z.expand(len(everything), 2))).double()
    counts, expected = same.sum(0).double(), expected * count / expected.sum()
    likely = expected > 5
    found, wanted = counts[likely], expected[likely]
    assert len(found) > 4
    assert chisquare(found, wanted * found.sum() / wanted.sum()).pvalue > 1e-4
    greedy = model.generate(z, greedy=True)
    assert (all_images(size, 3 if changes else 2).x == greedy).all(1).any()


@torch.no_grad()
def test_greedy_value_is_the_most_likely_given_those_before() -> None:
    size = ImageSize(2, 2, 3)
    model = pixelcnn(size, **LOGISTIC)
    sharpen(model)
    z = torch.randn(1, 2)
    greedy = model.generate(z, greedy=True)
    for place in range(size):
        # images that differ in this value; later values do not matter to its own probability
        tried = greedy.repeat(3, 1)
        tried[:, place] = torch.tensor([0.0, 0.5, 1.0])
        x = tried.view(3, -1, 3)
        outputs = outputs_of(model, tried, z.expand(3, 2)).view_as(x)
        masses = model.decoder.likelihood.log_masses(outputs, x).flatten(1)[:, place]
        assert greedy[0, place] == tried[int(masses.argmax()), place]


def test_grey_square_images_have_no_coefficients() -> None:
    names = {name for name, _ in pixelcnn(ImageSize(3, 3)).named_parameters()}
    assert not any("across" in name or "likelihood" in name for name in names)
    colour = dict(pixelcnn(ImageSize(3, 3, 3), **LOGISTIC).named_parameters())
    assert colour["decoder.across.weight"].shape == (3, 4)
    assert colour["decoder.likelihood.log_scale"].shape == (3,)


def test_hidden_values_are_hidden_from_later_channels_too() -> None:
    size = ImageSize(2, 2, 3)
    model = pixelcnn(size, Options(word_dropout=1.0)).train()
    everything, z = all_images(size, 2), torch.zeros(4096, 2)
    nll = model.nll(everything, z).detach().view(2, -1)
    # with everything hidden, changing the first value changes all by the same amount
    np.testing.assert_allclose(nll[1] - nll[0], (nll[1] - nll[0])[:1].expand(2048), atol=1e-4)


def test_what_one_channel_says_about_the_others_is_learned() -> None:
    """Green equals red, and blue is its opposite: only red costs ln 2 a pixel."""
    model = pixelcnn(ImageSize(3, 3, 3), channels=8).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    rng = torch.Generator().manual_seed(0)
    for _ in range(60):
        red = (torch.rand(128, 9, 1, generator=rng) < 0.5).float()
        x = torch.cat([red, red, 1 - red], -1).flatten(1)
        loss = model.nll(ImageBatch(x, np.arange(128)), torch.zeros(128, 2)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) == pytest.approx(9 * np.log(2), rel=0.03)


# ---------------------------------------------------------------- what is refused


def test_grey_values_are_those_of_the_files() -> None:
    data = DigitsConfig(binarise="none").load()
    x = data.batch("train", np.arange(9)).x
    np.testing.assert_array_equal((x * 16).round(), data.grey["train"][:9])
    assert data.facts()["binarise"] == "none"


@pytest.mark.parametrize("model", ["image_mlp", "image_pixelcnn"])
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("data.binarise=none",), "data.binarise=none gives values .*; set model.likelihood="),
        (("model.likelihood=discretised_logistic",), "takes grey values; set data.binarise=none"),
        (
            ("data.binarise=none", "model.likelihood=discretised_logistic"),
            "model.levels=256: these images have values from 0 to 16; set model.levels=17",
        ),
        (
            ("model.likelihood=gaussian",),
            "model.likelihood=gaussian: allowed are bernoulli, discretised_logistic",
        ),
        (("model.likelihood=discretised_logistic", "model.levels=1"), "model.levels=1: allowed"),
    ],
)
def test_values_that_the_likelihood_does_not_take_are_refused(
    model: str, words: tuple[str, ...], reason: str
) -> None:
    cfg = composed("data=digits", f"model={model}", "model.latent=2", "model.hidden=4", *words)
    with pytest.raises(InputError, match=reason):
        prepare(cfg, "plain")
