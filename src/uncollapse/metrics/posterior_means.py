"""The means of q(z|x) and of the model's own posterior p(z|x), and how far the encoder lags behind.

He, Spokoyny, Neubig & Berg-Kirkpatrick, "Lagging Inference Networks and Posterior Collapse in
Variational Autoencoders", ICLR 2019 (arXiv 1901.05534), section 3 and figures 2 and 3. With m = E_q
z and the model's mean t = E_p z of an example,

    inference_lag = mean over examples of |t - m|^2
    relative      = sum_j Var_x(t_j - m_j) / sum_j Var_x(t_j):   1 for an encoder that gives all x
                    the same mean, 0 for one that follows t up to a constant

p(z|x) is p(x|z) p(z) up to a factor. For one dimension with the prior N(0, 1), t is a sum over a
grid, as in the paper (its code: -20 to 20 in steps of 0.1). Otherwise t is the self-normalised
importance sampling mean of CODES codes, half of them from q and half from the prior, weighted
relative to this mixture. A q that lags, or is too narrow, hence does not spoil the estimate, but
few of the prior's codes are near p(z|x) where that is narrow in many dimensions: examples whose
effective sample size is too small are left out and counted. The variance of t (delta method) is
subtracted from each of these terms.
"""

import math
from dataclasses import dataclass, fields
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.batches import split_examples
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import wide
from uncollapse.interfaces.data import Data
from uncollapse.interfaces.model import Model
from uncollapse.interfaces.posterior import Posterior
from uncollapse.json_types import JsonObject
from uncollapse.metrics.base import with_error
from uncollapse.metrics.likelihood import DECODED_CODES, DecodeCodes, effective_samples
from uncollapse.metrics.one_pass import EVAL_BATCH, EVAL_SEED, Encode, evaluating
from uncollapse.metrics.rows_evaluation import FEW_SAMPLES

CODES = 500  # of an example
GRID_END, GRID_STEP = 8.0, 0.05  # one dimension: from -8 to 8
FEWEST_POINTS = 3  # effective number of grid points, fewer cannot resolve p(z|x)
MOST_AT_ENDS = 1e-3  # share of p(z|x) at the ends of the grid
LEAST_VARIANCE = 0.01  # of t, summed over dimensions: below it there is no code to lag behind
DIGITS = 4  # of the means on disk


class ModelMeans(NamedTuple):
    """E_p z of B examples."""

    mean: Tensor  # [B, D]
    noise: Tensor  # [B, D], the variance of the estimate
    reliable: Tensor  # [B], whether the estimate counts


@dataclass(frozen=True)
class PosteriorMeans:
    """The means of q and of p(z|x) of N examples."""

    q: np.ndarray  # [N, D]
    p: np.ndarray  # [N, D]
    noise: np.ndarray  # [N, D], the variance of p's estimate
    reliable: np.ndarray  # [N]


def collect_means(
    model: Model, data: Data, split: str, encode: Encode, count: int
) -> PosteriorMeans:
    """The means of `count` examples of a split, the same ones at every call, in a fixed order."""
    order = np.concatenate(data.batches(split, EVAL_SEED, 0, size=EVAL_BATCH, batching="mixed"))
    device = next(model.parameters()).device
    columns: list[tuple[Tensor, ...]] = []
    with evaluating(model, train=False):
        for examples in split_examples(order[:count], EVAL_BATCH):
            batch = data.batch(split, examples).to(device)
            q = encode(batch)
            columns.append((q.mean, *model_means(partial(model.nll, batch), q)))
    joined = (torch.cat(parts).cpu().numpy() for parts in zip(*columns, strict=True))
    names = [field.name for field in fields(PosteriorMeans)]
    return PosteriorMeans(**dict(zip(names, joined, strict=True)))


def model_means(
    decode: DecodeCodes, q: Posterior, generator: torch.Generator | None = None
) -> ModelMeans:
    """E_p z by a grid where there is one dimension and its prior is N(0, 1), else by sampling."""
    if isinstance(q, DiagonalGaussian) and q.mean.shape[1] == 1:
        return grid_means(decode, q)
    return sampled_means(decode, q, generator)


def grid_means(decode: DecodeCodes, q: DiagonalGaussian) -> ModelMeans:
    count = round(2 * GRID_END / GRID_STEP) + 1
    points = torch.linspace(-GRID_END, GRID_END, count, device=q.mean.device).to(q.codes)
    z = points[:, None, None].expand(-1, len(q.mean), 1)
    log_weights = -decode_parts(decode, z) - 0.5 * wide(z[..., 0]).square()
    share = torch.softmax(log_weights, 0)
    resolved = effective_samples(log_weights) >= FEWEST_POINTS
    inside = share[0] + share[-1] <= MOST_AT_ENDS
    mean = (share[..., None] * z).sum(0)
    return ModelMeans(mean, torch.zeros_like(mean), resolved & inside)


def sampled_means(
    decode: DecodeCodes, q: Posterior, generator: torch.Generator | None
) -> ModelMeans:
    half = CODES // 2
    own, prior = q.sample(half, generator), q.sample_prior(half, generator)[:, None]
    z = torch.cat([own, prior.expand_as(own)])
    # log q - log p; codes of the prior are the same for all examples
    ratio = wide(torch.cat([q.log_ratio(own), q.log_ratio(prior)]))
    # p(x|z) p(z) / [q(z|x)/2 + p(z)/2]
    mixture = torch.logaddexp(ratio, torch.zeros_like(ratio)) - math.log(2)
    log_weights = -decode_parts(decode, z) - mixture
    share = torch.softmax(log_weights, 0)[..., None]  # [n, B, 1]
    mean = (share * z).sum(0)
    noise = (share * (z - mean)).square().sum(0)
    return ModelMeans(mean, noise, effective_samples(log_weights) >= FEW_SAMPLES)


def decode_parts(decode: DecodeCodes, z: Tensor) -> Tensor:
    """-log p(x|z) in float64, [n, B], of about DECODED_CODES codes at a time."""
    parts = z.split(max(1, DECODED_CODES // z.shape[1]))
    return torch.cat([wide(decode(part)) for part in parts]).double()


def describe_lag(means: PosteriorMeans) -> JsonObject:
    """inference_lag with its error, the relative one, the share left out, and the means.

    Lags are None if fewer than two examples are reliable.
    """
    kept = means.reliable
    q, p, noise = (values[kept] for values in (means.q, means.p, means.noise))
    # a row of p per dimension, with null for the examples left out
    shown = np.where(kept[:, None], means.p, np.nan)
    found: JsonObject = {
        "lag_left_out": float((~kept).mean()),
        "posterior_means": {"q": columns_of(means.q), "p": columns_of(shown)},
    }
    if len(p) < 2:
        names = ("inference_lag", "inference_lag_se", "inference_lag_relative")
        return {**dict.fromkeys(names), **found}
    lag = with_error("inference_lag", ((p - q) ** 2 - noise).sum(1))
    missed, spread = (float((values.var(0, ddof=1) - noise.mean(0)).sum()) for values in (p - q, p))
    relative = missed / spread if spread > LEAST_VARIANCE else None
    return {**lag, "inference_lag_relative": relative, **found}


def columns_of(values: np.ndarray) -> list[list[float | None]]:
    """[N, D] as D lists of N rounded numbers; null for nan."""
    rounded = np.round(values.astype(float), DIGITS).T
    return [[None if math.isnan(value) else value for value in row] for row in rounded.tolist()]
