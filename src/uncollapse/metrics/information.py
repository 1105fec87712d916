"""What the code tells about x, and how far its aggregate lies from the prior: the parts of the rate.

    E KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || p(z)),    KL(q(z) || p(z)) = TC(q(z)) + sum_j KL(q(z_j) || p(z_j))

Hoffman & Johnson 2016 ("ELBO surgery"); Chen et al. 2018 (beta-TCVAE, equation 2). q(z) is estimated by the mixture of the posteriors
of N examples, each code being left in its own mixture. The two identities hold exactly between the estimates.
"""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from uncollapse.distributions.normal import Posterior
from uncollapse.distributions.precision import wide, without_autocast
from uncollapse.metrics import Pass, standard_error

CELLS = 1 << 20  # densities worked on at a time: they stay in the processor's cache
NEAR = 0.5  # nats from the ceiling


def information(seen: Pass, limit: int | None = None) -> dict:
    """mi, mi_per_dim, marginal_kl and its parts, the mixture being the first batches that hold `limit` examples; {} for one example.

    mi = E[log q(z|x) - log 1/N sum_n q(z|x_n)], one sampled z each: in expectation a lower bound of I(x; z) and at most ln N
    (`mi_ceiling`; van den Oord et al. 2018). `mi_saturated` when within 0.5 nats of it: then it says no more than "at least this".
    mi_per_dim: the same in one dimension. total_correlation = sum_j mi_per_dim - mi, so too high by what a saturated mi is too
    low. The per-dimension parts are null where the posterior has no `log_ratio_per_dim`.
    """
    posteriors = first(seen.posteriors, limit)
    count = sum(len(q.mean) for q in posteriors)
    if count < 2:
        return {}
    z = seen.z[:count]
    gain, influence = code_gains(posteriors, z)
    mi, kl = float(gain.mean()), seen.kl.sum(1)
    return {
        "mi": mi,
        "mi_se": standard_error(influence[0]),
        "mi_n": count,
        "mi_ceiling": math.log(count),
        "mi_saturated": mi > math.log(count) - NEAR,
        "marginal_kl": float(kl.mean()) - mi,
        "marginal_kl_se": standard_error(less(kl, influence[0])),
        **by_dimension(seen, posteriors, z, influence[0], mi),
    }


def by_dimension(
    seen: Pass, posteriors: Sequence[Posterior], z: Tensor, influence: np.ndarray, mi: float
) -> dict:
    """mi_per_dim [D], total_correlation, and KL(q(z_j) || p(z_j)) as dimension_kl_per_dim [D] and in sum."""
    splits = (
        all(q.splits for q in posteriors) and seen.kl.shape[1] == z.shape[1]
    )
    names = ("mi_per_dim", "total_correlation", "dimension_kl_per_dim", "dimension_kl")
    if not splits:
        return {key: None for name in names for key in (name, f"{name}_se")}
    gain, each = gains(
        lambda codes: torch.cat([q.log_ratio_per_dim(codes) for q in posteriors], -1), z
    )
    per_dim = gain.mean(1)
    parts = np.stack([less(kl, values) for kl, values in zip(seen.kl.T, each, strict=True)])
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


def less(kl: np.ndarray, influence: np.ndarray) -> np.ndarray:
    """Influence of each of all N examples on mean(kl) - mi, [N], mi being had from the first n of them."""
    spread = kl.copy()
    spread[: len(influence)] -= (influence - influence.mean()) * (len(kl) / len(influence))
    return spread


def first(posteriors: Sequence[Posterior], limit: int | None) -> Sequence[Posterior]:
    """The first batches that together hold `limit` examples, or all."""
    sizes = accumulate(len(q.mean) for q in posteriors)
    batches = next(
        (i for i, size in enumerate(sizes, 1) if limit is not None and size >= limit),
        len(posteriors),
    )
    return posteriors[:batches]


def code_gains(posteriors: Sequence[Posterior], z: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """`gains` of whole codes z [N, D], the mixture being all N posteriors; [1, N] both."""
    return gains(
        lambda codes: torch.cat([q.log_ratio(codes[:, None]) for q in posteriors], -1)[None], z
    )


def gains(densities: Callable[[Tensor], Tensor], z: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """log q(z_i|x_i) - log 1/N sum_n q(z_i|x_n) for N codes z [N, D], and each example's influence on its mean: [G, N] both.

    densities: m codes -> [G, m, N], log q(z|x_n) up to a term of z alone. The influence of example i is its own gain less its
    share of the mixture at everybody's codes (the derivative of the mean by its weight).
    """
    count, found, received = len(z), [], torch.zeros((), dtype=torch.float64, device=z.device)
    with torch.no_grad(), without_autocast(z):
        rows = block_rows(densities, z)
        for begin in range(0, count, rows):
            density = wide(densities(z[begin : begin + rows]))
            own = torch.diagonal(density[:, :, begin : begin + rows], dim1=1, dim2=2)
            top = density.amax(-1, keepdim=True)
            share = (density - top).float().exp_()
            total = share.sum(-1)
            found.append(own - top[..., 0] - (total.double() / count).log())
            received = received + torch.bmm(1 / total[:, None], share)[:, 0]
    gain = torch.cat(found, 1).double()
    influence = gain - received
    return gain.cpu().numpy(), influence.cpu().numpy()


def block_rows(densities: Callable[[Tensor], Tensor], z: Tensor) -> int:
    """How many codes make a block of about CELLS densities."""
    return max(1, CELLS // densities(z[:1]).numel())
