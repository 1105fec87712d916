"""What image models share: their likelihoods, and the arrangement of an image's values."""

from torch import Tensor

from uncollapse.data.image_size import ImageSize
from uncollapse.data.images import ImageData
from uncollapse.errors import InputError, check_choice
from uncollapse.interfaces.data import Data
from uncollapse.models.likelihoods import LIKELIHOODS, Likelihood

IMAGE_LIKELIHOODS = ("bernoulli", "discretised_logistic")
UNIFORM_VARIANCE = 1 / 12  # of values from 0 to 1, from which learned scales start


def make_image_likelihood(name: str, size: int, levels: int) -> Likelihood:
    """InputError for a likelihood that is not one of images."""
    check_choice("model.likelihood", name, IMAGE_LIKELIHOODS)
    return LIKELIHOODS[name](size, UNIFORM_VARIANCE, levels)


def check_image_values(likelihood: Likelihood, data: Data) -> None:
    """InputError for images whose values the likelihood gives no probability."""
    if not isinstance(data, ImageData):
        return
    if likelihood.levels is None:
        if not data.is_binary:
            raise InputError(
                "data.binarise=none gives values between 0 and 1, and model.likelihood=bernoulli "
                "takes 0 and 1 only; set model.likelihood=discretised_logistic or "
                "data.binarise=dynamic"
            )
        return
    if data.is_binary:
        raise InputError(
            f"data.binarise={data.binarise}: model.likelihood=discretised_logistic takes grey "
            "values; set data.binarise=none or model.likelihood=bernoulli"
        )
    if likelihood.levels != data.levels + 1:
        raise InputError(
            f"model.levels={likelihood.levels}: these images have values from 0 to {data.levels}; "
            f"set model.levels={data.levels + 1}"
        )


def as_planes(x: Tensor, size: ImageSize) -> Tensor:
    """Values of complete rows, pixel after pixel [R, ...], as [R, C, K, W]."""
    # moving the axis of a single channel would change the memory layout, and the last digits
    planes = x.reshape(len(x), -1, size.channels).mT
    return planes.reshape(len(x), size.channels, -1, size.width)
