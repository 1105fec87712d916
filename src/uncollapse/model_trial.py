"""Try a model with parts of the user's own on two examples: encoder, head and decoder must fit.

Without this a run would fail at its first step, after its folder is written.
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from uncollapse.errors import InputError
from uncollapse.json_types import JsonMapping
from uncollapse.own_code import list_own_targets
from uncollapse.raised import describe_raised

if TYPE_CHECKING:
    from uncollapse.interfaces.data import Data
    from uncollapse.interfaces.model import Model

EXAMPLES, CODES = 2, 3


def try_own_parts(model: "Model", data: "Data", latent: int, slots: JsonMapping) -> None:
    """InputError naming the part whose result has a wrong shape, or that raised an error.

    `slots`: the config of model, posterior and decoder. Models that consist of parts of this
    package are not tried. Random numbers and statistics of batches stay as they are.
    """
    if not (names := list_own_targets(slots)):
        return
    batch = data.batch("train", np.arange(EXAMPLES))
    mode, where = model.training, " and ".join(names)
    model.eval()
    step = "encode(batch)"
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # batch norm has seen no batch yet, which matters for numbers but not for shapes
            warnings.simplefilter("ignore")
            q = model.encode(batch)
            require_shape(f"the mean of {step}", q.mean, (EXAMPLES, latent))
            codes = q.sample(CODES)
            require_shape(f"a sample of {CODES} codes", codes, (CODES, EXAMPLES, latent))
            for z in (codes[0], codes):
                step = f"nll(batch, z) for z {list(z.shape)}"
                require_shape(step, model.nll(batch, z), z.shape[:-1])
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except Exception as error:
        raise InputError(f"{where}: {step} raised {describe_raised(error)}") from error
    finally:
        model.train(mode)


def require_shape(name: str, value: object, expected: tuple[int, ...]) -> None:
    """InputError for anything but a tensor of that shape."""
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{name} is a {type(value).__name__}; allowed is a tensor")
    if value.shape != expected:
        raise InputError(f"{name} has the shape {list(value.shape)}; allowed is {list(expected)}")
