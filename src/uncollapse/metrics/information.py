"""The components of the rate: information about x, and KL(q(z) || p(z)) of the aggregate posterior.

    E KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z))
    KL(q(z) || p(z))     = TC(q(z)) + sum_j KL(q(z_j) || p(z_j))

Hoffman & Johnson 2016 ("ELBO surgery"); Chen et al. 2018 (beta-TCVAE, equation 2). q(z) is
estimated by the mixture of the posteriors of N examples, and the mixture at a code includes the
posterior that the code was drawn from. Both identities also hold exactly for the estimates.

mi_32 is I(x; z) as He et al. 2019 (arXiv 1901.05534, tables 1 and 2) and later tables on text
estimate it: the mixture at a code is that of the 32 examples of a batch.
"""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from uncollapse.distributions.normal import join_gaussians
from uncollapse.distributions.precision import wide, without_autocast
from uncollapse.interfaces.posterior import Posterior
from uncollapse.metrics.base import Pass, standard_error, with_error

DENSITIES_AT_ONCE = 1 << 19  # so many stay in the cache of a processor
# examples whose posteriors form the mixture q(z) in mi and similar metrics, in evaluations during
# training and in the test; the cost grows with the square of their number
MIXTURE, FINAL_MIXTURE = 1000, 10_000
SATURATED_WITHIN = 0.5  # nats below the ceiling
PUBLISHED_BATCH = 32  # examples whose posteriors form each mixture of mi_32
BATCH_SEED = 7381  # of the choice of these batches
Inspect = Callable[[int, Tensor], None]  # the first row of a block, and its densities [G, m, N]


def information(seen: Pass) -> dict:
    """mi, mi_per_dim, marginal_kl and its components, in nats; {} for a single example.

    mi = E[log q(z|x) - log 1/N sum_n q(z|x_n)] with one sampled z per example: in expectation a
    lower bound on I(x; z), and at most ln N (van den Oord et al. 2018). The mixture is over the
    first batches that together hold `seen.mixture` examples. mi_per_dim is the same for one
    dimension, and total_correlation = sum_j mi_per_dim - mi. Metrics by dimension are None where
    the posterior has no `log_ratio_per_dim`.
    """
    # the posteriors of complete batches, as they are stored batch by batch
    posteriors = join_gaussians(take_batches(seen.posteriors, seen.mixture))
    count = sum(len(q.mean) for q in posteriors)
    if count < 2:
        return {}
    z = seen.z[:count]
    batches = BatchInformation(count)
    gain, influence = code_information(posteriors, z, batches.add)
    # kl is over all N examples of the pass, mi over the first `count`
    mi, kl = float(gain.mean()), seen.kl.sum(1)
    return {
        "mi": mi,
        "mi_se": standard_error(influence[0]),
        "mi_n": count,
        "mi_ceiling": math.log(count),
        "mi_saturated": mi > math.log(count) - SATURATED_WITHIN,
        "marginal_kl": float(kl.mean()) - mi,
        "marginal_kl_se": standard_error(subtract_influence(kl, influence[0])),
        **batches.summarise(),
        **information_by_dimension(seen, posteriors, z, influence[0], mi),
    }


def information_by_dimension(
    seen: Pass, posteriors: Sequence[Posterior], z: Tensor, influence: np.ndarray, mi: float
) -> dict:
    """mi_per_dim [D], total_correlation, and KL(q(z_j) || p(z_j)), by dimension [D] and summed.

    All in nats, each with its standard error. Where the posterior does not factorise over
    dimensions, all are None.
    """
    names = ("mi_per_dim", "total_correlation", "dimension_kl_per_dim", "dimension_kl")
    if not all(q.splits for q in posteriors) or seen.kl.shape[1] != z.shape[1]:
        # a KL that does not split, as [N, 1], has no components either
        return {key: None for name in names for key in (name, f"{name}_se")}
    gain, each = pointwise_information(
        lambda codes: join_last([q.log_ratio_per_dim(codes) for q in posteriors]), z
    )
    per_dim = gain.mean(1)
    parts = np.stack(
        [subtract_influence(kl, values) for kl, values in zip(seen.kl.T, each, strict=True)]
    )
    apart = seen.kl.mean(0) - per_dim
    return {
        "mi_per_dim": per_dim.tolist(),
        "mi_per_dim_se": [standard_error(values) for values in each],
        "total_correlation": float(per_dim.sum()) - mi,
        "total_correlation_se": standard_error(each.sum(0) - influence),
        "dimension_kl_per_dim": apart.tolist(),
        "dimension_kl_per_dim_se": [standard_error(values) for values in parts],
        "dimension_kl": float(apart.sum()),
        "dimension_kl_se": standard_error(parts.sum(0)),
    }


def subtract_influence(kl: np.ndarray, influence: np.ndarray) -> np.ndarray:
    """The influence of each example on mean(kl) - mi, [N]; mi is from the first n examples only.

    Influences on mi [n] are rescaled by N/n, as `standard_error` divides by N.
    """
    spread = kl.copy()
    # centred, so that the mean of `spread` stays that of kl
    spread[: len(influence)] -= (influence - influence.mean()) * (len(kl) / len(influence))
    return spread


def take_batches(posteriors: Sequence[Posterior], limit: int | None) -> Sequence[Posterior]:
    """The first batches that together hold at least `limit` examples; all if there are fewer."""
    sizes = accumulate(len(q.mean) for q in posteriors)
    batches = next(
        (i for i, size in enumerate(sizes, 1) if limit is not None and size >= limit),
        len(posteriors),
    )
    return posteriors[:batches]


def join_last(densities: list[Tensor]) -> Tensor:
    """Densities under several posteriors, joined along the last dimension."""
    return densities[0] if len(densities) == 1 else torch.cat(densities, -1)


def code_information(
    posteriors: Sequence[Posterior], z: Tensor, inspect: Inspect | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`pointwise_information` of codes z [N, D] in all dimensions jointly; both [1, N]."""
    return pointwise_information(
        lambda codes: join_last([q.log_ratio(codes[:, None]) for q in posteriors])[None],
        z,
        inspect,
    )


def pointwise_information(
    densities: Callable[[Tensor], Tensor], z: Tensor, inspect: Inspect | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """log q(z_i|x_i) - log 1/N sum_n q(z_i|x_n) for N codes z [N, D], and the influence of each
    example on their mean: both [G, N].

    densities: m codes -> [G, m, N], log q(z|x_n) up to a term that depends on z alone. The
    influence of example i is the derivative of the mean by the weight of the example: its own
    value minus the sum of its shares in the mixtures at all codes. `inspect` is called with each
    block of densities, which are not kept.
    """
    count, found, received = len(z), [], torch.zeros((), dtype=torch.float64, device=z.device)
    with torch.no_grad(), without_autocast(z):
        rows = block_rows(densities, z)
        for start in range(0, count, rows):
            density = wide(densities(z[start : start + rows]))
            if inspect is not None:
                inspect(start, density)
            # entry (i, i) of the complete matrix: each code under the posterior that it was drawn
            # from
            own = torch.diagonal(density[:, :, start : start + rows], dim1=1, dim2=2)
            # log-sum-exp in float64 up to the maximum; the exponentials themselves in float32
            top = density.amax(-1, keepdim=True)
            # the share of each posterior in the mixture at each code, up to its sum
            share = (density - top).float().exp_()
            total = share.sum(-1)
            found.append(own - top[..., 0] - (total.double() / count).log())
            # the sum over codes of each posterior's normalised share
            received = received + torch.bmm(1 / total[:, None], share)[:, 0]
    gain = torch.cat(found, 1).double()
    influence = gain - received
    return gain.cpu().numpy(), influence.cpu().numpy()


def block_rows(densities: Callable[[Tensor], Tensor], z: Tensor) -> int:
    """The number of codes that need about DENSITIES_AT_ONCE densities."""
    # the density of one code shows how many numbers a code needs
    return max(1, DENSITIES_AT_ONCE // densities(z[:1]).numel())


class BatchInformation:
    """mi_32, from the densities that mi is computed from.

    The N examples form random batches of PUBLISHED_BATCH; those left over are not used. Two
    differences from the code of He et al.: E[log q(z|x)] is estimated at the drawn code, as only
    Gaussians have a closed form (the expectation is the same, and no batch can exceed ln 32); and a
    batch mixes lengths (there, its sentences have one length).
    """

    def __init__(self, count: int):
        # random, since a pass sorts the examples of a batch by length
        order = np.random.default_rng(BATCH_SEED).permutation(count)
        complete = count // PUBLISHED_BATCH * PUBLISHED_BATCH
        self.batches = torch.from_numpy(order[:complete].reshape(-1, PUBLISHED_BATCH))
        # the batch of each example, [N, PUBLISHED_BATCH]; examples left over get any
        self.members = torch.zeros(count, PUBLISHED_BATCH, dtype=torch.long)
        self.members[self.batches.flatten()] = self.batches.repeat_interleave(PUBLISHED_BATCH, 0)
        self.gains: list[Tensor] = []

    def add(self, start: int, density: Tensor) -> None:
        """Add the codes from `start` on, with their densities [1, m, N]."""
        members = self.members[start : start + density.shape[1]].to(density.device)
        inside = density[0].gather(1, members)
        own = torch.diagonal(density[0, :, start:])
        self.gains.append(own - inside.logsumexp(1) + math.log(PUBLISHED_BATCH))

    def summarise(self) -> dict:
        """The mean over batches and its standard error; a single batch has none. {} without any."""
        if not len(self.batches):
            return {}
        means = torch.cat(self.gains).double().cpu()[self.batches].mean(1).numpy()
        return with_error("mi_32", means) if len(means) > 1 else {"mi_32": float(means[0])}
