"""What several studies say together, in sentences; each abstains where it cannot know."""

import math
from collections.abc import Callable, Sequence

from uncollapse.report.answers.answer import (
    Answer,
    agree,
    count_seeds,
    format_span,
    list_heads,
    list_names,
    plain_command,
    quote_name,
)
from uncollapse.report.answers.collapse import COLLAPSED, judge_code
from uncollapse.report.data_sets import compare_data
from uncollapse.report.notes import unconverged
from uncollapse.report.several.agreement import FEWEST_HEADS
from uncollapse.report.several.agreement_answers import describe_agreement, describe_orders
from uncollapse.report.several.columns import Column, Comparison, Row
from uncollapse.report.several.commands import frontier_command, missing_command, seeds_command
from uncollapse.report.several.measures import RankedMeasure
from uncollapse.report.stats import SAMPLED_BY, by_group, t_interval
from uncollapse.report.text import capitalise

MOST_COMMANDS = 3  # of one kind, for the first studies that need one


def answer_questions_of_studies(
    comparison: Comparison, measures: Sequence[RankedMeasure]
) -> list[Answer]:
    """The sentences of a comparison, in the order in which they are read."""
    makers: tuple[Callable[[Comparison, Sequence[RankedMeasure]], list[Answer]], ...] = (
        describe_problems,
        describe_plains,
        describe_common,
        describe_keeping,
        describe_cheapest,
        describe_no_frontier,
        describe_agreement,
        describe_orders,
        describe_comparability,
        describe_run_counts,
    )
    return [answer for make in makers for answer in make(comparison, measures)]


def describe_problems(comparison: Comparison, measures: Sequence[RankedMeasure]) -> list[Answer]:
    """What was named and cannot be shown."""
    return [
        Answer("caution", f"Left out: {capitalise(problem)}", "studies")
        for problem in comparison.problems
    ]


# ---- plain, and which heads keep a code ----------------------------------------------------------


def describe_plains(comparison: Comparison, measures: Sequence[RankedMeasure]) -> list[Answer]:
    """On which studies plain collapses."""
    names: dict[str, list[str]] = {"collapsed": [], "kept": [], "open": []}
    unknown = []
    for column in comparison.columns:
        if column.plain.empty:
            text = (
                f"{column.name} has no finished run of head=plain, so no price is known there, nor "
                "whether plain collapses."
            )
            unknown.append(Answer("unknown", text, "studies", plain_command(column.runs)))
            continue
        # several plain groups differ in settings of the training: they must agree
        states = {judge_code(group) for _, group in by_group(column.plain)}
        names[states.pop() if len(states) == 1 else "open"].append(column.name)
    words = {
        "collapsed": "collapses on {}",
        "kept": "keeps a code of its own on {}",
        "open": "is open on {} (the interval of its gap contains 0.1 nats, or it has one seed)",
    }
    parts = [words[state].format(list_names(found)) for state, found in names.items() if found]
    said = [Answer("answer", f"Plain {'; it '.join(parts)}.", "gap")] if parts else []
    return [*said, *unknown[:MOST_COMMANDS]]


def describe_common(comparison: Comparison, measures: Sequence[RankedMeasure]) -> list[Answer]:
    """How many heads the studies share; a command where that is too few to compare rankings."""
    total = len(comparison.columns)
    every = [row.name for row in comparison.remedies if row.count == total]
    if len(every) >= FEWEST_HEADS:
        return []
    where = "both studies" if total == 2 else f"all {total} studies"
    # names may contain braces, so texts are no templates
    if not comparison.remedies:
        text = "No remedy was run with the same settings in two studies, so nothing is ranked"
    elif not every:
        text = f"No remedy was run with the same settings in {where}"
    else:
        text = (
            f"Only {len(every)} {agree(len(every), 'remedies were', 'remedy was')} run with the "
            f"same settings in {where} ({list_heads(every)}). That few can be in the same order by "
            "chance: whether one ranking holds in all of them is open"
        )
    hint = " (“Studies” lists what each has)" if comparison.single else ""
    return [Answer("unknown", f"{text}{hint}.", "studies", missing_command(comparison))]


def describe_keeping(comparison: Comparison, measures: Sequence[RankedMeasure]) -> list[Answer]:
    """Which heads keep a code in every study that ran them, in some only, and in none."""
    rows = comparison.remedies
    if not rows:
        return []
    sets: dict[str, list[str]] = {"all": [], "some": [], "none": [], "open": []}
    for row in rows:
        sets[judge_row(row)].append(describe_row(row, comparison.columns))
    if len(sets["open"]) == len(rows):
        single = [column for column in comparison.columns if most_seeds(column) == 1]
        why = "; one seed has no interval" if single else ""
        text = f"Which remedies keep a code in all studies is open for all {len(rows)}{why}."
        command = seeds_command(single[0], rows) if single else ""
        return [Answer("unknown", text, "gap", command)]
    count, heads = len(sets["all"]), len({row.key.head for row in rows})
    # a head at several values of its knob is several rows
    what = agree(heads, "remedies", "remedy")
    counted = f"common settings of {heads} {what}" if heads < len(rows) else f"common {what}"
    parts = [
        f"{count} of {len(rows)} {counted} "
        f"{agree(count, 'keep')} a code in every study that ran {agree(count, 'them', 'it')} (the "
        f"whole interval of the gap is above {COLLAPSED:g} nats)"
        f"{': ' * bool(count)}{list_names(sets['all']) if count else ''}"
    ]
    if sets["some"]:
        parts.append(f"on some only: {list_names(sets['some'])}")
    if sets["none"]:
        parts.append(f"on none: {list_names(sets['none'])}")
    if sets["open"]:
        parts.append(f"open: {list_names(sets['open'])}")
    return [Answer("answer", f"{'; '.join(parts)}.", "gap")]


def judge_row(row: Row) -> str:
    """Whether a head keeps a code in "all" studies that ran it, in "some", "none", or "open"."""
    states = {group.state for group in row.groups if group}
    if {"kept", "collapsed"} <= states:
        return "some"
    if states == {"kept"}:
        return "all"
    return "none" if states == {"collapsed"} else "open"


def describe_row(row: Row, columns: Sequence[Column]) -> str:
    """The name of a head, with the studies where it collapsed if it keeps a code in others."""
    if judge_row(row) != "some":
        return quote_name(row.name)
    lost = [
        column.name
        for column, group in zip(columns, row.groups, strict=True)
        if group and group.state == "collapsed"
    ]
    return f"{quote_name(row.name)} (not on {list_names(lost)})"


# ---- prices --------------------------------------------------------------------------------------


def describe_cheapest(comparison: Comparison, measures: Sequence[RankedMeasure]) -> list[Answer]:
    """Who costs least in each study, at equal information or else at the settings that were run."""
    levels = [measure for measure in measures if measure.is_level]
    if levels:
        return [describe_prices_of(comparison, measure) for measure in levels]
    price = next(measure for measure in measures if measure.name == "d_nll")
    return [describe_prices_of(comparison, price)] if any(price.ranks) else []


def describe_prices_of(comparison: Comparison, measure: RankedMeasure) -> Answer:
    """The cheapest heads of each column by one measure; those that share rank 1 together."""
    where = f"At {measure.title.partition(' at ')[2]}"
    if not measure.is_level:
        where = "At the settings that were run, and so at unequal information"
    parts = [
        f"on {column.name} {describe_first(measure, i)}"
        for i, column in enumerate(comparison.columns)
        if measure.ranks[i]
    ]
    if measure.is_level:
        return Answer("answer", f"{where}, the cheapest are: {'; '.join(parts)}.", measure.name)
    text = f"{where}, the cheapest that keep a code are: {'; '.join(parts)}."
    return Answer("caution", text, measure.name)


def describe_first(measure: RankedMeasure, column: int) -> str:
    """'A (of 5; +0.02 ± 0.03 nats, 3 seeds)', the tied ones together, or that none stands out."""
    ranks, values = measure.ranks[column], measure.list_ranked_values(column)
    best = sorted((name for name in ranks if ranks[name] == 1), key=lambda n: values[n].mean())
    span = format_span(t_interval(values[name]) for name in best)
    seeds = count_seeds(len(values[name]) for name in best)
    if len(ranks) == 1:
        return f"{list_heads(best)} alone ({span} nats, {seeds})"
    if len(best) == len(ranks):
        return f"none of {len(ranks)} can be told from the cheapest ({span} nats, {seeds})"
    tied = ", which are tied" if len(best) > 1 else ""
    return f"{list_heads(best)}{tied} (of {len(ranks)}; {span} nats, {seeds})"


def describe_no_frontier(comparison: Comparison, measures: Sequence[RankedMeasure]) -> list[Answer]:
    """Why prices at equal information are not known, and the command that would answer."""
    if any(measure.is_level for measure in measures) or not comparison.remedies:
        return []
    lacking = [
        column for column in comparison.columns if not column.plain.empty and column.points.empty
    ]
    if not lacking:
        return []
    text = (
        "Who is cheapest at equal information is open: it needs several values of each head's knob "
        f"on two studies, which {list_names([column.name for column in lacking])} "
        f"{agree(len(lacking), 'lack')}."
    )
    first = lacking[0]
    return [Answer("unknown", text, "d_nll", frontier_command(first, comparison.remedies))]


# ---- limits --------------------------------------------------------------------------------------


def describe_comparability(
    comparison: Comparison, measures: Sequence[RankedMeasure]
) -> list[Answer]:
    """What makes studies comparable or not: the same runs, data or source; samples of nll."""
    columns, answers = comparison.columns, []
    for i, one in enumerate(columns):
        for other in columns[i + 1 :]:
            if text := describe_relation(one, other):
                answers.append(Answer("caution", text, "studies"))
    sampled = {column.name: describe_samples(column) for column in columns}
    known = {name: text for name, text in sampled.items() if text}
    if len({*known.values()}) > 1:
        texts = "; ".join(f"{text} on {name}" for name, text in known.items())
        text = (
            f"nll has other numbers of codes and examples: {texts}. Compare ranks rather than "
            "prices: few codes overstate the nll of informative ones."
        )
        answers.append(Answer("caution", text, "studies"))
    return answers


def describe_relation(one: Column, other: Column) -> str:
    """Whether two columns share runs, or data, or the source of their data; '' if neither."""
    names = f"{one.name} and {other.name}"
    shared = {*one.runs["identity"]} & {*other.runs["identity"]}
    if shared:
        count = f"{len(shared)} {agree(len(shared), 'runs', 'run')}"
        return f"{names} share {count}, so part of their agreement is that of a run with itself."
    first, second = (column.runs["saved"].iloc[0] for column in (one, other))
    if not (first.data and second.data):
        return ""
    if not compare_data(first, second):
        return f"{names} have the same data: they differ in their training, not in their data."
    entropy, other_entropy = (float(column.runs["entropy"].mean()) for column in (one, other))
    # a comparison with nan is false
    if math.isclose(entropy, other_entropy, rel_tol=1e-6):
        return (
            f"{names} are drawn from the same source (entropy {entropy:.2f} nats), so they "
            "are two sizes of it rather than two kinds of data."
        )
    return ""


def describe_samples(column: Column) -> str:
    """'100 codes and 300 examples'; '' if no run has nll, or the runs differ."""
    known = column.done[[*SAMPLED_BY]].dropna().drop_duplicates()
    if len(known) != 1:
        return ""
    codes, examples = known.iloc[0]
    return f"{codes:,.0f} codes and {examples:,.0f} examples"


def describe_run_counts(comparison: Comparison, measures: Sequence[RankedMeasure]) -> list[Answer]:
    """How many runs are done, converged, and in no mean."""
    total = sum(len(column.runs) for column in comparison.columns)
    left = count_by_column(comparison, lambda column: len(column.runs) - len(column.done))
    answers = [Answer("answer", f"All {total} runs are done.", "studies")]
    if left:
        text = f"Not finished, and in no mean: {left}. The reports of these studies list the runs."
        answers = [Answer("caution", text, "studies")]
    if opened := count_by_column(comparison, lambda column: int(unconverged(column.runs).sum())):
        text = f"Had not converged when training ended, which may change ranks: {opened}."
        answers.append(Answer("caution", text, "studies"))
    return answers


def count_by_column(comparison: Comparison, count: Callable[[Column], int]) -> str:
    """'3 of 21 runs of digits and 1 of 12 of ptb'."""
    counts = [(count(column), len(column.runs), column.name) for column in comparison.columns]
    found = [f"{n} of {total} runs of {name}" for n, total, name in counts if n]
    return list_names(found) if found else ""


def most_seeds(column: Column) -> int:
    """The number of finished seeds of the group that has most."""
    return max((group["seed"].nunique() for _, group in by_group(column.done)), default=0)
