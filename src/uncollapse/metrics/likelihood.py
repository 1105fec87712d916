"""log p(x) by importance weighting: the dearest number, 500 decodes for each example.

    nll = -log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x),   z_k ~ q(z|x)

Burda et al., "Importance Weighted Autoencoders", ICLR 2016, equation 8. In expectation an upper bound of -log p(x) that falls to it as
K grows. `sample` and `log_ratio` bring each posterior's own densities and prior.

How far above it (`bias`): Var(w)/(2K) for weights w of mean 1 is the first term of a series and several times too small where few
weights carry the sum. What can be seen is how nll falls from K/8 codes to K/4, and from K/2 to K, as the same weights give it in
parts. If the rest falls like K^-a, the falls have the ratio 4^a, and the rest at K is the last fall over 2^a - 1.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from uncollapse.distributions.normal import Posterior
from uncollapse.distributions.precision import wide
from uncollapse.metrics import standard_error, with_error
from uncollapse.metrics.rates import per_token

FEW = 20  # effective samples: an nll from fewer is a bound and no estimate
SLOWEST, FASTEST = (
    1.1,
    2.0,
)  # 2^a: beyond the first the codes say too little of the rest, and no a is above 1
ROWS = 512  # codes decoded at a time: enough for fast matrix products, few enough for some ten MB of state and logits


def log_weights(
    decode: Callable[[Tensor], Tensor],
    q: Posterior,
    samples: int,
    generator: torch.Generator | None,
    rows: int = ROWS,
) -> Tensor:
    """log p(x|z) p(z) / q(z|x) for `samples` codes of each example, [K, B]; decode: z [n, B, D] -> -log p(x|z) [n, B].

    At most `rows` codes are decoded at a time (at least one per example); where they are cut changes nothing but rounding.
    """
    z = q.sample(samples, generator)
    parts = z.split(max(1, rows // z.shape[1]))
    return torch.cat([-wide(decode(part)) - wide(q.log_ratio(part)) for part in parts])


def importance_weighted(weights: Tensor) -> dict[str, np.ndarray]:
    """Per example, [B] each, from log weights [K, B]: nll, nelbo (the mean in place of the log of the mean), ess (effective samples).

    fall_2, fall_8: how much higher nll is from halves of the codes than from all, and from eighths than from quarters; never below 0
    but for rounding, nan for fewer than 8 codes.
    """
    w = weights.detach().double()
    total = torch.logsumexp(w, 0)
    parts = {
        "nll": math.log(len(w)) - total,
        "nelbo": -w.mean(0),
        "ess": torch.exp(2 * total - torch.logsumexp(2 * w, 0)),
        "fall_2": in_parts(w, 2) - in_parts(w, 1),
        "fall_8": in_parts(w, 8) - in_parts(w, 4),
    }
    return {name: values.cpu().numpy() for name, values in parts.items()}


def in_parts(w: Tensor, parts: int) -> Tensor:
    """The mean nll that so many equal parts of the codes give, from log weights [K, B]; of all parts the same codes, a multiple of 8."""
    size = len(w) // 8 * 8 // parts
    if size == 0:
        return torch.full_like(w[0], torch.nan)
    return math.log(size) - torch.logsumexp(w[: size * parts].reshape(parts, size, -1), 1).mean(0)


def bias(fall_2: np.ndarray, fall_8: np.ndarray) -> dict:
    """How far nll lies above what it falls to, in nats (mean over the examples [N]), and its standard error; None where unknown.

    The error is over examples alone, not of the extrapolation: below some 20 effective samples the estimate can be off by
    two or three times, either way.
    """
    first, last = float(fall_8.mean()), float(fall_2.mean())
    if not last > 0:  # unknown, or nothing to fall
        rest = None if math.isnan(last) else 0.0
        return {"nll_bias": rest, "nll_bias_se": rest}
    ratio = math.sqrt(max(first, 0) / last)
    factor = 1 / (min(max(ratio, SLOWEST), FASTEST) - 1)
    moved = factor * fall_2
    if SLOWEST < ratio < FASTEST:  # the factor is an estimate too: the delta method
        moved = moved + 0.5 * ratio * factor**2 * (fall_2 - last / first * fall_8)
    return {"nll_bias": last * factor, "nll_bias_se": standard_error(moved)}


def likelihood(
    nll: np.ndarray,
    ess: np.ndarray,
    samples: int,
    tokens: np.ndarray | None,
    log_prob: np.ndarray | None,
    falls: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict:
    """nll with its error over examples, the part of it that the K samples make (`nll_mc_se`), perplexity, and the oracle gap.

    nll_ess: the mean of the effective samples; nll_ess_low: the share of examples with fewer than FEW, which a mean can hide.
    All arrays [N]. falls: (fall_2, fall_8), for nll_bias. log_prob: the exact log p(x) of the data, where known; oracle_gap = nll +
    mean log p(x) over the same examples, whose expectation is nll minus the entropy: it estimates KL(data || model), paired so that
    the choice of examples cancels.
    """
    # of log mean w, by the delta method; unknown from a single sample
    variance = (samples / ess - 1) / (samples - 1) if samples > 1 else np.full(len(nll), np.nan)
    gap = {} if log_prob is None else with_error("oracle_gap", nll + log_prob)
    return {
        **with_error("nll", nll),
        "nll_samples": samples,
        "nll_examples": len(nll),
        "nll_mc_se": float(np.sqrt(np.clip(variance, 0, None).sum()) / len(nll)),
        "nll_ess": float(ess.mean()),
        "nll_ess_low": float((ess < FEW).mean()),
        **({} if falls is None else bias(*falls)),
        **{
            name: value
            for name, value in per_token(nll, tokens, "nll_").items()
            if name != "tokens"
        },
        **gap,
    }
