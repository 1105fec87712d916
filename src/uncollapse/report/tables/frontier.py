"""The tables of heads at equal information: at equal mi, and at equal gap."""

import numpy as np
import pandas as pd

from uncollapse.metrics.catalogue import METRICS, MISSING
from uncollapse.report.frontier import (
    FEWEST_VALUES,
    INFORMATION_LEVELS,
    equal_information,
    frontier_points,
)
from uncollapse.report.notes import OPEN
from uncollapse.report.ranking import ERROR_RATE
from uncollapse.report.stats import finished
from uncollapse.report.tables import Table
from uncollapse.report.tables.cells import format_cell
from uncollapse.report.text import write_symbols

CARRIES = {
    "mi": "a head's code carries the stated nats of mi",
    "shuffle_gap": "the shuffled-z gap of a head is the stated number of nats",
}


def frontier_table(runs: pd.DataFrame) -> Table:
    """Heads at equal mi, best first; empty unless a head was run at several values."""
    return make_table("frontier", runs, "mi")


def frontier_gap_table(runs: pd.DataFrame) -> Table:
    """Heads at equal gap, best first; empty unless a head was run at several values."""
    return make_table("frontier_gap", runs, "shuffle_gap")


def make_table(name: str, runs: pd.DataFrame, x: str) -> Table:
    """One row per head, or per head and data."""
    points = frontier_points(runs, x)
    if points.empty:
        return Table(name, "", pd.DataFrame(), pd.DataFrame(), optional=True)
    numbers, targets = equal_information(points, x=x)
    opened = [f" {OPEN}" if count else "" for count in numbers["unconverged"]]
    text = pd.DataFrame(
        {
            "head": [f"{name}{mark}" for name, mark in zip(numbers["curve"], opened, strict=True)],
            "n": numbers["n"].astype(str),
            f"span of {METRICS[x].header}": [
                f"{low:.2f} to {high:.2f}"
                for low, high in zip(numbers[f"{x}_min"], numbers[f"{x}_max"], strict=True)
            ],
            **{
                f"at {target:g} nat{'s' * (target != 1)}": format_target(numbers, target)
                for target in targets
            },
            "knob there": format_settings(numbers, targets),
            "slope": [
                format_cell(mean, half, 1, 1, 3, "+")
                for mean, half in zip(numbers["price_mean"], numbers["price_half"], strict=True)
            ],
            "envelope": [names or MISSING for names in numbers["envelope"]],
        }
    )
    title = frontier_title(runs, points, targets, x)
    if any(opened):
        title += f" {OPEN}: some of its runs had not converged."
    return Table(name, title, numbers, text, optional=True)


def frontier_title(runs: pd.DataFrame, points: pd.DataFrame, targets: list[float], x: str) -> str:
    """What the cells are, how ranks and ties are decided, and what is left out."""
    header = METRICS[x].header
    beyond = [f"{target:g}" for target in INFORMATION_LEVELS if target not in targets]
    sentences = [
        f"nll minus plain's (nats, paired by seed) where {CARRIES[x]}, interpolated between runs "
        "of one seed at neighbouring values of the head's knob and never beyond the measured span "
        "(the cheaper passage, where a curve passes the same value twice); "
        "mean ± half-width of the 95 % t-interval over seeds, for each head on its own.",
        f"In brackets the rank at that {header}: heads share a rank unless the first of it is "
        "significantly lower. Tested are all pairs of heads on shared seeds: t-tests whose "
        "variances are shrunk towards that of all pairs (Smyth 2004), with Holm's adjustment, so "
        f"that the chance to separate any two equal heads is about {100 * ERROR_RATE:g} %. A head "
        "with a single seed there has no rank, and pairs without two shared seeds are tied.",
        f"span: the lowest and highest {header} measured.",
        "knob there: the value of the head's knob at each of these amounts, interpolated likewise.",
        f"slope: that of nll over {header} by least squares, nats per nat.",
        f"envelope: where no other head is significantly lower at the same {header}.",
        f"No head reaches {', '.join(beyond)} nats." if beyond else "",
        "Heads are ranked among those of the same data, which is in brackets."
        if points["data_name"].nunique() > 1
        else "",
        describe_points_left_out(runs, points, x),
    ]
    return " ".join(filter(None, sentences))


def describe_points_left_out(runs: pd.DataFrame, points: pd.DataFrame, x: str) -> str:
    """How many finished runs, other than plain's, are on no curve, and why; '' if none."""
    others = finished(runs)
    others = others[others["head"] != "plain"]
    count = len(others) - len(points)
    if not count:
        return ""
    saturated = ", have a saturated mi" if x == "mi" else ""
    return (
        f"{count} finished run{'s' * (count > 1)} left out, which lack nll, {METRICS[x].header} or "
        f"a plain run to compare with{saturated}, or belong to a head with fewer than "
        f"{FEWEST_VALUES} values of its knob."
    )


def format_settings(numbers: pd.DataFrame, targets: list[float]) -> list[str]:
    """'τ: 0.1, 0.22, 0.42, –': the knob of each curve at the targets."""
    columns = [f"knob_at_{target:g}" for target in targets]
    rows = zip(numbers["knob"], numbers[columns].to_numpy(dtype=float).tolist(), strict=True)
    return [
        f"{write_symbols(knob)}: "
        + ", ".join(f"{value:.2g}" if np.isfinite(value) else MISSING for value in values)
        if np.isfinite(values).any()
        else MISSING
        for knob, values in rows
    ]


def format_target(numbers: pd.DataFrame, target: float) -> list[str]:
    """'+0.12 ± 0.05 (n=2) [1]'."""
    name = f"d_nll_at_{target:g}"
    columns = [f"{name}_mean", f"{name}_half", f"{name}_n", "n", f"rank_at_{target:g}"]
    return [
        format_cell(mean, half, count, n, 2, "+") + (f" [{rank:.0f}]" if np.isfinite(rank) else "")
        for mean, half, count, n, rank in numbers[columns].to_numpy(dtype=float).tolist()
    ]
