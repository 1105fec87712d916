"""One pass over the data: each batch is encoded once and decoded with several kinds of codes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from uncollapse.diagnosis.answers import check_finite_values
from uncollapse.diagnosis.model import CheckedModel, NumberedBatch
from uncollapse.diagnosis.repeatability import check_repeatability
from uncollapse.distributions.normal import Posterior
from uncollapse.errors import InputError
from uncollapse.json_types import JsonObject
from uncollapse.metrics.base import Pass, standard_error
from uncollapse.metrics.likelihood import importance_weighted, log_weights
from uncollapse.metrics.one_pass import collect, statistics
from uncollapse.metrics.usage import shuffle_gap

PROMISED_METRICS = ("floor", "kl_minus_floor")  # only heads of this package promise a floor
IMPORTANCE_COLUMNS = ("nll", "ess", "fall_2", "fall_8")


@dataclass
class Walk:
    """Evaluates a model batch by batch; only one batch of the data is in memory at a time."""

    model: CheckedModel
    samples: int  # importance samples of each example
    seed: int
    dims: set[int] = field(default_factory=set)
    weighted: dict[str, list[np.ndarray]] = field(
        default_factory=lambda: {k: [] for k in IMPORTANCE_COLUMNS}
    )

    def run(self, batches: Iterable[object]) -> tuple[Pass, dict[str, np.ndarray]]:
        """The pass, and the results of importance sampling by name, [N] each."""
        seen = collect(self.model.encode, self.model.nll, self.iterate(batches))
        return seen, {name: np.concatenate(values) for name, values in self.weighted.items()}

    def iterate(self, batches: Iterable[object]) -> Iterator[NumberedBatch]:
        for number, x in enumerate(batches):
            batch = NumberedBatch(x, number)
            # seeded for each batch: a loader may have drawn random numbers of its own
            torch.manual_seed(batch_seed(self.seed, number, 0))
            yield batch  # `collect` encodes it, and decodes its own and other examples' codes
            (q,) = batch.posteriors
            self.check_dims(q)
            self.weigh(batch, q)
            if number == 0:
                # forked: the additional calls must not change the numbers of later batches
                with torch.random.fork_rng():
                    check_repeatability(self.model, batch)
        if not self.weighted["nll"]:
            raise InputError(
                "data: no batch in it; allowed are at least 2 examples, and an iterator that has "
                "not been used before"
            )

    def check_dims(self, q: Posterior) -> None:
        self.dims.add(q.mean.shape[1])
        if len(self.dims) > 1:
            sizes = " and ".join(map(str, sorted(self.dims)))
            raise InputError(f"encode: {sizes} latent dimensions; allowed is one D for all")

    def weigh(self, batch: NumberedBatch, q: Posterior) -> None:
        """Estimate log p(x) of each example by importance sampling from its posterior."""
        seed = batch_seed(self.seed, batch.number, 1)
        # a generator of its own, so that the estimate does not depend on what was drawn before
        generator = torch.Generator(q.mean.device).manual_seed(seed)
        nll = partial(self.model.nll, batch)
        weights: Tensor = log_weights(nll, q, self.samples, generator, self.model.rows)
        # one infinite weight would make the mean of the batch infinite
        check_finite_values("nll: its importance weights", weights, batch.number)
        estimates = importance_weighted(weights)
        for name, values in self.weighted.items():
            values.append(estimates[name])


def batch_seed(seed: int, number: int, use: int) -> int:
    """A seed for one batch and one use, independent of the batches before it."""
    # SeedSequence mixes its entropy, so that nearby seeds give independent streams
    return int(np.random.SeedSequence((seed, number, use)).generate_state(1)[0])


def compute_statistics(seen: Pass, mixture: int) -> JsonObject:
    """The statistics of a pass.

    An example alone in its batch has no other code and is left out of the shuffled gap.
    """
    metrics = statistics(seen, None, mixture)
    metrics = {name: value for name, value in metrics.items() if name not in PROMISED_METRICS}
    paired = ~np.isnan(seen.rec_shuffled)
    if paired.any():
        pairs = replace(seen, rec=seen.rec[paired], rec_shuffled=seen.rec_shuffled[paired])
        metrics |= shuffle_gap(pairs)
    return metrics | {"kl_per_dim_se": [standard_error(values) for values in seen.kl.T]}
