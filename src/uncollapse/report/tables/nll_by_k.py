"""The table of nll under several evaluations of the same runs: how ranks move with the codes."""

from itertools import combinations

import numpy as np
import pandas as pd

from uncollapse.metrics.catalogue import MISSING
from uncollapse.report.evaluations import NllEvaluation, list_evaluations, under_evaluation
from uncollapse.report.notes import name_groups
from uncollapse.report.stats import finished, t_interval
from uncollapse.report.tables import Table
from uncollapse.report.tables.cells import format_cell

MOST_LEFT_OUT = 6  # groups named in the title


def nll_by_k_table(runs: pd.DataFrame) -> Table:
    """One row per group, of runs that have every evaluation; empty for fewer than two of either."""
    done = finished(runs)
    evaluations = list_evaluations(done)
    frames = {e: under_evaluation(done, e) for e in evaluations}
    kept = [e for e in evaluations if frames[e].loc[is_other(done), "d_nll"].notna().any()]
    # only runs with every evaluation, so that the seeds are the same under each
    complete = pd.Series(True, done.index)
    for evaluation in kept:
        complete &= frames[evaluation]["d_nll"].notna()
    numbers = collect_rows(done[complete], {e: frames[e][complete] for e in kept})
    ranked = numbers[numbers["head"] != "plain"] if len(numbers) else numbers
    if len(kept) < 2 or len(ranked) < 2:
        return Table("nll_by_k", "", pd.DataFrame(), pd.DataFrame(), optional=True)
    title = describe_evaluations(done, ranked, kept)
    return Table("nll_by_k", title, numbers, format_rows(numbers, kept), optional=True)


def is_other(runs: pd.DataFrame) -> pd.Series:
    return runs["head"] != "plain"


def collect_rows(runs: pd.DataFrame, frames: dict[NllEvaluation, pd.DataFrame]) -> pd.DataFrame:
    """A row per group: its d_nll, rank, codes and ess under each evaluation."""
    rows = []
    for order, group in runs.groupby("order"):
        row: dict[str, object] = {
            "group": group["group"].iloc[0],
            "head": group["head"].iloc[0],
            "data": group["data_name"].iloc[0],
            "n": group["seed"].nunique(),
        }
        for evaluation, frame in frames.items():
            own = frame[frame["order"] == order]
            mean, half = t_interval(own["d_nll"])
            row |= {
                f"d_nll_{evaluation.key}_mean": mean,
                f"d_nll_{evaluation.key}_half": half,
                f"d_nll_{evaluation.key}_n": own["d_nll"].count(),
                f"nll_codes_{evaluation.key}": own["nll_codes"].mean(),
                f"nll_ess_{evaluation.key}": own["nll_ess"].mean(),
            }
        rows.append(row)
    numbers = pd.DataFrame(rows)
    for evaluation in frames if rows else ():
        # plain is the reference, and heads of other data are not ranked with these
        by_data = numbers.loc[is_other(numbers)].groupby("data")
        ranks = by_data[f"d_nll_{evaluation.key}_mean"].rank(method="min")
        numbers[f"rank_{evaluation.key}"] = ranks.reindex(numbers.index)
    return numbers


def format_rows(numbers: pd.DataFrame, evaluations: list[NllEvaluation]) -> pd.DataFrame:
    """'+0.31 ± 0.05 [3]' and '18.2 of 37' for each evaluation."""
    text = numbers[["group", "n"]].astype(str)
    differ = len({e.examples for e in evaluations}) > 1
    for evaluation in evaluations:
        key, label = evaluation.key, evaluation.label(differ)
        columns = [f"d_nll_{key}_mean", f"d_nll_{key}_half", f"d_nll_{key}_n", "n", f"rank_{key}"]
        text[label] = [
            f"{format_cell(mean, half, count, n, 2, '+')} [{rank:.0f}]"
            if np.isfinite(rank)
            else MISSING
            for mean, half, count, n, rank in numbers[columns].to_numpy(dtype=float).tolist()
        ]
        pairs = zip(numbers[f"nll_ess_{key}"], numbers[f"nll_codes_{key}"], strict=True)
        text[f"ess, {label}"] = [
            f"{ess:.1f} of {codes:.0f}" if np.isfinite(ess) else MISSING for ess, codes in pairs
        ]
    return text


# ---------------------------------------------------------------- title


def describe_evaluations(
    runs: pd.DataFrame, ranked: pd.DataFrame, evaluations: list[NllEvaluation]
) -> str:
    """What the cells are, how far rankings agree, and what cannot be compared."""
    examples = sorted({e.examples for e in evaluations})
    differ = len(examples) > 1
    left_out = [
        name
        for name in runs.loc[is_other(runs), "group"].unique()
        if name not in set(ranked["group"])
    ]
    sentences = [
        "nll minus plain's (nats, paired by seed, mean ± half-width of the 95 % t-interval) under "
        "several evaluations of the same runs, with the rank in brackets; ess: how many of the "
        "mean number of codes are effective (nll_ess).",
        "K: codes per example."
        if all(e.exact for e in evaluations)
        else "K: codes per example, or with T the most: an example gets as many as bring the "
        "standard error of its nll to about T nats.",
        "N: test examples; evaluations of different N differ in their examples too, so that a "
        "change of rank between them is not due to the codes alone."
        if differ
        else f"All are of {examples[0]:,} test examples.",
        find_largest_change(ranked, evaluations),
        f"Left out, without every evaluation: "
        f"{name_groups(left_out[:MOST_LEFT_OUT], len(left_out))}."
        if left_out
        else "",
    ]
    return " ".join(filter(None, sentences))


def find_largest_change(ranked: pd.DataFrame, evaluations: list[NllEvaluation]) -> str:
    """The group whose rank differs most between two evaluations."""
    differ = len({e.examples for e in evaluations}) > 1
    groups = ranked["group"].tolist()
    largest, sentence = 0.0, f"No rank of these {len(groups)} groups changes."
    for one, other in combinations(evaluations, 2):
        before, after = (ranked[f"rank_{e.key}"].to_numpy(dtype=float) for e in (one, other))
        moves = np.abs(after - before)
        place = int(np.argmax(moves))
        if moves[place] > largest:
            largest = moves[place]
            sentence = (
                f"Largest change of rank: {groups[place]}, from {before[place]:.0f} "
                f"({one.label(differ)}) to {after[place]:.0f} ({other.label(differ)}) "
                f"of {len(groups)}."
            )
    return sentence
