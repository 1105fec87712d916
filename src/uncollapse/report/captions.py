"""What each figure shows: how many seeds, which interval, what is left out. The figure's frame in, one string out."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from .codes import SATURATED, collapse_rows, probe_rows
from .curves import TOGETHER, far_above, heat_map, map_top, mapped_runs, validation
from .finals import MOST_MOMENTS, costs, measured, moment_runs, tau_series
from .notes import bound_note, caption_note
from .plane import ceilings, exact
from .stats import finished, outlying
from .style import MOST_GROUPS, crowded

ENDS = {"unfinished": "open circle", "failed": "cross"}
INTERVAL = "95 % t-interval (none at n = 1; cut where it leaves the panel)"


def kl_over_steps(rows: pd.DataFrame) -> str:
    floors = (
        " Dashed: the batch-mean KL that the remedy promises (floor)."
        if rows["floor"].notna().any()
        else ""
    )
    return (
        f"Validation KL in evaluation mode against training step. {curve_text(validation(rows, 'kl'))}{floors} "
        "The axis is linear below 0.1 nats and logarithmic above."
    )


def learning_curves(rows: pd.DataFrame) -> str:
    rows = validation(rows, "nelbo")
    oracle = rows["oracle_valid"].dropna().unique()
    line = (
        f" Dotted: the exact mean -log p of the validation split, {oracle[0]:.2f} nats."
        if len(oracle) == 1
        else ""
    )
    return (
        f"Validation nelbo (rec + kl, weight 1) against training step. {curve_text(rows)}{line} "
        "The first fifth of training is cut off where it lies above the axis."
        + " ↑: runs far above all others are cut off too; the number is the mean of their last values."
        * bool(far_above(rows))
    )


def kl_per_dim(rows: pd.DataFrame) -> str:
    shown, groups = mapped_runs(rows), rows["order"].nunique()
    clipped = map_top([(int(run["order"].iloc[0]), np.nanmax(heat_map(run)[1])) for run in shown])[
        1
    ]
    seeds = ", ".join(map(str, sorted({int(run["seed"].iloc[0]) for run in shown})))
    cut = f" {len(shown)} of {groups} groups are shown: those whose KL splits over dimensions, at most the first {MOST_GROUPS}."
    return (
        "Validation KL of every latent dimension over training, evaluation mode, sorted by the last value. "
        f"The first seed of each group (n = 1 run per panel, seed {seeds}), so no interval. "
        "The colour scale is shared and follows the square root"
        f"{'; it ends below runs with a far higher KL' * clipped}.{cut if len(shown) < groups else ''}"
    )


def usage(runs: pd.DataFrame) -> str:
    return (
        f"Active units and shuffled-z gap on test. Points: seeds ({seeds_text(runs)}); bar: mean and {INTERVAL}. "
        "Batch-norm heads reach au = d (dotted) by construction, since the variance of mu is gamma² whatever the "
        "decoder does with z; the gap is the honest test: 0 exactly when the decoder ignores z."
        + by_slot(runs, "the gap")
        + at_edge(finished(runs), "shuffle_gap")
        + not_shown(finished(runs)["order"].nunique())
        + left_out(runs)
    )


def cost(runs: pd.DataFrame) -> str:
    shown = costs(runs)
    return (
        "What a remedy costs. Left: nll on test minus plain's at the same seed; below 0 it models the data better. Right: "
        f"seconds per step over plain's mean. Points: seeds ({seeds_text(shown)}); bar: mean and {INTERVAL}; on the left "
        "the interval is of the paired differences. Runs that shared a machine with others are slowed unequally."
        + by_slot(shown, "the difference, lowest on top")
        + at_edge(shown, "d_nll")
        + not_shown(shown["order"].nunique())
        + lacking(runs[runs["head"] != "plain"], shown, "a plain run of their seed with nll")
        + bound_note(finished(runs))
        + left_out(runs)
    )


def cost_benefit(runs: pd.DataFrame) -> str:
    shown = costs(runs).dropna(subset=["shuffle_gap"])
    return (
        "nll on test minus plain's at the same seed, against how much the decoder loses with the code of another example. "
        "Right and low is good: a code that is used, at no cost in likelihood. Above the line the code costs likelihood. "
        f"Points: seeds ({seeds_text(shown)}); crosses: means and 95 % t-intervals (none at n = 1, cut at the frame), "
        "vertical ones of the paired differences. The horizontal axis is linear below 0.1 nats and logarithmic above."
        + by_slot(shown)
        + at_edge(shown, "d_nll")
        + lacking(runs[runs["head"] != "plain"], shown, "a plain run of their seed with nll")
        + bound_note(finished(runs))
        + left_out(runs)
    )


def tau_grid(runs: pd.DataFrame) -> str:
    series = pd.concat([group for _, group in tau_series(runs)])
    counts = series.groupby("order").size()
    return (
        f"Test KL, rec and shuffled-z gap against tau. Points: seeds (n = {span(counts)} per setting); bars: mean and "
        f"{INTERVAL}. Grey dashes: the floor that holds for every theta. Heads are shifted sideways a little so that "
        "bars do not overlap." + left_out(runs)
    )


def rate_distortion(runs: pd.DataFrame) -> str:
    bound, name = exact(finished(runs))
    groups = finished(runs)["order"].nunique()
    rest = (
        f" Small grey points: the groups after the first {MOST_GROUPS}."
        if groups > MOST_GROUPS
        else ""
    )
    names = "names" if crowded(runs) else "numbered discs"
    line = (
        f" Black dashes: rec + kl = {bound:.2f} nats ({name}); no model is below it, but for chance in one test sample."
        if name
        else ""
    )
    return (
        f"Distortion against rate on test, evaluation mode. One point per run ({seeds_text(runs)}), so no interval; "
        f"{names} point to group means. Grey: lines of equal nelbo, with their values.{line}{rest}"
        + by_slot(runs)
        + at_edge(finished(runs), "kl", "rec")
        + left_out(runs)
    )


def mi_vs_kl(runs: pd.DataFrame) -> str:
    shown = measured(runs, "mi", "kl")
    groups = shown["order"].nunique()
    names = "Names" if crowded(runs) else "Numbered discs"
    rest = (
        f" Small grey points: the groups after the first {MOST_GROUPS}."
        if groups > MOST_GROUPS
        else ""
    )
    line = (
        " Grey dashes: the ceiling ln N of an estimate with N examples (an arrow where it is far above all points); "
        "a point within 0.5 nats of it is a lower bound."
        if ceilings(shown)
        else ""
    )
    return (
        f"Mutual information of x and z against rate on test. One point per run ({seeds_text(shown)}), so no interval "
        f"over seeds; thin bars: 1.96 standard errors over examples. {names} point to group means. Black line: "
        f"mi = kl; no model lies above, but for noise of the estimate.{line} The distance below the line is the KL "
        "of the aggregate posterior from the prior: rate that tells nothing of x."
        f"{rest}{by_slot(runs)}{at_edge(shown, 'kl')}{lacking(runs, shown, 'mi')}{left_out(runs)}"
    )


def collapse_curves(runs: pd.DataFrame) -> str:
    rows = collapse_rows(runs)
    deltas = rows["delta"].dropna().unique()
    share = f"at least {100 * (1 - deltas[0]):g} %" if len(deltas) == 1 else "nearly all"
    return (
        f"Share of latent dimensions whose KL is below eps for {share} of the test examples. A curve that is 1 from "
        "the left on has collapsed; one that leaves 0 in a step spreads its rate evenly; a plateau is the share of "
        f"dimensions that are switched off. {curve_text(rows)}{lacking(runs, rows, 'the curve')}{left_out(runs)}"
    )


def probe(runs: pd.DataFrame) -> str:
    rows = probe_rows(runs)
    seeds = seeds_text(rows.drop_duplicates("run"))
    if crowded(rows):
        return probe_text(
            runs,
            "Accuracy, mean over the factors, against the number of labelled examples. Thick: means over the finished seeds "
            f"({seeds}); thin: every seed, so no interval is drawn. The means of the other groups are grey.",
        )
    thin = "points" if rows["order"].nunique() > TOGETHER else "thin, with points"
    return probe_text(
        runs,
        f"Accuracy against the number of labelled examples. Lines: means over the finished seeds ({seeds}); {thin}: every "
        "seed, so no interval is drawn.",
    )


def probe_final(runs: pd.DataFrame) -> str:
    rows = probe_rows(runs)
    most = short_list(rows["step"].max() for _, rows in rows.groupby("run"))
    seeds = seeds_text(rows.drop_duplicates("run"))
    return probe_text(
        runs,
        f"Accuracy at the largest number of labels ({most}), one column per factor. Points: seeds ({seeds}); bar: mean and "
        f"{INTERVAL}.{by_slot(rows, 'the mean over factors')}",
    )


def probe_text(runs: pd.DataFrame, shown: str) -> str:
    rows = probe_rows(runs)
    chance = " Dotted: always guessing the commonest class." if rows["chance"].notna().any() else ""
    oracle = (
        " Dashed: the best that any classifier of x can do." if rows["oracle"].notna().any() else ""
    )
    return (
        f"A linear classifier on the posterior mean of test examples, encoder frozen. {shown}{chance}{oracle} "
        "It reads mu without noise: also a code that the decoder ignores may be above chance."
        f"{not_shown(rows['order'].nunique())}{lacking(runs, rows, 'probe curves')}{left_out(runs)}"
    )


def rate_parts(runs: pd.DataFrame) -> str:
    shown = measured(runs, "mi", "marginal_kl", "kl")
    split = shown[["total_correlation", "dimension_kl"]].notna().all(axis=1)
    whole = (
        ""
        if split.all()
        else " Where the posterior does not split over dimensions, the marginal KL is one part."
    )
    star = (
        f"{SATURATED[1:]}: the mi of a seed is saturated at its ceiling ln N, and total correlation is over-stated by "
        "as much as mi is under-stated. "
        if (shown["mi_saturated"] == 1).any()
        else ""
    )
    return (
        "kl = mi + total correlation + sum of KL(q(z_j) || p(z_j)) on test: what z tells of x, what the dimensions "
        "tell of each other, and how far each is from its prior. Bars: means over seeds; points: the kl of every seed "
        f"({seeds_text(shown)}), so no interval is drawn. Parts that Monte Carlo noise made negative are drawn as 0: "
        f"a bar may end a little beyond its kl.{whole} {star}".rstrip()
        + (" Groups are sorted by kl." if crowded(runs) else "")
        + at_edge(shown, "kl")
        + not_shown(shown["order"].nunique())
        + lacking(runs, shown, "these parts")
        + left_out(runs)
    )


def moments(runs: pd.DataFrame) -> str:
    shown, groups = moment_runs(runs), finished(runs)["order"].nunique()
    cut = f" {len(shown)} of {groups} groups are shown: those with moments of both modes, at most the first {MOST_GROUPS}."
    small = " One panel per group: evaluation mode, and the sum in training mode as a line; ↑: values above the axis."
    seeds = ", ".join(map(str, sorted(shown["seed"].unique())))
    return (
        "Moments of the posterior over the test split, per latent dimension. If the aggregate posterior is to match "
        "N(0, 1), E[mu] is 0 and E[mu²] + E[sigma²] is 1; the tau heads hold both by construction in training mode. "
        f"First finished seed of each group (n = 1 run per group, seed {seeds}), so no interval."
        f"{small if len(shown) > MOST_MOMENTS else ''}{cut if len(shown) < groups else ''}{left_out(runs)}"
    )


def train_vs_eval(runs: pd.DataFrame) -> str:
    return (
        f"Test KL in training mode (open) and in evaluation mode (filled), one pair per run ({seeds_text(runs)}), "
        "so no interval. The two differ where a head uses batch statistics or a part acts in training only. "
        "The axis is linear below 0.1 nats."
        + by_slot(runs, "the KL of evaluation mode")
        + not_shown(finished(runs)["order"].nunique())
        + left_out(runs)
    )


# ---- parts ----------------------------------------------------------------------------------------------------------


def curve_text(rows: pd.DataFrame) -> str:
    """What the lines are, how many seeds they hold, and which runs are not at their end."""
    runs = rows.drop_duplicates("run")
    count, groups = runs["status"].value_counts(), runs["order"].nunique()
    ends = [
        f"{count[status]} {status} ({mark})" for status, mark in ENDS.items() if status in count
    ]
    parts = [
        f"Thick: mean over the finished seeds ({seeds_text(runs)}); thin: every seed, so no interval is drawn.",
        f"Thin dashes are runs without an end: {', '.join(ends)}." if ends else "",
        "The means of the other groups are grey." if groups > TOGETHER else "",
        "Colours say which slot of the config a head changes." if crowded(rows) else "",
    ]
    return " ".join(filter(None, parts)) + not_shown(groups)


def by_slot(frame: pd.DataFrame, by: str = "") -> str:
    """What colour, marker and order say in a crowd."""
    if not crowded(frame):
        return ""
    order = f"; groups are sorted by {by}" if by else ""
    return f" Colour and marker say which slot of the config a head changes{order}."


def at_edge(runs: pd.DataFrame, *metrics: str) -> str:
    """That some runs are drawn at the edge, where there are some."""
    far = any(outlying(runs, metric).any() for metric in metrics)
    return " Arrows at an edge: groups far from all others, with their means." * far


def seeds_text(runs: pd.DataFrame) -> str:
    """'n = 3 seeds per group' or 'n = 1 to 3 seeds per group', over finished runs."""
    counts = finished(runs).groupby("order").size()
    if counts.empty:
        return "n = 0 finished runs"
    return f"n = {span(counts)} {'seed' if counts.max() == 1 else 'seeds'} per group"


def span(counts: pd.Series) -> str:
    low, high = counts.min(), counts.max()
    return str(low) if low == high else f"{low} to {high}"


def not_shown(groups: int) -> str:
    return f" Only the first {MOST_GROUPS} of {groups} groups are shown; the tables hold all." * (
        groups > MOST_GROUPS
    )


def short_list(values: Iterable[float]) -> str:
    """'10,000', or '500, 10,000': each value once."""
    return ", ".join(f"{value:,.0f}" for value in sorted(set(values)))


def lacking(runs: pd.DataFrame, shown: pd.DataFrame, what: str) -> str:
    """How many finished runs are not shown, as they were made or evaluated without what the figure needs."""
    count = len(finished(runs)) - shown["run"].nunique()
    return (
        f" {count} finished run{'s' if count > 1 else ''} without {what} left out." if count else ""
    )


def left_out(runs: pd.DataFrame) -> str:
    """Which runs are too young or too dead for final metrics; and of which weights the metrics are, as every such caption must say."""
    count = runs["status"].value_counts()
    missing = [f"{count[status]} {status}" for status in ENDS if status in count]
    return (f" Runs left out: {', '.join(missing)}." if missing else "") + caption_note(runs)
