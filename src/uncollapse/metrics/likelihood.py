"""-log p(x) by importance weighting; expensive, since each example is decoded K times.

    nll = -log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x),   z_k ~ q(z|x)

Burda et al., "Importance Weighted Autoencoders", ICLR 2016, equation 8. In expectation it is an
upper bound on -log p(x) that decreases to it as K grows. Each posterior provides its own densities
and prior through `sample` and `log_ratio`.

The bias is Var(w)/(2K) to first order, for importance weights w of mean 1. That is several times
too small where few weights dominate the sum. Instead, we measure how nll decreases from K/8 codes
to K/4 and from K/2 to K, using subsets of the same weights. If the bias decreases like K^-a, these
two decreases have the ratio 4^a, and the bias at K is the second one divided by 2^a - 1.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.distributions.precision import wide
from uncollapse.interfaces.posterior import Posterior
from uncollapse.metrics.base import standard_error, with_error
from uncollapse.metrics.rates import per_token
from uncollapse.metrics.rows_evaluation import FEW_SAMPLES

# limits of 2^a: below SLOWEST the extrapolation is unreliable, and a cannot exceed 1
SLOWEST, FASTEST = 1.1, 2.0
# codes decoded at a time: enough for fast matrix products, with about 10 MB of logits
DECODED_CODES = 512

DecodeCodes = Callable[[Tensor], Tensor]  # z [n, B, D] -> -log p(x|z) [n, B]


def log_weights(
    decode: DecodeCodes,
    q: Posterior,
    samples: int,
    generator: torch.Generator | None,
    rows: int = DECODED_CODES,
) -> Tensor:
    """log p(x|z) p(z) / q(z|x) for K = `samples` codes of each example, [K, B].

    At most `rows` codes are decoded at a time (at least one per example), which affects only
    rounding.
    """
    z = q.sample(samples, generator)
    # z is [K, B, D], and split along K: each chunk has at least one code per example
    parts = z.split(max(1, rows // z.shape[1]))
    return torch.cat([-wide(decode(part)) - wide(q.log_ratio(part)) for part in parts])


def importance_weighted(weights: Tensor) -> dict[str, np.ndarray]:
    """nll, nelbo, ess, fall_2 and fall_8 of each example, [B] each, from log weights [K, B].

    nelbo takes the mean of the logs instead of the log of the mean; ess is the effective sample
    size. fall_2: how much higher nll is from K/2 codes than from all K; fall_8: from K/8 codes than
    from K/4. Both are at least 0 except for rounding, and nan for fewer than 8 codes.
    """
    # float64, since differences of log-sum-exps are taken below
    w = weights.detach().double()
    total = torch.logsumexp(w, 0)
    parts = {
        "nll": math.log(len(w)) - total,
        "nelbo": -w.mean(0),
        "ess": effective_samples(w),
        "fall_2": nll_of_parts(w, 2) - nll_of_parts(w, 1),
        "fall_8": nll_of_parts(w, 8) - nll_of_parts(w, 4),
    }
    return {name: values.cpu().numpy() for name, values in parts.items()}


def effective_samples(w: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 from log weights [K, ...]."""
    return torch.exp(2 * torch.logsumexp(w, 0) - torch.logsumexp(2 * w, 0))


def log_mean_variance(codes: Any, ess: Any) -> Any:
    """The variance of the log of the mean weight, by the delta method; numbers or arrays.

    It may be slightly negative, as the sample ess may exceed `codes` by rounding.
    """
    return (codes / ess - 1) / (codes - 1)


def nll_of_parts(w: Tensor, parts: int) -> Tensor:
    """The nll [B] averaged over this many equal subsets of the codes, from log weights [K, B].

    Uses the first 8 * (K // 8) codes, so that results for 1, 2, 4 and 8 subsets are comparable.
    """
    # rounded down to a multiple of 8 first, so that all calls use the same codes
    size = len(w) // 8 * 8 // parts
    if size == 0:
        return torch.full_like(w[0], torch.nan)
    return math.log(size) - torch.logsumexp(w[: size * parts].reshape(parts, size, -1), 1).mean(0)


def bias(fall_2: np.ndarray, fall_8: np.ndarray) -> dict:
    """The bias of nll, in nats (mean over examples [N]), and its standard error; None if unknown.

    The error is over examples and does not include that of the extrapolation: below about 20
    effective samples the estimate can be wrong by a factor of two or three in either direction.
    """
    first, last = float(fall_8.mean()), float(fall_2.mean())
    if not last > 0:  # nan: fewer than 8 codes; otherwise nll does not decrease
        # without a decrease there is no bias to see
        rest = None if math.isnan(last) else 0.0
        return {"nll_bias": rest, "nll_bias_se": rest}
    ratio = math.sqrt(max(first, 0) / last)
    # 2^a is the square root of the measured ratio 4^a, kept within its limits
    factor = 1 / (min(max(ratio, SLOWEST), FASTEST) - 1)
    moved = factor * fall_2
    if SLOWEST < ratio < FASTEST:  # the factor is estimated too: delta method
        # d(factor)/d(ratio) = -factor^2, and ratio = sqrt(first / last)
        moved = moved + 0.5 * ratio * factor**2 * (fall_2 - last / first * fall_8)
    return {"nll_bias": last * factor, "nll_bias_se": standard_error(moved)}


def likelihood(
    nll: np.ndarray,
    ess: np.ndarray,
    samples: int,
    tokens: np.ndarray | None,
    log_prob: np.ndarray | None,
    falls: tuple[np.ndarray, np.ndarray] | None = None,
    codes: np.ndarray | None = None,
) -> dict:
    """nll with its errors, effective sample size, bias, perplexity and the oracle gap.

    All arrays are [N]. samples: the largest number of codes of an example; codes: the number of
    each example, None if all have `samples`. falls: (fall_2, fall_8), for nll_bias. log_prob: the
    exact log p(x) of the data, where known. oracle_gap = nll + mean log p(x) over the same examples
    estimates KL(data || model), with less noise than nll minus the entropy.
    """
    # unknown for a single sample
    codes = np.full(len(nll), samples) if codes is None else codes
    variance = log_mean_variance(codes, ess) if samples > 1 else np.full(len(nll), np.nan)
    # the number of tokens is a metric of the pass already
    ppl = per_token(nll, tokens, "nll_")
    ppl.pop("tokens", None)
    gap = {} if log_prob is None else with_error("oracle_gap", nll + log_prob)
    return {
        **with_error("nll", nll),
        "nll_samples": samples,
        "nll_codes": float(codes.mean()),
        "nll_examples": len(nll),
        "nll_mc_se": float(np.sqrt(np.clip(variance, 0, None).sum()) / len(nll)),
        "nll_ess": float(ess.mean()),
        "nll_ess_low": float((ess < FEW_SAMPLES).mean()),
        **({} if falls is None else bias(*falls)),
        **ppl,
        **gap,
    }
