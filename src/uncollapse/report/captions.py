"""What each figure shows: how many seeds, which interval, what is left out. The figure's frame in, one string out."""

import pandas as pd

from .curves import MOST_MAPS, TOGETHER, mapped_runs, validation
from .finals import MOST_MOMENTS, moment_runs, tau_series
from .plane import exact
from .stats import finished
from .style import MOST_GROUPS

ENDS = {"unfinished": "open circle", "failed": "cross"}
INTERVAL = "95 % t-interval (none at n = 1)"


def kl_over_steps(rows: pd.DataFrame) -> str:
    floors = " Dashed: the batch-mean KL that the remedy promises (floor)." if rows["floor"].notna().any() else ""
    return (
        f"Validation KL in evaluation mode against training step. {curve_text(validation(rows, 'kl'))}{floors} "
        "The axis is linear below 0.1 nats and logarithmic above."
    )


def learning_curves(rows: pd.DataFrame) -> str:
    rows = validation(rows, "nelbo")
    oracle = rows["oracle_valid"].dropna().unique()
    line = f" Dotted: the exact mean -log p of the validation split, {oracle[0]:.2f} nats." if len(oracle) == 1 else ""
    return (
        f"Validation nelbo (rec + kl, weight 1) against training step. {curve_text(rows)}{line} "
        "The first fifth of training is cut off where it lies above the axis."
    )


def kl_per_dim(rows: pd.DataFrame) -> str:
    shown, groups = mapped_runs(rows), rows["order"].nunique()
    seeds = ", ".join(map(str, sorted({int(run["seed"].iloc[0]) for run in shown})))
    cut = f" {len(shown)} of {groups} groups are shown: the first {MOST_MAPS} whose KL splits over dimensions."
    return (
        "Validation KL of every latent dimension over training, evaluation mode, sorted by the last value. "
        f"The first seed of each group (n = 1 run per panel, seed {seeds}), so no interval. "
        f"The colour scale is shared and follows the square root.{cut if len(shown) < groups else ''}"
    )


def usage(runs: pd.DataFrame) -> str:
    return (
        f"Active units and shuffled-z gap on test. Points: seeds ({seeds_text(runs)}); bar: mean and {INTERVAL}. "
        "Batch-norm heads reach au = d (dotted) by construction, since the variance of mu is gamma² whatever the "
        "decoder does with z; the gap is the honest test: 0 exactly when the decoder ignores z."
        + not_shown(finished(runs)["order"].nunique())
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
    rest = f" Small grey points: the groups after the first {MOST_GROUPS}." if groups > MOST_GROUPS else ""
    line = (
        f" Black dashes: rec + kl = {bound:.2f} nats ({name}); no model is below it, but for chance in one test sample."
        if name
        else ""
    )
    return (
        f"Distortion against rate on test, evaluation mode. One point per run ({seeds_text(runs)}), so no interval; "
        f"numbered discs point to group means. Grey: lines of equal nelbo, with their values.{line}{rest}"
        + left_out(runs)
    )


def moments(runs: pd.DataFrame) -> str:
    shown, groups = moment_runs(runs), finished(runs)["order"].nunique()
    cut = f" {len(shown)} of {groups} groups are shown: the first {MOST_MOMENTS} that recorded moments in both modes."
    seeds = ", ".join(map(str, sorted(shown["seed"].unique())))
    return (
        "Moments of the posterior over the test split, per latent dimension. If the aggregate posterior is to match "
        "N(0, 1), E[mu] is 0 and E[mu²] + E[sigma²] is 1; the tau heads hold both by construction in training mode. "
        f"First finished seed of each group (n = 1 run per row, seed {seeds}), so no interval."
        f"{cut if len(shown) < groups else ''}{left_out(runs)}"
    )


def train_vs_eval(runs: pd.DataFrame) -> str:
    return (
        f"Test KL in training mode (open) and in evaluation mode (filled), one pair per run ({seeds_text(runs)}), "
        "so no interval. The two differ where a head uses batch statistics or a part acts in training only. "
        "The axis is linear below 0.1 nats." + not_shown(finished(runs)["order"].nunique()) + left_out(runs)
    )


# ---- parts ----------------------------------------------------------------------------------------------------------


def curve_text(rows: pd.DataFrame) -> str:
    """What the lines are, how many seeds they hold, and which runs are not at their end."""
    runs = rows.drop_duplicates("run")
    count, groups = runs["status"].value_counts(), runs["order"].nunique()
    ends = [f"{count[status]} {status} ({mark})" for status, mark in ENDS.items() if status in count]
    parts = [
        f"Thick: mean over the finished seeds ({seeds_text(runs)}); thin: every seed, so no interval is drawn.",
        f"Thin dashes are runs without an end: {', '.join(ends)}." if ends else "",
        "The means of the other groups are grey." if groups > TOGETHER else "",
    ]
    return " ".join(filter(None, parts)) + not_shown(groups)


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
    return f" Only the first {MOST_GROUPS} of {groups} groups are shown; the tables hold all." * (groups > MOST_GROUPS)


def left_out(runs: pd.DataFrame) -> str:
    """Which runs are too young or too dead for final metrics."""
    count = runs["status"].value_counts()
    missing = [f"{count[status]} {status}" for status in ENDS if status in count]
    return f" Runs left out: {', '.join(missing)}." if missing else ""
