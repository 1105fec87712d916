"""The table of how far rankings agree under several evaluations of the same runs."""

from itertools import combinations

import numpy as np
import pandas as pd

from uncollapse.metrics.catalogue import MISSING
from uncollapse.report.evaluations import NUMBERS, NllEvaluation, list_evaluations, under_evaluation
from uncollapse.report.frontier import frontier_points, values_at_levels
from uncollapse.report.stats import finished
from uncollapse.report.tables import Table

# what `frontier_points` and rankings need of runs; slices of few columns are fast
OF_FRONTIERS = (
    "order", "group", "head", "label", "seed", "status", "override_list", "data_name", "knobs",
    "mi", "mi_saturated", "nll_results",
)  # fmt: skip


def rank_agreement_table(runs: pd.DataFrame) -> Table:
    """Kendall's tau for each pair of evaluations: over groups, and over heads at equal mi."""
    rows = [
        row
        for data, group in finished(runs).groupby("data_name", sort=False)
        for row in compare_rankings(group, str(data))
    ]
    numbers = pd.DataFrame(rows)
    title = (
        "Kendall's tau between the rankings by nll - plain (means over seeds) under two "
        "evaluations: 1 if they agree, 0 if they are unrelated. In parentheses the number ranked: "
        "groups, or heads at equal mi."
    )
    if numbers.empty:
        return Table("rank_agreement", title, numbers, numbers, optional=True)
    text = (
        numbers[["evaluations", "data"]]
        if numbers["data"].nunique() > 1
        else numbers[["evaluations"]]
    )
    text = text.copy()
    for name in numbers.columns[numbers.columns.str.startswith("tau ")]:
        pairs = zip(numbers[name], numbers[f"n {name.removeprefix('tau ')}"], strict=True)
        text[name.removeprefix("tau ")] = [
            f"{tau:.2f} (n={count:.0f})" if np.isfinite(tau) else MISSING for tau, count in pairs
        ]
    return Table("rank_agreement", title, numbers, text, optional=True)


def compare_rankings(runs: pd.DataFrame, data: str) -> list[dict[str, object]]:
    """One row per pair of evaluations of runs of the same data, if they share a ranking."""
    evaluations = list_evaluations(runs)
    runs = runs[list(dict.fromkeys([*OF_FRONTIERS, *NUMBERS]))]
    frames = {e: under_evaluation(runs, e) for e in evaluations}
    differ = len({e.examples for e in evaluations}) > 1
    known: dict[tuple[NllEvaluation, bytes], dict[str, pd.Series]] = {}

    def collect(evaluation: NllEvaluation, which: pd.Series) -> dict[str, pd.Series]:
        # most pairs have the same runs
        key = (evaluation, which.to_numpy().tobytes())
        if key not in known:
            known[key] = collect_rankings(frames[evaluation][which])
        return known[key]

    rows = []
    for one, other in combinations(evaluations, 2):
        # only runs with both, so that the seeds are the same
        both = frames[one]["d_nll"].notna() & frames[other]["d_nll"].notna()
        first, second = collect(one, both), collect(other, both)
        label = f"{one.label(differ)} and {other.label(differ)}"
        row: dict[str, object] = {"evaluations": label, "data": data}
        taus = {
            name: rank_correlation(first[name], second[name]) for name in first if name in second
        }
        for name, (tau, count) in taus.items():
            row |= {f"tau {name}": tau, f"n {name}": count}
        if any(np.isfinite(tau) for tau, _ in taus.values()):
            rows.append(row)
    return rows


def collect_rankings(runs: pd.DataFrame) -> dict[str, pd.Series]:
    """The mean d_nll of each group, and of each curve at each level of mi that one reaches."""
    others = runs[runs["head"] != "plain"].dropna(subset=["d_nll"])
    found = {"groups": others.groupby("group")["d_nll"].mean()}
    points = frontier_points(runs)
    for level, curves in values_at_levels(points).items():
        means = {curve: values.mean() for curve, values in curves.items()}
        if means:
            found[f"at {level:g} nat{'s' * (level != 1)}"] = pd.Series(means)
    return found


def rank_correlation(one: pd.Series, other: pd.Series) -> tuple[float, int]:
    """Kendall's tau of the values that two rankings share, and their number; nan for under two."""
    # scipy.stats is slow to import, and few reports need it
    from scipy.stats import kendalltau

    shared = one.index.intersection(other.index)
    if len(shared) < 2:
        return float("nan"), len(shared)
    return float(kendalltau(one[shared], other[shared])[0]), len(shared)
