"""Which runs a figure of final metrics shows."""

from typing import Any

import pandas as pd

from uncollapse.report.stats import finished
from uncollapse.report.style import MOST_GROUPS, NoFigure


def require_finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished runs. NoFigure if there are none."""
    runs = finished(runs)
    if runs.empty:
        raise NoFigure("no run is finished yet.")
    return runs


def runs_with_metrics(runs: pd.DataFrame, *metrics: str) -> pd.DataFrame:
    """The finished runs that have all of the metrics. NoFigure if there are none."""
    runs = require_finished(runs).dropna(subset=list(metrics))
    if runs.empty:
        raise NoFigure(f"no finished run has {', '.join(metrics[:-1])} and {metrics[-1]}.")
    return runs


def limit_groups(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the first MOST_GROUPS groups, which one figure can show."""
    return runs[runs["order"].isin(runs["order"].unique()[:MOST_GROUPS])]


def run_labels(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """For each run, the columns that are repeated in every row of it."""
    columns = ["run", "order", "group", "short", "slot", "crowded", "seed", "status"]
    return runs[columns].to_dict("records")  # type: ignore[return-value]
