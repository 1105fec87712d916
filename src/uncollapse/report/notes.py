"""What must be said beside the numbers: schedules that training cut off, which weights are shown, and nll from few effective samples."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from .runs import BOTH
from .stats import by_group, finished, t_interval

CUT, TILTED, BOUND = "†", "‡", "≤"
FEW = 20  # effective samples of an nll
MOST_NAMED = 6  # groups in one sentence
NAMES = {"shuffle_gap": "gap"}


def cut_off(runs: pd.DataFrame) -> pd.Series:
    """Which runs ended before a schedule of theirs, or unsettled; none of those that do not say."""
    return (runs["schedule_complete"] == 0) & (runs["status"] == "done")


def few_samples(runs: pd.DataFrame) -> pd.Series:
    """Which runs have an nll that is a bound and no estimate: few effective samples on average, or in most examples."""
    return (runs["nll_ess"] < FEW) | (runs["nll_ess_low"] > 0.5)


def tilted(difference: float, half: float, bias: float) -> bool:
    """Whether a difference of nll has a bias of the size of its interval: half of it at least, or of the difference where it has none."""
    scale = half if np.isfinite(half) else abs(difference)
    return bool(abs(bias) >= 0.5 * scale) and bias != 0


def cut_note(runs: pd.DataFrame) -> str:
    """'†: training ended before a schedule did, or unsettled: KL annealing (anneal_epochs=10: ...).'"""
    groups = [
        (group["group"].iloc[0], group["unfinished"]) for _, group in by_group(runs[cut_off(runs)])
    ]
    if not groups:
        return ""
    details = [
        f"{name} ({'; '.join(dict.fromkeys(why[why != '']))})" for name, why in groups[:MOST_NAMED]
    ]
    return f"{CUT}: training ended before a schedule did, or before it had settled: {listed(details, len(groups))}."


def moved(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Group -> the metrics in which its last weights and its best ones differ by more than an interval.

    The t-interval over paired seeds where there are two, or 1.96 standard errors over examples in any seed: two seeds that both move
    far have a t-interval that still holds 0.
    """
    found = {}
    for _, group in by_group(finished(runs)):
        changes = [text for metric in BOTH if (text := change(group, metric))]
        if changes:
            found[str(group["group"].iloc[0])] = changes
    return found


def change(group: pd.DataFrame, metric: str) -> str:
    """'gap 6.10 instead of 1.60', or '' where last and best agree or are not known."""
    last, best = group[f"last_{metric}"], group[metric]
    difference = last - best
    mean, half = t_interval(difference)
    error = 1.96 * np.hypot(group[f"last_{metric}_se"], group[f"{metric}_se"])
    if not (abs(mean) > half or (difference.abs() > error).any()):
        return ""
    return (
        f"{NAMES.get(metric, metric)} {last.mean():.2f} instead of {best[last.notna()].mean():.2f}"
    )


def weights_note(runs: pd.DataFrame) -> str:
    """Which weights the numbers are from, and where the last ones differ; '' where no run says so."""
    if not (finished(runs)["weights"] != "").any():
        return ""
    text = "Weights: the best, those of the lowest validation nelbo; the csv has the last ones too."
    groups = moved(runs)
    if not groups:
        return f"{text} In no group do the last ones differ by more than an interval."
    details = [
        f"{name} ({', '.join(changes)})" for name, changes in list(groups.items())[:MOST_NAMED]
    ]
    return (
        f"{text} The last ones differ by more than an interval in {listed(details, len(groups))}."
    )


def caption_note(runs: pd.DataFrame) -> str:
    """The same in short, for figures of test metrics."""
    if not (finished(runs)["weights"] != "").any():
        return ""
    groups, cut = list(moved(runs)), runs.loc[cut_off(runs), "group"].unique()
    parts = [" Best weights."]
    if groups:
        parts.append(
            f" The last ones differ by more than an interval in {listed(groups[:MOST_NAMED], len(groups))}."
        )
    if len(cut):
        parts.append(
            f" Training was over before the schedules of {listed(cut[:MOST_NAMED], len(cut))}."
        )
    return "".join(parts)


def bound_note(runs: pd.DataFrame) -> str:
    """Which groups' nll is a bound, for figures of nll; '' where none is."""
    groups = runs.loc[few_samples(runs), "group"].unique()
    if not len(groups):
        return ""
    return f" nll is only an upper bound (fewer than {FEW} effective samples) in {listed(groups[:MOST_NAMED], len(groups))}."


def listed(names: Iterable[str], count: int) -> str:
    """'A, B and 3 more', of so many in all."""
    names = list(names)
    return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")
