"""Which runs a figure of final metrics shows."""

from typing import Any

import pandas as pd

from uncollapse.report.stats import finished
from uncollapse.report.style import MOST_GROUPS, NoFigure


def require_finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished runs. NoFigure where there is none."""
    runs = finished(runs)
    if runs.empty:
        raise NoFigure("no run is finished yet.")
    return runs


def runs_with_metrics(runs: pd.DataFrame, *metrics: str) -> pd.DataFrame:
    """The finished runs that have all of the metrics. NoFigure where there is none."""
    runs = require_finished(runs).dropna(subset=list(metrics))
    if runs.empty:
        raise NoFigure(f"no finished run has {', '.join(metrics[:-1])} and {metrics[-1]}.")
    return runs


def limit_groups(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the first groups, as many as one figure holds."""
    return runs[runs["order"].isin(runs["order"].unique()[:MOST_GROUPS])]


def run_labels(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The columns that every row of a run repeats."""
    columns = ["run", "order", "group", "slot", "crowded", "seed", "status"]
    return runs[columns].to_dict("records")  # type: ignore[return-value]
