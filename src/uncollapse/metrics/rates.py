"""Reconstruction, rate and their sum."""

import math

import numpy as np

from uncollapse.metrics import Pass, standard_error, with_error


def rates(seen: Pass) -> dict:
    """rec = E_q[-log p(x|z)] with one sampled z; kl and kl_per_dim in closed form; nelbo = rec + kl, weight 1, no auxiliary term.

    Kingma & Welling 2014, equation 3. Unbiased; with z = mu in place of a sample rec would be no bound.
    """
    kl = seen.kl.sum(1)
    return {
        **with_error("rec", seen.rec),
        **with_error("kl", kl),
        "kl_per_dim": seen.kl.mean(0).tolist(),
        **with_error("nelbo", seen.rec + kl),
    }


def perplexity(seen: Pass) -> dict:
    """exp(sum of nelbo / sum of tokens): an upper bound of the perplexity, the end of a sentence counted, start and padding not."""
    return per_token(seen.rec + seen.kl.sum(1), seen.tokens)


def per_token(nll: np.ndarray, tokens: np.ndarray | None, prefix: str = "") -> dict:
    """ppl = exp(sum nll / sum tokens) of nll, tokens [N], so that batch sizes do not matter; its standard error as a ratio estimate's."""
    if tokens is None or not tokens.sum():
        return {}
    rate = float(nll.sum() / tokens.sum())
    ppl = math.inf if rate > 700 else math.exp(rate)
    error = ppl * standard_error((nll - rate * tokens) / tokens.mean())
    return {f"{prefix}ppl": ppl, f"{prefix}ppl_se": error, "tokens": int(tokens.sum())}


def floor_distance(seen: Pass, floor: float | None) -> dict:
    """The promised batch-mean KL of the head and how far the measured one lies above it; null where nothing is promised."""
    return {"floor": floor, "kl_minus_floor": None if floor is None else float(seen.kl.sum(1).mean()) - floor}
