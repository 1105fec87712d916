"""What several studies say together, in sentences; each abstains where it cannot know."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from uncollapse.report.answers.answer import (
    OWN_WORDS,
    Answer,
    agree,
    capitalise,
    count_seeds,
    format_interval,
    format_span,
    list_names,
    plain_command,
)
from uncollapse.report.answers.collapse import COLLAPSED, judge_code
from uncollapse.report.data_sets import compare_data
from uncollapse.report.notes import unconverged
from uncollapse.report.several.agreement import (
    FEWEST_HEADS,
    Agreement,
    compare_all,
    compare_pairs,
    find_significant_pairs,
)
from uncollapse.report.several.columns import Column, Comparison, Row
from uncollapse.report.several.measures import RankedMeasure, choose_main
from uncollapse.report.stats import SAMPLED_BY, by_group, t_interval

MOST_COMMANDS = 3  # of one kind, for the first studies that need one
MOST_HEADS_TYPED = 8  # in one command
LEVELS_TYPED = "1,2,3"  # three values of the knob make a frontier


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
    every = [row.name for row in find_remedies(comparison) if row.count == total]
    if len(every) >= FEWEST_HEADS:
        return []
    where = "both studies" if total == 2 else f"all {total} studies"
    # names may contain braces, so texts are no templates
    if not find_remedies(comparison):
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


def find_remedies(comparison: Comparison) -> list[Row]:
    """The rows of heads other than plain and the baselines."""
    return [row for row in comparison.compared if row.slot != "baseline"]


def describe_keeping(comparison: Comparison, measures: Sequence[RankedMeasure]) -> list[Answer]:
    """Which heads keep a code in every study that ran them, in some only, and in none."""
    rows = find_remedies(comparison)
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


def list_heads(names: Sequence[str]) -> str:
    """A list of the names of heads."""
    return list_names([quote_name(name) for name in names])


def quote_name(name: str) -> str:
    """A name in quotation marks if it would look like two in a list."""
    return f"“{name}”" if ", " in name or " and " in name else name


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
    if any(measure.is_level for measure in measures) or not find_remedies(comparison):
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
    return [Answer("unknown", text, "d_nll", frontier_command(first, find_remedies(comparison)))]


# ---- agreement -----------------------------------------------------------------------------------


def describe_agreement(comparison: Comparison, measures: Sequence[RankedMeasure]) -> list[Answer]:
    """Whether the ranking by price carries over from one study to the other."""
    main = choose_main(measures)
    if not main.is_price:
        return []
    pairs = compare_pairs(main)
    by = f"by {main.title}"
    if len(pairs) == 1:
        return describe_pair(comparison, pairs[0], by)
    return describe_pairs(comparison, main, pairs, by)


def describe_pair(comparison: Comparison, pair: Agreement, by: str) -> list[Answer]:
    """Whether the ranking of two studies agrees; nothing if they share too few heads."""
    names = name_pair(comparison, pair)
    # too few common heads were reported already
    if pair.n < FEWEST_HEADS:
        if len(find_remedies(comparison)) < FEWEST_HEADS:
            return []
        text = (
            f"Whether the ranking {by} carries over between {names} is open: {pair.n} "
            f"{agree(pair.n, 'heads keep', 'head keeps')} a code and have two seeds in both."
        )
        return [Answer("unknown", text, "agreement")]
    found = format_agreement(pair)
    if pair.tied:
        text = (
            f"Whether the ranking {by} carries over between {names} is open: in one of them no "
            f"head can be told from the first ({found})."
        )
        return [Answer("unknown", text, "agreement")]
    if not find_significant_pairs([pair]):
        few = "; with 4 heads even the same order has p = 0.083" if pair.n == FEWEST_HEADS else ""
        text = f"No agreement of the rankings {by} of {names} is shown: {found}{few}."
        return [Answer("unknown", text, "agreement")]
    said = "carries over between" if pair.rho > 0 else "is reversed between"
    return [Answer("answer", f"The ranking {by} {said} {names}: {found}.", "agreement")]


def describe_pairs(
    comparison: Comparison, measure: RankedMeasure, pairs: Sequence[Agreement], by: str
) -> list[Answer]:
    """Kendall's W of three studies or more, and which of their pairs agree."""
    answers = []
    every = compare_all(measure)
    if every.n >= FEWEST_HEADS:
        found = f"Kendall's W = {every.w:.2f} over {every.n} heads, {format_p(every.p)}"
        if every.tied:
            text = (
                f"Whether the ranking {by} is the same in all studies is open: in one of them no "
                f"head can be told from the first ({found})."
            )
            answers.append(Answer("unknown", text, "agreement"))
        elif every.p < 0.05:
            text = f"The rankings {by} of all {measure.columns} studies agree: {found}."
            answers.append(Answer("answer", text, "agreement"))
        else:
            text = f"No agreement {by} of all {measure.columns} studies is shown: {found}."
            answers.append(Answer("unknown", text, "agreement"))
    tested = [pair for pair in pairs if pair.n >= FEWEST_HEADS]
    if not tested:
        if not answers and len(find_remedies(comparison)) >= FEWEST_HEADS:
            text = (
                f"Whether the ranking {by} carries over is open: no two studies share "
                f"{FEWEST_HEADS} heads that keep a code there and have two seeds."
            )
            answers.append(Answer("unknown", text, "agreement"))
        return answers
    clear = find_significant_pairs(tested)
    shown = [f"{name_pair(comparison, pair)} ({format_agreement(pair)})" for pair in clear]
    total = f"{len(tested)} {agree(len(tested), 'pairs', 'pair')} of studies"
    if shown:
        text = f"Of {total}, the ranking {by} carries over, after Holm's adjustment, between "
        answers.append(Answer("answer", f"{text}{list_names(shown)}.", "agreement"))
    else:
        low, high = min(pair.rho for pair in tested), max(pair.rho for pair in tested)
        text = (
            f"Of {total} that share {FEWEST_HEADS} heads or more, none has rankings {by} that "
            f"agree significantly, after Holm's adjustment: Spearman's rho is {format_rho(low)} to "
            f"{format_rho(high)}."
        )
        if low == high:
            pair = tested[0]
            text = (
                f"{name_pair(comparison, pair)} are the only studies that share {FEWEST_HEADS} "
                f"heads or more; no agreement of their rankings {by} is shown: "
                f"{format_agreement(pair)}."
            )
        answers.append(Answer("unknown", text, "agreement"))
    return answers


def describe_orders(comparison: Comparison, measures: Sequence[RankedMeasure]) -> list[Answer]:
    """Whether the rankings by mi and by gap agree, of two studies that share enough heads."""
    if len(comparison.columns) != 2:
        return []
    parts = []
    for measure in measures:
        if not measure.is_price:
            (pair,) = compare_pairs(measure)
            if pair.n >= FEWEST_HEADS:
                parts.append(f"by {measure.title} {format_agreement(pair)}")
    if not parts:
        return []
    text = f"Order of the heads by what their codes keep: {'; '.join(parts)}."
    return [Answer("answer", text, "agreement")]


def name_pair(comparison: Comparison, pair: Agreement) -> str:
    columns = comparison.columns
    return f"{columns[pair.one].name} and {columns[pair.other].name}"


def format_agreement(pair: Agreement) -> str:
    """'Spearman's rho = 0.83 (0.31 to 0.97) over 7 heads, p = 0.03'."""
    interval = ""
    if np.isfinite(pair.low):
        interval = f" ({format_rho(pair.low)} to {format_rho(pair.high)})"
    rho = format_rho(pair.rho)
    return f"Spearman's rho = {rho}{interval} over {pair.n} heads, {format_p(pair.p)}"


def format_rho(rho: float) -> str:
    return format_interval(rho, np.nan)


def format_p(p: float) -> str:
    """'p = 0.03', with one more digit where it is small."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.0995 else f"p = {p:.2f}"


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


# ---- commands ------------------------------------------------------------------------------------


def vary_command(column: Column, heads: Iterable[str], words: str) -> str:
    """The command of a column's first run, for other heads; '' if it was not recorded."""
    first = column.runs.iloc[0]
    own = {*OWN_WORDS, *first["knobs"]}
    kept = [word for word in first["command"].split() if word.partition("=")[0] not in own]
    names = list(dict.fromkeys(heads))[:MOST_HEADS_TYPED]
    return f"{' '.join(kept)} head={','.join(names)} {words} -m" if kept and names else ""


def missing_command(comparison: Comparison) -> str:
    """The command that runs, in the study that lacks most heads, those of the others."""
    rows = [row for row in comparison.rows if None in row.groups] or comparison.single
    heads = [row for row in rows if row.slot != "baseline" and not row.key.settings]
    lacking = [
        list(dict.fromkeys(row.key.head for row in heads if row.groups[i] is None))
        for i in range(len(comparison.columns))
    ]
    most = max(range(len(lacking)), key=lambda i: len(lacking[i]))
    return vary_command(comparison.columns[most], lacking[most], "seed=0,1,2")


def seeds_command(column: Column, rows: Sequence[Row]) -> str:
    """The command that adds two seeds to the heads of a column."""
    place = next(row for row in rows).groups
    heads = ["plain", *(row.key.head for row in rows)] if place else []
    return vary_command(column, heads, "seed=1,2")


def frontier_command(column: Column, rows: Sequence[Row]) -> str:
    """The command that runs heads at three values of their knobs."""
    heads = [row.key.head for row in rows if row.key.knobs]
    return vary_command(column, heads, f"level={LEVELS_TYPED} seed=0,1,2")


def most_seeds(column: Column) -> int:
    """The number of finished seeds of the group that has most."""
    return max((group["seed"].nunique() for _, group in by_group(column.done)), default=0)
