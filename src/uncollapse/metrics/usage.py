"""Is the code used? Active units, the shuffled-z gap, and the moments of the aggregate posterior."""

from uncollapse.metrics import Pass

ACTIVE = 0.01  # Burda et al. 2016, section 5.2


def active_units(seen: Pass) -> dict:
    """Dimensions whose posterior mean varies over x by more than 0.01 (Burda et al. 2016). d by construction for batch-norm heads."""
    return {"au": int((seen.mean.var(0) > ACTIVE).sum())}


def shuffle_gap(seen: Pass) -> dict:
    """E[-log p(x | z of another x)] - rec: 0 exactly when the decoder ignores z. Null when there is no other x."""
    gap = float((seen.rec_shuffled - seen.rec).mean())
    return {"shuffle_gap": gap if gap == gap else None}


def moments(seen: Pass) -> dict:
    """Per dimension E[mu], E[mu^2] and E[sigma^2]: the aggregate posterior has the prior's moments when they are 0 and sum to 1."""
    parts = {"mu": seen.mean.mean(0), "mu_sq": (seen.mean**2).mean(0), "sigma_sq": seen.variance.mean(0)}
    return {"moments": {name: values.tolist() for name, values in parts.items()}}
