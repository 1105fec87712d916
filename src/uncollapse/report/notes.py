"""Notes on the numbers: schedules that were cut off, choice of weights, few effective samples."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from uncollapse.metrics import catalogue
from uncollapse.metrics.rows_evaluation import FEW_SAMPLES
from uncollapse.report.stats import by_group, finished, t_interval

CUT, OPEN, BIASED, BOUND = "†", "§", "‡", "≤"
CUT_MEANING = "training ended before a schedule did, or before a controller had settled"
MOST_GROUPS_NAMED = 6  # in one sentence
PRECISE = 0.2  # nats: about the error of an example's nll from FEW_SAMPLES effective ones of many


def cut_off(runs: pd.DataFrame) -> pd.Series:
    """Which finished runs ended before a schedule did, or before a controller had settled.

    False for runs that did not record it.
    """
    return (runs["schedule_complete"] == 0) & (runs["status"] == "done")


def unconverged(runs: pd.DataFrame) -> pd.Series:
    """Which finished runs still improved when training ended; False if they did not record it."""
    return (runs["converged"] == 0) & (runs["status"] == "done")


def few_samples(runs: pd.DataFrame) -> pd.Series:
    """Which runs have an nll that is a bound rather than an estimate.

    They have few effective samples on average, or in most examples. Not those that drew few codes
    because these were precise enough (a tolerance was given).
    """
    few = (runs["nll_ess"] < FEW_SAMPLES) | (runs["nll_ess_low"] > 0.5)
    # root mean square over examples of the standard error of an example's nll
    error = runs["nll_mc_se"] * np.sqrt(runs["nll_examples"])
    precise = (runs["nll_codes"] < runs["nll_samples"]) & (error < PRECISE)
    return few & ~precise


def has_large_bias(difference: float, half: float, bias: float) -> bool:
    """Whether the bias of a difference in nll is at least half of its interval's half-width, or,
    without an interval, half of the difference itself."""
    # without an interval (one seed), the difference itself is the scale
    scale = half if np.isfinite(half) else abs(difference)
    return bool(abs(bias) >= 0.5 * scale and bias != 0)


def is_price_biased(runs: pd.DataFrame) -> bool:
    """Whether too few samples may explain much of the difference of a group's runs from plain."""
    return has_large_bias(*t_interval(runs["d_nll"]), runs["d_nll_bias"].mean())


def cut_note(runs: pd.DataFrame) -> str:
    """Which groups were cut off, and why: 'KL annealing (anneal_epochs=10: ...)'; '' if none."""
    groups = [
        (group["group"].iloc[0], group["unfinished"]) for _, group in by_group(runs[cut_off(runs)])
    ]
    if not groups:
        return ""
    details = [
        # once each, as seeds usually give the same reason
        f"{name} ({'; '.join(dict.fromkeys(why[why != '']))})"
        for name, why in groups[:MOST_GROUPS_NAMED]
    ]
    return f"{CUT}: {CUT_MEANING}: {name_groups(details, len(groups))}."


def convergence_note(runs: pd.DataFrame) -> str:
    """Which groups have runs that had not converged, and what they may still gain; '' if none."""
    open_runs = runs[unconverged(runs)]
    details = []
    for _, group in by_group(open_runs):
        gain = group["next_gain"].max()
        more = f" (by about {gain:.2f} nats)" if np.isfinite(gain) else ""
        details.append(f"{group['group'].iloc[0]}{more}")
    if not details:
        return ""
    return (
        f"{OPEN}: training ended while the validation objective was still falling, or too soon to "
        f"know, in {name_groups(details[:MOST_GROUPS_NAMED], len(details))}; in parentheses by how "
        "much one more span of training would lower it."
    )


def changed_by_weights(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Group -> the metrics in which its last and its best weights differ by more than an interval.

    That is the paired t-interval over seeds, or 1.96 standard errors over examples in any seed: the
    t-interval of two seeds is so wide that it can include 0 even if both change a lot.
    """
    found = {}
    done = finished(runs).reset_index(drop=True)
    differing = {name: find_differing(done, name) for name in catalogue.compared_columns()}
    for order, group in by_group(done):
        changes = [
            describe_change(group, name) for name, orders in differing.items() if order in orders
        ]
        if changes:
            found[str(group["group"].iloc[0])] = changes
    return found


def find_differing(done: pd.DataFrame, metric: str) -> set[int]:
    """The groups whose last and best weights differ in the metric by more than an interval."""
    # as arrays, since columns of many small frames take most of the time of a caption
    names = (f"last_{metric}", metric, f"last_{metric}_se", f"{metric}_se")
    last, best, *errors = (done[name].to_numpy(dtype=float) for name in names)
    difference, error = last - best, 1.96 * np.hypot(*errors)
    return {
        order
        for order, group in by_group(done[["order"]])
        if exceeds_interval(difference[group.index], error[group.index])
    }


def describe_change(group: pd.DataFrame, metric: str) -> str:
    """'gap 6.10 instead of 1.60' for last and best weights, which differ."""
    last, best = group[f"last_{metric}"], group[metric]
    header = catalogue.METRICS[metric].header
    values = [catalogue.format_metric_value(metric, v.mean()) for v in (last, best[last.notna()])]
    return f"{header} {values[0]} instead of {values[1]}"


def differs_between(group: pd.DataFrame, one: str, other: str) -> bool:
    """Whether two columns of a group differ by more than an interval over seeds, or over examples
    in any seed."""
    names = (one, other, f"{one}_se", f"{other}_se")
    first, second, *errors = (group[name].to_numpy(dtype=float) for name in names)
    return exceeds_interval(first - second, 1.96 * np.hypot(*errors))


def exceeds_interval(difference: np.ndarray, error: np.ndarray) -> bool:
    """Whether differences of seeds [n] exceed their t-interval, or one of them its error."""
    mean, half = t_interval(difference)
    return bool(abs(mean) > half or (np.abs(difference) > error).any())


def weights_note(runs: pd.DataFrame) -> str:
    """Which weights the numbers are from, and where the last ones differ; '' if not recorded."""
    # runs of older versions did not record which weights they used
    rules = {*finished(runs)["weights"]} - {""}
    if not rules:
        return ""
    if others := rules - {"best"}:  # the report was asked for another rule
        return f"Weights: those that the rule {', '.join(sorted(others))} chose, or the best."
    text = (
        "Weights: the best, with the lowest validation objective since the schedules ended (in "
        "runs of older versions the lowest nelbo of all evaluations); the csv also has metrics of "
        "the last ones."
    )
    groups = changed_by_weights(runs)
    if not groups:
        return f"{text} In no group do the last ones differ by more than an interval."
    details = [f"{name} ({', '.join(changes)})" for name, changes in groups.items()]
    shown = name_groups(details[:MOST_GROUPS_NAMED], len(groups))
    return f"{text} The last ones differ by more than an interval in {shown}."


def caption_note(runs: pd.DataFrame) -> str:
    """Which weights a figure of test metrics shows, and which groups were cut off; or ''."""
    if not (finished(runs)["weights"] != "").any():
        return ""
    groups, cut = list(changed_by_weights(runs)), runs.loc[cut_off(runs), "group"].unique()
    parts = [" Best weights."]
    if groups:
        shown = name_groups(groups[:MOST_GROUPS_NAMED], len(groups))
        parts.append(f" The last ones differ by more than an interval in {shown}.")
    if len(cut):
        shown = name_groups(cut[:MOST_GROUPS_NAMED], len(cut))
        parts.append(f" Training was cut off ({CUT}) in {shown}.")
    return "".join(parts)


def bound_note(runs: pd.DataFrame) -> str:
    """The groups whose nll is only a bound, for figures of nll; '' if there are none."""
    groups = runs.loc[few_samples(runs), "group"].unique()
    if not len(groups):
        return ""
    shown = name_groups(groups[:MOST_GROUPS_NAMED], len(groups))
    return f" nll is only an upper bound (fewer than {FEW_SAMPLES} effective samples) in {shown}."


def name_groups(names: Iterable[str], count: int) -> str:
    """'A, B and 3 more', from the first names and the total count."""
    names = list(names)
    return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")
