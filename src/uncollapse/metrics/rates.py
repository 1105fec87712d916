"""Reconstruction, rate and their sum; perplexity; the distance from a promised floor."""

import math

import numpy as np

from uncollapse.metrics.base import Pass, standard_error, with_error


def rates(seen: Pass) -> dict:
    """rec with one sampled z, kl and kl_per_dim in closed form, and nelbo = rec + kl, in nats.

    Kingma & Welling 2014, equation 3. Unbiased; with z = mu, rec would give no bound.
    """
    kl = seen.kl.sum(1)
    return {
        **with_error("rec", seen.rec),
        **with_error("kl", kl),
        "kl_per_dim": seen.kl.mean(0).tolist(),
        **with_error("nelbo", seen.rec + kl),
    }


def perplexity(seen: Pass) -> dict:
    """Perplexity from nelbo, an upper bound: per token, and per character and byte of text."""
    nelbo = seen.rec + seen.kl.sum(1)
    return per_token(nelbo, seen.tokens) | per_char_and_byte(nelbo, seen.chars, seen.bytes, "nelbo")


def per_token(nll: np.ndarray, tokens: np.ndarray | None, prefix: str = "") -> dict:
    """ppl = exp(sum nll / sum tokens) from nll, tokens [N], and its error as a ratio estimate's.

    Tokens include the end of a sentence, not its start or padding. A ratio of sums does not depend
    on batch sizes.
    """
    if tokens is None or not tokens.sum():
        return {}
    _, _, ppl, error = rate_with_errors(nll, tokens)
    return {f"{prefix}ppl": ppl, f"{prefix}ppl_se": error, "tokens": int(tokens.sum())}


def rate_with_errors(nll: np.ndarray, units: np.ndarray) -> tuple[float, float, float, float]:
    """sum nll / sum units and its standard error as a ratio estimate; exp of it and its error."""
    rate = float(nll.sum() / units.sum())
    error = standard_error((nll - rate * units) / units.mean())
    ppl = math.inf if rate > 700 else math.exp(rate)
    return rate, error, ppl, ppl * error


def per_char_and_byte(
    nll: np.ndarray, chars: np.ndarray | None, size: np.ndarray | None, name: str, prefix: str = ""
) -> dict:
    """<name>_per_char, <name>_per_byte, and ppl_char, ppl_byte = exp of these.

    nll [N], and the characters and bytes [N] of each text; the end of a sentence counts as one
    more of either. These do not depend on how text is split into tokens, so that word, character
    and subword models of one text can be compared.
    """
    found: dict[str, float] = {}
    for unit, counts in (("char", chars), ("byte", size)):
        if counts is not None:
            rate, rate_error, ppl, ppl_error = rate_with_errors(
                nll, np.asarray(counts, dtype=np.int64) + 1
            )
            found |= {f"{name}_per_{unit}": rate, f"{name}_per_{unit}_se": rate_error}
            found |= {f"{prefix}ppl_{unit}": ppl, f"{prefix}ppl_{unit}_se": ppl_error}
    return found


def floor_distance(seen: Pass) -> dict:
    """The batch-mean KL that the head promises, and kl minus it; None where none is promised."""
    floor = seen.floor
    distance = None if floor is None else float(seen.kl.sum(1).mean()) - floor
    return {"floor": floor, "kl_minus_floor": distance}
