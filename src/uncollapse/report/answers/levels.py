"""Which remedies to take where heads have frontiers: prices at equal information.

At each level of mi, the cheapest remedies are those that the one with the lowest price is not
significantly cheaper than. The remedies to take are among them at every level that they reach, up
to the highest.
"""

from collections.abc import Sequence

import pandas as pd

from uncollapse.report.answers.answer import (
    MINUS,
    Answer,
    agree,
    count_seeds,
    format_span,
    list_heads,
    list_names,
    quote_name,
)
from uncollapse.report.frontier import FEWEST_SEEDS, frontier_points, values_at_levels
from uncollapse.report.notes import MOST_GROUPS_NAMED
from uncollapse.report.ranking import compare_with_lowest, find_lower, find_lowest, rank_values
from uncollapse.report.stats import finished, once_per_frame, t_interval

PRICE = f"nll {MINUS} plain"
EVIDENCE = "frontier"  # the table at equal information
FEW = 0.1  # of the remedies at a level: so few that cost more are named as exceptions
Excess = dict[str, tuple[float, float]]  # name -> mean and half-width above the lowest price
Values = dict[str, pd.Series]  # name -> nll minus plain's, by seed
Levels = dict[float, Values]  # nats of mi -> the values of each curve there


def describe_levels(runs: pd.DataFrame) -> list[Answer]:
    """Which remedies to take, and what each level shows; none if no two curves share a level."""
    points = frontier_points(runs)
    levels = compare_levels(points)
    if not levels:
        return []
    ranks = {level: rank_values(values) for level, values in levels.items()}
    few = FEW if len(levels) > 1 else 0.0
    costlier = {level: find_costlier(values) for level, values in levels.items()}
    tied = [level for level, values in levels.items() if len(costlier[level]) <= few * len(values)]
    taken = find_cheapest(levels, ranks)
    answers = [describe_choice(runs, points, levels, taken)]
    if tied and len(levels) > 1:
        answers.append(describe_ties({level: levels[level] for level in tied}, costlier))
    for level in levels:
        if level not in tied:
            where = f"At {name_levels([level])} of information (mi)"
            answers.append(describe_level(where, levels[level], ranks[level], EVIDENCE, taken))
    return answers


@once_per_frame
def compare_levels(points: pd.DataFrame) -> Levels:
    """The prices of each curve, for each level that two curves reach with enough seeds."""
    found = {}
    for level, curves in values_at_levels(points).items():
        values = {curve: seeds for curve, seeds in curves.items() if len(seeds) >= FEWEST_SEEDS}
        if len(values) > 1:
            found[level] = values
    return found


def name_levels(levels: list[float]) -> str:
    """'1 nat', '4 nats', or '1, 2 and 4 nats'."""
    return f"{list_names([f'{level:g}' for level in levels])} nat{'s' * (levels != [1.0])}"


# ---------------------------------------------------------------- which to take


def find_cheapest(levels: Levels, ranks: dict[float, dict[str, int]]) -> list[str]:
    """The curves that share the lowest rank at every level that they reach, up to the highest.

    In the order of figures: by price, the luckiest of them would come first.
    """
    return [
        name
        for name in levels[max(levels)]
        if all(found.get(name, 1) == 1 for found in ranks.values())
    ]


def describe_choice(
    runs: pd.DataFrame, points: pd.DataFrame, levels: Levels, names: list[str]
) -> Answer:
    """Which remedies to take, at what price, and how sure that is."""
    where = name_levels([*levels])
    if not names:
        text = (
            f"No remedy is among the cheapest at every amount of information compared ({where} of "
            "mi): choose by how much the code should carry."
        )
        return Answer("answer", text, EVIDENCE)
    total = len({name for values in levels.values() for name in values})
    always = [name for name in names if all(name in values for values in levels.values())] or names
    if len(names) == total:
        listed, later = f"any of the {total} remedies", ""
    else:
        listed = list_heads(always, "or")
        later = describe_later(levels, [name for name in names if name not in always])
    seeds = count_seeds(
        len(values[name]) for values in levels.values() for name in names if name in values
    )
    text = (
        f"To keep up to {name_levels([max(levels)])} of information (mi), take {listed}: at "
        f"{where}, no remedy is significantly cheaper ({seeds}){later}. Price, {PRICE} "
        f"(nats per example; {describe_scale(runs)}): {describe_price(names, levels)}."
        f"{describe_unconverged(points, names)} The table has the knobs for these amounts."
    )
    return Answer("answer", text, EVIDENCE, about=tuple(names))


def describe_later(levels: Levels, names: list[str]) -> str:
    """'; from 2 nats on, also A': remedies whose curves begin above the lowest level."""
    starts: dict[float, list[str]] = {}
    for name in names:
        start = min(level for level, values in levels.items() if name in values)
        starts.setdefault(start, []).append(name)
    return "".join(
        f"; from {name_levels([start])} on, also {list_heads(found)}"
        for start, found in sorted(starts.items())
    )


def describe_price(names: list[str], levels: Levels) -> str:
    """'+0.00 ± 0.01 at 1 nat and +0.06 ± 0.05 at 6 nats': at the ends of the levels."""
    ends = dict.fromkeys((min(levels), max(levels)))
    parts = []
    for level in ends:
        values = [levels[level][name] for name in names if name in levels[level]]
        if values:
            span = format_span(t_interval(seeds) for seeds in values)
            parts.append(f"{span} at {name_levels([level])}")
    return " and ".join(parts)


def describe_scale(runs: pd.DataFrame) -> str:
    """What plain's nll is, which shows how large a price is."""
    plain = finished(runs[runs["head"] == "plain"])["nll"].mean()
    return f"plain's nll is {plain:.2f}"


def describe_unconverged(points: pd.DataFrame, names: list[str]) -> str:
    """A sentence if runs of the remedies to take had not converged."""
    own = points[points["curve"].isin(names)]
    count = int((own["converged"] == 0).sum())
    if not count:
        return ""
    least = own.loc[own["converged"] == 0, "mi"].min()
    return (
        f" {count} of their {len(own)} runs had not converged, all with {least:.1f} nats or more, "
        "so more training may change prices there."
    )


# ---------------------------------------------------------------- what the levels show


def find_costlier(values: Values) -> Excess:
    """The curves that cost significantly more than the one with the lowest price, and how much.

    Not the same as a rank above 1: behind them, a curve of large spread may follow that cannot be
    told from the lowest.
    """
    lowest, found = find_lowest(values), compare_with_lowest(values)
    names = [higher for lower, higher in find_lower(values) if lower == lowest]
    return {name: found[name] for name in sorted(names, key=lambda name: values[name].mean())}


def describe_ties(levels: Levels, costlier: dict[float, Excess]) -> Answer:
    """The levels at which none, or all but a few, cannot be told from the cheapest."""
    counts = sorted({len(values) for values in levels.values()})
    count = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    prices = [
        t_interval(seeds)
        for level, values in levels.items()
        for name, seeds in values.items()
        if name not in costlier[level]
    ]
    exceptions = [
        f"{quote_name(name)} at {name_levels([level])} ({describe_excess({name: excess})})"
        for level in levels
        for name, excess in costlier[level].items()
    ]
    seeds = count_seeds(len(seeds) for values in levels.values() for seeds in values.values())
    text = (
        f"At {name_levels([*levels])}, none of the {count} remedies can be told from the cheapest: "
        f"{PRICE} {format_span(prices)} nats ({seeds})"
    )
    text += f", except {list_names(exceptions)}." if exceptions else "."
    return Answer("answer", text, EVIDENCE)


def describe_excess(found: Excess) -> str:
    """'by 0.16 ± 0.05 to 0.22 ± 0.06', the interval of the test."""
    return f"by {format_span(found.values(), sign='')}"


def describe_level(
    where: str,
    values: Values,
    ranks: dict[str, int],
    evidence: str,
    taken: Sequence[str] = (),
) -> Answer:
    """Which heads cost least of those whose values are given, and which cost more.

    Those that cost least are not named again if they are the ones `taken` at every level.
    """
    best = [name for name in values if ranks[name] == 1]
    rest = find_costlier(values)
    # with the decimals of the table that shows it
    short = evidence == EVIDENCE
    price = f"{PRICE} {format_span((t_interval(values[name]) for name in best), short)} nats"
    seeds = count_seeds(len(values[name]) for name in values)
    if not rest:
        text = f"none of the {len(best)} remedies can be told from the cheapest: {price} ({seeds})."
        return Answer("answer", f"{where}, {text}", evidence, about=tuple(best))
    more = (
        f"{describe_excess(rest)} nats (paired by seed, with the interval of the test): "
        f"{list_heads([*rest])}"
    )
    if {*best} == {*taken}:
        cost = agree(len(rest), "others cost", "other costs")
        text = f"{where}, {len(rest)} {cost} significantly more than the cheapest, {more}."
        return Answer("answer", text, evidence, about=tuple(rest))
    if len(best) > MOST_GROUPS_NAMED:
        cheapest = f"{len(best)} of {len(values)} remedies cannot be told from the cheapest"
    elif len(best) == 1:
        cheapest = f"{best[0]} costs least"
    else:
        cheapest = f"{list_heads(best)} cost least and cannot be told from the cheapest of them"
    text = f"{cheapest}: {price} ({seeds}). Significantly more than the cheapest, {more}."
    return Answer("answer", f"{where}, {text}", evidence, about=tuple(best))
