"""Reconstruction, rate and their sum."""

import math

from uncollapse.metrics import Pass


def rates(seen: Pass) -> dict:
    """rec = E_q[-log p(x|z)] with one sampled z; kl and kl_per_dim in closed form; nelbo = rec + kl, weight 1, no auxiliary term."""
    rec, kl_per_dim = float(seen.rec.mean()), seen.kl.mean(0)
    kl = float(kl_per_dim.sum())
    return {"rec": rec, "kl": kl, "kl_per_dim": kl_per_dim.tolist(), "nelbo": rec + kl}


def perplexity(seen: Pass) -> dict:
    """exp(sum of nelbo / sum of tokens): an upper bound of the perplexity, the end of a sentence counted, start and padding not."""
    if not seen.tokens:
        return {}
    per_token = float(seen.rec.sum() + seen.kl.sum()) / seen.tokens
    return {"ppl": math.inf if per_token > 700 else math.exp(per_token), "tokens": seen.tokens}


def floor_distance(seen: Pass, floor: float | None) -> dict:
    """The promised batch-mean KL of the head and how far the measured one lies above it; null where nothing is promised."""
    return {"floor": floor, "kl_minus_floor": None if floor is None else float(seen.kl.sum(1).mean()) - floor}
