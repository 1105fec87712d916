"""Whether rankings carry over from one study to another, in sentences."""

from collections.abc import Sequence

import numpy as np

from uncollapse.report.answers.answer import Answer, agree, format_interval, list_names
from uncollapse.report.ranking import ERROR_RATE
from uncollapse.report.several.agreement import (
    FEWEST_HEADS,
    Agreement,
    compare_all,
    compare_pairs,
    find_significant_pairs,
)
from uncollapse.report.several.columns import Comparison
from uncollapse.report.several.measures import RankedMeasure, choose_main


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
        if len(comparison.remedies) < FEWEST_HEADS:
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
    """Whether all studies have one ranking, and which pairs of them agree."""
    answers = describe_concordance(measure, by)
    tested = [pair for pair in pairs if pair.n >= FEWEST_HEADS]
    if not tested:
        if not answers and len(comparison.remedies) >= FEWEST_HEADS:
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


def describe_concordance(measure: RankedMeasure, by: str) -> list[Answer]:
    """Whether three studies or more have one ranking; nothing if they share too few heads."""
    every = compare_all(measure)
    if every.n < FEWEST_HEADS:
        return []
    found = f"Kendall's W = {every.w:.2f} over {every.n} heads, {format_p(every.p)}"
    if every.tied:
        text = (
            f"Whether the ranking {by} is the same in all studies is open: in one of them no "
            f"head can be told from the first ({found})."
        )
        return [Answer("unknown", text, "agreement")]
    if every.p < ERROR_RATE:
        text = f"The rankings {by} of all {measure.columns} studies agree: {found}."
        return [Answer("answer", text, "agreement")]
    text = f"No agreement {by} of all {measure.columns} studies is shown: {found}."
    return [Answer("unknown", text, "agreement")]


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
