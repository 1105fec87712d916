"""Reconstruction, rate and their sum; perplexity; distance of the rate from a promised floor."""

import math

import numpy as np

from uncollapse.metrics.base import Pass, standard_error, with_error


def rates(seen: Pass) -> dict:
    """rec with one sampled z, kl and kl_per_dim as the posterior gives them, and nelbo = rec + kl.

    All in nats. Kingma & Welling 2014, equation 3. A sampled z makes rec unbiased; with z = mu,
    nelbo would not be a bound.
    """
    kl = seen.kl.sum(1)
    return {
        **with_error("rec", seen.rec),
        **with_error("kl", kl),
        "kl_per_dim": seen.kl.mean(0).tolist(),
        **with_error("nelbo", seen.rec + kl),
    }


def final_objective(seen: Pass) -> dict:
    """The head's own loss with its final weights, nats; only where the objective is known."""
    return {} if seen.loss is None else {"objective": seen.loss}


def perplexity(seen: Pass) -> dict:
    """Perplexity from nelbo, an upper bound: per token, and for text per character and byte."""
    nelbo = seen.rec + seen.kl.sum(1)
    return per_token(nelbo, seen.tokens) | per_char_and_byte(nelbo, seen.chars, seen.bytes, "nelbo")


def per_token(nll: np.ndarray, tokens: np.ndarray | None, prefix: str = "") -> dict:
    """ppl = exp(sum nll / sum tokens) from nll, tokens [N], with its standard error.

    Tokens include the end of a sentence, but neither its start nor padding. A ratio of sums does
    not depend on how examples are batched.
    """
    if tokens is None or not tokens.sum():
        return {}
    _, _, ppl, error = rate_with_errors(nll, tokens)
    return {f"{prefix}ppl": ppl, f"{prefix}ppl_se": error, "tokens": int(tokens.sum())}


def rate_with_errors(nll: np.ndarray, units: np.ndarray) -> tuple[float, float, float, float]:
    """sum nll / sum units and its standard error; the exponential of it and its standard error."""
    rate = float(nll.sum() / units.sum())
    # a ratio of two means, linearised in both
    error = standard_error((nll - rate * units) / units.mean())
    ppl = math.inf if rate > 700 else math.exp(rate)  # exp overflows above 709
    return rate, error, ppl, ppl * error


def per_char_and_byte(
    nll: np.ndarray, chars: np.ndarray | None, size: np.ndarray | None, name: str, prefix: str = ""
) -> dict:
    """<name>_per_char and <name>_per_byte, and ppl_char and ppl_byte, their exponentials.

    nll [N], and the number of characters and bytes [N] of each text; the end of a sentence counts
    as one more of either. Neither depends on how text is split into tokens, so word, character and
    subword models of the same text can be compared.
    """
    found: dict[str, float] = {}
    for unit, counts in (("char", chars), ("byte", size)):
        if counts is not None:
            # int64, as sums of int32 may overflow
            rate, rate_error, ppl, ppl_error = rate_with_errors(
                nll, np.asarray(counts, dtype=np.int64) + 1
            )
            found |= {f"{name}_per_{unit}": rate, f"{name}_per_{unit}_se": rate_error}
            found |= {f"{prefix}ppl_{unit}": ppl, f"{prefix}ppl_{unit}_se": ppl_error}
    return found


def floor_distance(seen: Pass) -> dict:
    """The promised lower bound on the batch-mean KL, and kl minus it; None if none is promised."""
    floor = seen.floor
    distance = None if floor is None else float(seen.kl.sum(1).mean()) - floor
    return {"floor": floor, "kl_minus_floor": distance}
