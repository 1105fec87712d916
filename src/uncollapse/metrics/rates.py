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
    nelbo = seen.rec + seen.kl.sum(1)
    return per_token(nelbo, seen.tokens) | per_size(nelbo, seen.chars, seen.bytes, "nelbo")


def per_token(nll: np.ndarray, tokens: np.ndarray | None, prefix: str = "") -> dict:
    """ppl = exp(sum nll / sum tokens) of nll, tokens [N], so that batch sizes do not matter; its standard error as a ratio estimate's."""
    if tokens is None or not tokens.sum():
        return {}
    _, _, ppl, error = per_unit(nll, tokens)
    return {f"{prefix}ppl": ppl, f"{prefix}ppl_se": error, "tokens": int(tokens.sum())}


def per_unit(nll: np.ndarray, units: np.ndarray) -> tuple[float, float, float, float]:
    """sum nll / sum units with its standard error as a ratio estimate's, and exp of it with its own."""
    rate = float(nll.sum() / units.sum())
    error = standard_error((nll - rate * units) / units.mean())
    ppl = math.inf if rate > 700 else math.exp(rate)
    return rate, error, ppl, ppl * error


def per_size(
    nll: np.ndarray, chars: np.ndarray | None, size: np.ndarray | None, name: str, prefix: str = ""
) -> dict:
    """<name>_per_char, _per_byte, and ppl_char, ppl_byte = exp of these, from nll [N] and each text's characters and bytes [N].

    The end of a sentence counts as one more of either. They do not depend on how the text was cut into tokens, so word, character
    and subword models of one text can be compared; but what became <unk> was cheaper to say than the characters it stands for.
    """
    found: dict[str, float] = {}
    for unit, counts in (("char", chars), ("byte", size)):
        if counts is not None:
            rate, rate_error, ppl, ppl_error = per_unit(nll, np.asarray(counts, dtype=np.int64) + 1)
            found |= {f"{name}_per_{unit}": rate, f"{name}_per_{unit}_se": rate_error}
            found |= {f"{prefix}ppl_{unit}": ppl, f"{prefix}ppl_{unit}_se": ppl_error}
    return found


def floor_distance(seen: Pass, floor: float | None) -> dict:
    """The promised batch-mean KL of the head and how far the measured one lies above it; null where nothing is promised."""
    return {
        "floor": floor,
        "kl_minus_floor": None if floor is None else float(seen.kl.sum(1).mean()) - floor,
    }
