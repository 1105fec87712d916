"""log p(x) by importance weighting: the dearest number, 500 decodes for each example.

    nll = -log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x),   z_k ~ q(z|x)

Burda et al., "Importance Weighted Autoencoders", ICLR 2016, equation 8. In expectation an upper bound of -log p(x) that falls to it as
K grows; about Var(w)/(2K) above it for weights w of mean 1. `sample` and `log_ratio` bring each posterior's own densities and prior.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from uncollapse.metrics import with_error
from uncollapse.metrics.rates import per_token
from uncollapse.posteriors.normal import Posterior
from uncollapse.posteriors.precision import wide

ROWS = 512  # codes decoded at a time: enough for fast matrix products, few enough for some ten MB of state and logits


def log_weights(
    decode: Callable[[Tensor], Tensor], q: Posterior, samples: int, generator: torch.Generator | None, rows: int = ROWS
) -> Tensor:
    """log p(x|z) p(z) / q(z|x) for `samples` codes of each example, [K, B]; decode: z [n, B, D] -> -log p(x|z) [n, B].

    At most `rows` codes are decoded at a time (at least one per example); where they are cut changes nothing but rounding.
    """
    z = q.sample(samples, generator)
    parts = z.split(max(1, rows // z.shape[1]))
    return torch.cat([-wide(decode(part)) - wide(q.log_ratio(part)) for part in parts])


def importance_weighted(weights: Tensor) -> dict[str, np.ndarray]:
    """Per example, [B] each, from log weights [K, B]: nll, nelbo (the mean in place of the log of the mean), ess (effective samples)."""
    w = weights.detach().double()
    total = torch.logsumexp(w, 0)
    parts = {
        "nll": math.log(len(w)) - total,
        "nelbo": -w.mean(0),
        "ess": torch.exp(2 * total - torch.logsumexp(2 * w, 0)),
    }
    return {name: values.cpu().numpy() for name, values in parts.items()}


def likelihood(
    nll: np.ndarray, ess: np.ndarray, samples: int, tokens: np.ndarray | None, log_prob: np.ndarray | None
) -> dict:
    """nll with its error over examples, the part of it that the K samples make (`nll_mc_se`), perplexity, and the oracle gap.

    All arrays [N]. log_prob: the exact log p(x) of the data, where known; oracle_gap = nll + mean log p(x) over the same examples,
    whose expectation is nll minus the entropy: it estimates KL(data || model), paired so that the choice of examples cancels.
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
        **{name: value for name, value in per_token(nll, tokens, "nll_").items() if name != "tokens"},
        **gap,
    }
