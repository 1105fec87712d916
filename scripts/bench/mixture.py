"""How fast is log q(z) of N codes in a mixture of N posteriors, compared with published code?"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.table import print_table
from bench.timing import time_cpu
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.metrics.information import code_information

QUICK_SIZES = ((1000, 16), (2000, 32))  # codes, dimensions
BATCH = 128  # posteriors that the encoder returns at a time


@dataclass(frozen=True)
class MixtureSpeed:
    ratio: float  # above 1: the harness is faster
    seconds: float
    difference: float  # nats


MIXTURE_COLUMNS: dict[str, Callable[[MixtureSpeed], str]] = {
    "times faster": lambda r: f"{r.ratio:.2f}",
    "seconds": lambda r: f"{r.seconds:.2f}",
    "difference, nats": lambda r: f"{r.difference:.0e}",
}


def measure_mixture(quick: bool) -> dict[str, MixtureSpeed]:
    """Matrix products in blocks, against the differences of all pairs at once."""
    torch.set_num_threads(1)
    sizes = QUICK_SIZES if quick else (*QUICK_SIZES, (5000, 32))
    results = {
        f"{count} codes of {dims}": compare_mixture(count, dims, repeats=3 if quick else 7)
        for count, dims in sizes
    }
    print_table("mutual information from the mixture", "size", MIXTURE_COLUMNS, results)
    return results


def compare_mixture(count: int, dims: int, repeats: int) -> MixtureSpeed:
    torch.manual_seed(0)
    q = DiagonalGaussian.from_log_var(torch.randn(count, dims), -torch.rand(count, dims))
    z = q.sample()
    batches = split_posterior(q)
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(time_cpu(code_information, batches, z))
        theirs.append(time_cpu(published_information, q, z))
    # the mean over codes of log q(z|x) - log q(z), as the published code reports it
    information = code_information(batches, z)[0].mean()
    return MixtureSpeed(
        ratio=float(np.median(np.array(theirs) / np.array(ours))),
        seconds=statistics.median(ours),
        difference=abs(float(information) - published_information(q, z)),
    )


def split_posterior(q: DiagonalGaussian) -> list[DiagonalGaussian]:
    """The posteriors of N examples batch by batch, as in an evaluation."""
    columns = zip(q.mean.split(BATCH), q.std.split(BATCH), q.log_var.split(BATCH), strict=True)
    return [DiagonalGaussian(*batch) for batch in columns]


def published_information(q: DiagonalGaussian, z: Tensor) -> float:
    """Mutual information in nats, from differences [32, N, D] for 32 codes at a time."""
    gains = []
    blocks = zip(z.split(32), q.mean.split(32), q.log_var.split(32), strict=True)
    for codes, mean, log_var in blocks:
        away = codes[:, None] - q.mean
        # terms that are equal for all posteriors cancel
        density = -0.5 * (away**2 / q.log_var.exp()).sum(-1) - 0.5 * q.log_var.sum(-1)
        own = -0.5 * ((codes - mean) ** 2 / log_var.exp()).sum(-1) - 0.5 * log_var.sum(-1)
        gains.append(own - torch.logsumexp(density, 1) + math.log(len(z)))
    return float(torch.cat(gains).mean())
