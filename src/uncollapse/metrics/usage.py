"""Whether the decoder uses the code: active units, shuffled-z gap, collapse curve, moments."""

import numpy as np

from uncollapse.metrics.base import Pass, with_error

ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2
ESCAPING_SHARE = 0.01  # delta: share of examples that may have a larger KL in a collapsed dimension
LOCAL_EPS = 0.1  # nats: an example with a smaller total KL counts as collapsed
COLLAPSE_EPS = tuple(float(f"{eps:.3g}") for eps in np.logspace(-3, 1, 17))  # nats


def active_units(seen: Pass) -> dict:
    """The number of dimensions in which Var_x(E[z|x]) > 0.01 (Burda et al. 2016)."""
    return {"au": int((seen.mean.var(0) > ACTIVE_VARIANCE).sum())}


def shuffle_gap(seen: Pass) -> dict:
    """E[-log p(x | z of another x)] - rec in nats; None if there is only one example."""
    gap = with_error("shuffle_gap", seen.rec_shuffled - seen.rec)
    # JSON has no NaN
    return {name: None if np.isnan(value) else value for name, value in gap.items()}


def collapse(seen: Pass, delta: float = ESCAPING_SHARE) -> dict:
    """The share [17] of dimensions with P_x(KL_j < eps) >= 1 - delta, for each eps in nats.

    (eps, delta)-collapse: Lucas et al., "Don't Blame the ELBO!", NeurIPS 2019, section 5. A KL
    that is not a sum over dimensions counts as one dimension.
    """
    below = np.array([(seen.kl < eps).mean(0) for eps in COLLAPSE_EPS])  # [eps, G]
    share = (below >= 1 - delta).mean(1).tolist()
    return {"collapse": {"delta": delta, "eps": list(COLLAPSE_EPS), "share": share}}


def local_collapse(seen: Pass) -> dict:
    """The share of examples whose KL, summed over dimensions, is below LOCAL_EPS nats.

    Collapse of single examples: Song, Kim & Lee 2025, arXiv 2508.12530; the threshold is our own.
    """
    return with_error("local_collapse", seen.kl.sum(1) < LOCAL_EPS)


def moments(seen: Pass) -> dict:
    """E[mu], E[mu^2] and E[sigma^2] of each dimension, [D] each.

    Under a standard normal prior, the aggregate posterior has the prior's mean and variance where
    E[mu] = 0 and E[mu^2] + E[sigma^2] = 1.
    """
    parts = {
        "mu": seen.mean.mean(0),
        "mu_sq": (seen.mean**2).mean(0),
        "sigma_sq": seen.variance.mean(0),
    }
    return {"moments": {name: values.tolist() for name, values in parts.items()}}


def count_examples(seen: Pass) -> dict:
    """N, the number of examples."""
    return {"examples": len(seen.rec)}
