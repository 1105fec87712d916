"""Notes beside the numbers: schedules that were cut off, the weights, few effective samples."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from uncollapse.metrics import catalogue
from uncollapse.metrics.rows_evaluation import FEW_SAMPLES
from uncollapse.report.stats import by_group, finished, t_interval

CUT, BIASED, BOUND = "†", "‡", "≤"
MOST_GROUPS_NAMED = 6  # in one sentence


def cut_off(runs: pd.DataFrame) -> pd.Series:
    """Which runs ended before one of their schedules, or unsettled; not those that do not say."""
    return (runs["schedule_complete"] == 0) & (runs["status"] == "done")


def few_samples(runs: pd.DataFrame) -> pd.Series:
    """Which runs have an nll that is a bound and no estimate.

    Few effective samples on average, or in most examples.
    """
    return (runs["nll_ess"] < FEW_SAMPLES) | (runs["nll_ess_low"] > 0.5)


def has_large_bias(difference: float, half: float, bias: float) -> bool:
    """Whether the bias of a difference of nll is at least half of its interval's half-width.

    Or half of the difference, where it has no interval.
    """
    scale = half if np.isfinite(half) else abs(difference)
    return bool(abs(bias) >= 0.5 * scale) and bias != 0


def cut_note(runs: pd.DataFrame) -> str:
    """Which groups were cut off, and why: 'KL annealing (anneal_epochs=10: ...)'; '' for none."""
    groups = [
        (group["group"].iloc[0], group["unfinished"]) for _, group in by_group(runs[cut_off(runs)])
    ]
    if not groups:
        return ""
    details = [
        f"{name} ({'; '.join(dict.fromkeys(why[why != '']))})"
        for name, why in groups[:MOST_GROUPS_NAMED]
    ]
    return (
        f"{CUT}: training ended before a schedule did, or before it had settled: "
        f"{name_groups(details, len(groups))}."
    )


def changed_by_weights(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Group -> the metrics in which its last weights and its best ones differ by more than an
    interval.

    That is the t-interval over paired seeds, or 1.96 standard errors over examples in any seed:
    two seeds that both change much can have a t-interval that includes 0.
    """
    found = {}
    for _, group in by_group(finished(runs)):
        metrics = catalogue.compared_columns()
        changes = [text for metric in metrics if (text := describe_change(group, metric))]
        if changes:
            found[str(group["group"].iloc[0])] = changes
    return found


def describe_change(group: pd.DataFrame, metric: str) -> str:
    """'gap 6.10 instead of 1.60', or '' where last and best agree or are not known."""
    last, best = group[f"last_{metric}"], group[metric]
    difference = last - best
    mean, half = t_interval(difference)
    error = 1.96 * np.hypot(group[f"last_{metric}_se"], group[f"{metric}_se"])
    if not (abs(mean) > half or (difference.abs() > error).any()):
        return ""
    header = catalogue.METRICS[metric].header
    return f"{header} {last.mean():.2f} instead of {best[last.notna()].mean():.2f}"


def weights_note(runs: pd.DataFrame) -> str:
    """Which weights the numbers are from, and where the last ones differ; '' if no run says."""
    if not (finished(runs)["weights"] != "").any():
        return ""
    text = "Weights: the best, those of the lowest validation nelbo; the csv has the last ones too."
    groups = changed_by_weights(runs)
    if not groups:
        return f"{text} In no group do the last ones differ by more than an interval."
    details = [f"{name} ({', '.join(changes)})" for name, changes in groups.items()]
    shown = name_groups(details[:MOST_GROUPS_NAMED], len(groups))
    return f"{text} The last ones differ by more than an interval in {shown}."


def caption_note(runs: pd.DataFrame) -> str:
    """A short version of this, for figures of test metrics."""
    if not (finished(runs)["weights"] != "").any():
        return ""
    groups, cut = list(changed_by_weights(runs)), runs.loc[cut_off(runs), "group"].unique()
    parts = [" Best weights."]
    if groups:
        shown = name_groups(groups[:MOST_GROUPS_NAMED], len(groups))
        parts.append(f" The last ones differ by more than an interval in {shown}.")
    if len(cut):
        shown = name_groups(cut[:MOST_GROUPS_NAMED], len(cut))
        parts.append(f" Training was over before the schedules of {shown}.")
    return "".join(parts)


def bound_note(runs: pd.DataFrame) -> str:
    """Which groups' nll is a bound, for figures of nll; '' where none is."""
    groups = runs.loc[few_samples(runs), "group"].unique()
    if not len(groups):
        return ""
    shown = name_groups(groups[:MOST_GROUPS_NAMED], len(groups))
    return f" nll is only an upper bound (fewer than {FEW_SAMPLES} effective samples) in {shown}."


def name_groups(names: Iterable[str], count: int) -> str:
    """'A, B and 3 more', from the first names and the number of all."""
    names = list(names)
    return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")
