"""The table of heads at equal information."""

import numpy as np
import pandas as pd

from uncollapse.metrics.catalogue import MISSING
from uncollapse.report.frontier import FEWEST_VALUES, equal_information, frontier_points
from uncollapse.report.notes import OPEN
from uncollapse.report.tables import Table
from uncollapse.report.tables.cells import format_cell

FRONTIER_TITLE = (
    "Heads at equal information: nll minus plain's (nats, paired by seed) where a head's code "
    "carries the stated nats of mi, interpolated between runs of one seed at neighbouring values "
    "of its knob and never beyond the measured span; mean ± half-width of the 95 % t-interval over "
    "seeds. In brackets the rank at that mi; heads share a rank if the paired interval to the "
    "first of it includes 0. span: the lowest and highest mi measured. price: the slope of nll "
    "over mi, nats per nat. envelope: the mi at which the head is first or tied with it. Heads "
    f"with fewer than {FEWEST_VALUES} values, and runs with a saturated mi, are left out."
)


def frontier_table(runs: pd.DataFrame) -> Table:
    """One row per head, best first; empty unless a head was run at several values."""
    points = frontier_points(runs)
    if points.empty:
        return Table("frontier", FRONTIER_TITLE, pd.DataFrame(), pd.DataFrame(), optional=True)
    numbers, targets = equal_information(points)
    means = [f"d_nll_at_{target:g}_mean" for target in targets]
    # by the mean rank over the targets that a head reaches
    ranks = numbers[[f"rank_at_{target:g}" for target in targets]].mean(axis=1)
    numbers = numbers.assign(mean_rank=ranks).sort_values(["mean_rank", *means], ignore_index=True)
    opened = [f" {OPEN}" if count else "" for count in numbers["unconverged"]]
    text = pd.DataFrame(
        {
            "head": [f"{name}{mark}" for name, mark in zip(numbers["curve"], opened, strict=True)],
            "n": numbers["n"].astype(str),
            "span of mi": [
                f"{low:.2f} to {high:.2f}"
                for low, high in zip(numbers["mi_min"], numbers["mi_max"], strict=True)
            ],
            **{
                f"at {target:g} nat{'s' * (target != 1)}": format_target(numbers, target)
                for target in targets
            },
            "price": [
                format_cell(mean, half, 1, 1, 3, "+")
                for mean, half in zip(numbers["price_mean"], numbers["price_half"], strict=True)
            ],
            "envelope": [names or MISSING for names in numbers["envelope"]],
        }
    )
    title = FRONTIER_TITLE
    if any(opened):
        title += f" {OPEN}: some of its runs had not converged."
    return Table("frontier", title, numbers, text, optional=True)


def format_target(numbers: pd.DataFrame, target: float) -> list[str]:
    """'+0.12 ± 0.05 (n=2) [1]'."""
    name = f"d_nll_at_{target:g}"
    columns = [f"{name}_mean", f"{name}_half", f"{name}_n", "n", f"rank_at_{target:g}"]
    return [
        format_cell(mean, half, count, n, 2, "+") + (f" [{rank:.0f}]" if np.isfinite(rank) else "")
        for mean, half, count, n, rank in numbers[columns].to_numpy(dtype=float).tolist()
    ]
