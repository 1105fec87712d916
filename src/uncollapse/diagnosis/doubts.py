"""Results of `diagnose` that are impossible or meaningless, and the argument most likely at fault.

Each rule is an inequality that holds for every correct pair of encode and nll, with five standard
errors to spare. Unusual but possible results are not doubted.
"""

import numpy as np

from uncollapse.diagnosis.facts import BatchFacts
from uncollapse.json_types import JsonMapping
from uncollapse.metrics.base import Pass, with_error

SURE_ERRORS = 5  # standard errors by which an inequality must be violated
MIN_EXAMPLES = 5  # fewer have no reliable standard error
MIN_NATS = 0.05  # smaller violations are not reported
FEW_CODES, MANY_SAMPLES = 5, 100  # effective codes, among at least so many samples
MIN_ENTRIES = 20  # values of ln sigma² from which "all are positive" means something


def find_doubts(
    metrics: JsonMapping,
    seen: Pass,
    nll: np.ndarray,
    log_prob: np.ndarray | None,
    facts: BatchFacts,
) -> list[str]:
    """One sentence for each impossible number, the most telling first; [] if nothing is wrong.

    nll and log_prob are per example, [N] nats.
    """
    # standard errors of so few examples are themselves noise
    if len(nll) < MIN_EXAMPLES:
        return []
    sentences = [
        *doubt_negative_kl(metrics),
        *doubt_log_var(metrics, facts),
        *doubt_negative_nll(seen, facts),
        *doubt_cheap_shuffled_code(metrics, seen, facts),
        *doubt_beaten_truth(metrics, log_prob, facts),
        *doubt_beaten_entropy(nll, facts),
        *doubt_order_of_bounds(seen, nll),
    ]
    # any of the others also causes few effective codes
    return sentences or doubt_effective_codes(metrics, facts)


def doubt_negative_kl(metrics: JsonMapping) -> list[str]:
    """KL >= 0."""
    if not metrics["kl"] + SURE_ERRORS * metrics["kl_se"] < -MIN_NATS:
        return []
    return [
        f"encode: its posteriors have a kl of {metrics['kl']:.3g} nats, and no KL is negative: "
        "check how they compute `kl`"
    ]


def doubt_log_var(metrics: JsonMapping, facts: BatchFacts) -> list[str]:
    """ln sigma² > 0 everywhere: posteriors wider than the prior cost rate and hold little."""
    is_positive = facts.log_var_count >= MIN_ENTRIES and facts.least_log_var > 0
    if not (is_positive and metrics["kl"] > 2 * MIN_NATS):
        return []
    return [
        f"encode: its second tensor is positive throughout (minimum {facts.least_log_var:.2g}), as "
        "if every posterior were wider than the prior: it is probably sigma or sigma², and must be "
        "log_var = ln sigma²"
    ]


def doubt_negative_nll(seen: Pass, facts: BatchFacts) -> list[str]:
    """-log p(x|z) >= 0 for discrete x."""
    least = float(seen.rec.min())
    if not (facts.is_integer and least < -MIN_NATS):
        return []
    return [
        f"nll: {least:.3g} nats for an example, but -log p of integers is never negative: nll may "
        "return log p without the minus sign, or a density (of a Normal, say), whose values cannot "
        "be compared with those of other models"
    ]


def doubt_cheap_shuffled_code(metrics: JsonMapping, seen: Pass, facts: BatchFacts) -> list[str]:
    """E[-log p(x|z')] >= H(x) >= I(x; z) for discrete x and z' of another x."""
    # NaN: an example alone in its batch has no other code
    shuffled = seen.rec_shuffled[~np.isnan(seen.rec_shuffled)]
    is_discrete = facts.is_discrete and seen.rec.min() >= -MIN_NATS
    if not (is_discrete and len(shuffled) > 1):
        return []
    cost = with_error("cost", shuffled)
    most_cost = cost["cost"] + SURE_ERRORS * cost["cost_se"]
    if not most_cost + MIN_NATS < metrics["mi"] - SURE_ERRORS * metrics["mi_se"]:
        return []
    return [
        f"nll: x costs {cost['cost']:.2g} nats with another example's code, less than the "
        f"{metrics['mi']:.2g} nats of information in its own code, which is impossible: nll is "
        "averaged over pixels or words where it must be summed, or is only a part of -log p"
    ]


def doubt_beaten_truth(
    metrics: JsonMapping, log_prob: np.ndarray | None, facts: BatchFacts
) -> list[str]:
    """E[-log p_model(x)] >= E[-log p(x)] for the true p."""
    if log_prob is None:
        return []
    if facts.is_integer and log_prob.max() > MIN_NATS:
        return [
            f"log_prob: {log_prob.max():.3g} for an example of integers, whose log p is never "
            "positive: give log p, not -log p"
        ]
    gap, error = metrics["oracle_gap"], metrics["oracle_gap_se"]
    if not gap + SURE_ERRORS * error < -MIN_NATS:
        return []
    return [
        f"nll is {-gap:.3g} nats below the exact -log p, which only a model trained on these very "
        "examples can reach: nll may be averaged over pixels or words where it must be summed, or "
        "log_prob may not be in nats"
    ]


def doubt_beaten_entropy(nll: np.ndarray, facts: BatchFacts) -> list[str]:
    """The mean of -log p(x) over discrete examples >= the entropy of their own distribution.

    Gibbs' inequality; it holds for every p, also one that has learned these examples by heart.
    """
    if not facts.is_discrete or nll.min() < -MIN_NATS:  # a density is doubted by another rule
        return []
    entropy, cost = facts.empirical_entropy(), with_error("nll", nll)
    if not cost["nll"] + SURE_ERRORS * cost["nll_se"] < entropy - MIN_NATS:
        return []
    return [
        f"nll is {cost['nll']:.2g} nats an example, but no distribution gives {len(nll)} such "
        f"examples, {len(facts.counts)} of them distinct, less than {entropy:.2g} nats on average: "
        "nll is averaged over pixels or words where it must be summed, or is only a part of -log p"
    ]


def doubt_order_of_bounds(seen: Pass, nll: np.ndarray) -> list[str]:
    """In expectation nelbo is never below the importance-weighted nll, example by example."""
    # paired by example, so that the spread of x itself cancels
    excess = with_error("excess", seen.rec + seen.kl.sum(1) - nll)
    if not excess["excess"] + SURE_ERRORS * excess["excess_se"] < -MIN_NATS:
        return []
    return [
        f"nelbo is {-excess['excess']:.3g} nats below nll, which is impossible: nll(x, z) may "
        "depend on the other rows of a call (it is called with many codes at once), or the kl, "
        "sample and log_ratio of encode's posterior may not belong to one distribution"
    ]


def doubt_effective_codes(metrics: JsonMapping, facts: BatchFacts) -> list[str]:
    """Importance weights concentrated on few codes make nll a loose bound."""
    ess, samples = metrics["nll_ess"], metrics["nll_samples"]
    if not (samples >= MANY_SAMPLES and ess < FEW_CODES):
        return []
    wrong_log_var = "encode's second tensor is not ln sigma² (but sigma, sigma² or ln sigma), or "
    return [
        f"nll_ess is {ess:.2g} of {samples}: very few codes dominate the estimate, so nll is a "
        f"loose bound; either the posterior fits badly, or "
        f"{wrong_log_var if facts.log_var_count else ''}encode and nll see x differently"
    ]
