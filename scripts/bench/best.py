"""How long does each head train until its best weights? The answer is read from finished runs."""

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.table import print_table
from uncollapse.config import knobs_of
from uncollapse.errors import InputError
from uncollapse.runs.layout import DONE
from uncollapse.runs.reading import Saved
from uncollapse.runs.study import read_runs


class Seconds(NamedTuple):
    """Training time of a run until its best weights, and until its end."""

    to_best: float
    to_end: float


class Conditions(NamedTuple):
    """What a run must share with a plain run to be compared with it."""

    overrides: str  # as JSON, without the head's own knobs
    seed: int


@dataclass(frozen=True)
class BestCost:
    """Medians over seeds; ratios to the plain runs under the same conditions, None without any."""

    seconds: float
    ratio: float | None
    ratio_whole_run: float | None
    runs: int


BEST_COST_COLUMNS: dict[str, Callable[[BestCost], str]] = {
    "seconds to best weights": lambda r: f"{r.seconds:.0f}",
    "relative to plain": lambda r: f"{r.ratio:.2f}" if r.ratio else "",
    "complete run, relative": lambda r: f"{r.ratio_whole_run:.2f}" if r.ratio_whole_run else "",
    "runs": lambda r: str(r.runs),
}


def print_best_costs(study: Path, costs: Mapping[str, BestCost]) -> None:
    title = f"time to the best weights ({study}, medians over seeds, by the wall clock of the runs)"
    print_table(title, "head", BEST_COST_COLUMNS, costs)


def read_best_costs(study: Path) -> dict[str, BestCost]:
    """Head and knobs -> its costs. InputError for a study without finished runs."""
    groups: dict[str, dict[Conditions, Seconds]] = {}
    for saved in read_runs(study, []):
        if saved.status == DONE:
            name, conditions = split_overrides(saved)
            # plain itself may be absent: then no ratio can be given, but the seconds still can
            groups.setdefault(name, {})[conditions] = read_seconds(saved)
    if not groups:
        raise InputError(f"{study}: no finished runs")
    plain = groups.get("plain", {})
    return {
        name: BestCost(
            seconds=statistics.median(seconds.to_best for seconds in runs.values()),
            ratio=median_ratio(runs, plain, lambda seconds: seconds.to_best),
            ratio_whole_run=median_ratio(runs, plain, lambda seconds: seconds.to_end),
            runs=len(runs),
        )
        for name, runs in groups.items()
    }


def split_overrides(saved: Saved) -> tuple[str, Conditions]:
    """The head with its knobs, such as "bn_tau tau=0.3", and everything else that was set."""
    # the head's own knobs are what is being compared, so they belong to the name and not to the
    # conditions that a plain run must share
    head, overrides = saved.summary["head"], saved.summary["overrides"]
    own = knobs_of(head)
    name = " ".join([head, *(f"{key}={value}" for key, value in overrides.items() if key in own)])
    others = {key: value for key, value in overrides.items() if key not in own}
    return name, Conditions(json.dumps(others, sort_keys=True), saved.summary["seed"])


def read_seconds(saved: Saved) -> Seconds:
    """The training times of a finished run, by its own clock."""
    summary = saved.summary
    # the clock is read in the row of that evaluation, since the summary holds the total only
    best = next(
        row["seconds"]
        for row in saved.rows
        if row["split"] == "valid" and row["step"] == summary["best_step"]
    )
    return Seconds(best, summary["seconds"])


def median_ratio(
    runs: Mapping[Conditions, Seconds],
    plain: Mapping[Conditions, Seconds],
    pick: Callable[[Seconds], float],
) -> float | None:
    """The median over runs with a plain run under the same conditions; None if there are none."""
    pairs = [(seconds, plain[key]) for key, seconds in runs.items() if key in plain]
    ratios = [pick(seconds) / pick(other) for seconds, other in pairs]
    return statistics.median(ratios) if ratios else None
