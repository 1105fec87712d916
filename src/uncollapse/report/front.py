"""The front of two metrics: groups that keep a code and that no other beats on both."""

import pandas as pd

from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.answers.collapse import judge_code
from uncollapse.report.stats import MINUS_PLAIN, by_group, has_saturated_mi

KEPT_INFORMATION = ("mi", "shuffle_gap")  # more of it is what a price is paid for


def front_direction(name: str) -> int:
    """1 if more of a metric is better on the front, -1 if less is, 0 if neither."""
    better = {"higher": 1, "lower": -1}.get(METRICS[name.removesuffix(MINUS_PLAIN)].better or "")
    return better if better is not None else int(name in KEPT_INFORMATION)


def find_front(runs: pd.DataFrame, x: str, y: str) -> list[int]:
    """The order of each group on the front of two columns, from finished runs; those with most x
    first. Groups are compared with others on the same data."""
    direction = front_direction(x), front_direction(y)
    if not all(direction):
        return []
    by_data: dict[str, list[tuple[float, float, int]]] = {}
    for order, group in by_group(runs):
        is_bound = "mi" in (x, y) and has_saturated_mi(group)
        if judge_code(group) == "kept" and not is_bound:
            means = direction[0] * group[x].mean(), direction[1] * group[y].mean()
            by_data.setdefault(str(group["data_name"].iloc[0]), []).append((*means, order))
    front = []
    for groups in by_data.values():
        best = float("-inf")
        for _, value, order in sorted(groups, key=lambda own: -own[0]):
            if value > best:
                best = value
                front.append(order)
    return front
