"""Is the code used? Active units, the shuffled-z gap, the collapse curve, and the moments of the aggregate posterior."""

import numpy as np

from uncollapse.metrics import Pass, with_error

ACTIVE = 0.01  # Burda et al. 2016, section 5.2
DELTA = 0.01  # share of examples that may escape a collapse
EPS = tuple(float(f"{eps:.3g}") for eps in np.logspace(-3, 1, 17))  # nats


def active_units(seen: Pass) -> dict:
    """Dimensions whose posterior mean varies over x by more than 0.01 (Burda et al. 2016). d by construction for batch-norm heads."""
    return {"au": int((seen.mean.var(0) > ACTIVE).sum())}


def shuffle_gap(seen: Pass) -> dict:
    """E[-log p(x | z of another x)] - rec: 0 exactly when the decoder ignores z. Null when there is no other x."""
    gap = with_error("shuffle_gap", seen.rec_shuffled - seen.rec)
    return {name: value if value == value else None for name, value in gap.items()}


def collapse(seen: Pass, delta: float = DELTA) -> dict:
    """share [17] of dimensions with P_x(KL_j < eps) >= 1 - delta, for each eps (nats): (eps, delta)-collapse.

    Lucas et al., "Don't Blame the ELBO!", NeurIPS 2019, section 5. Where the KL does not split, it counts as one dimension.
    """
    below = np.array([(seen.kl < eps).mean(0) for eps in EPS])  # [eps, G]
    return {
        "collapse": {
            "delta": delta,
            "eps": list(EPS),
            "share": (below >= 1 - delta).mean(1).tolist(),
        }
    }


def moments(seen: Pass) -> dict:
    """Per dimension E[mu], E[mu^2] and E[sigma^2]: the aggregate posterior has the prior's moments when they are 0 and sum to 1."""
    parts = {
        "mu": seen.mean.mean(0),
        "mu_sq": (seen.mean**2).mean(0),
        "sigma_sq": seen.variance.mean(0),
    }
    return {"moments": {name: values.tolist() for name, values in parts.items()}}
