"""The KL of every latent dimension for the page, sorted within each run.

Dimensions of two seeds do not correspond, so that only their ranks can be averaged.
"""

import numpy as np
import pandas as pd

from uncollapse.json_types import JsonObject

DECIMALS = 3
MOST_DIMENSIONS = 128  # of one run; the largest are kept


def describe_dimensions(rows: pd.DataFrame, runs: pd.DataFrame) -> JsonObject:
    """`count`: the dimensions of each run, 0 where the KL does not split over them; `kl`: their KL
    (nats), largest first, without zeros at the end."""
    splits = rows["kl_per_dim"].map(lambda values: len(values) > 1 and np.isfinite(values).all())
    rows = rows[(rows["mode"] == "eval") & splits.astype(bool)]
    by_run = dict(list(rows.groupby("run", sort=False)))
    found = [
        choose_row(by_run[run], kl) if run in by_run else np.empty(0)
        for run, kl in zip(runs["run"].tolist(), runs["kl"].tolist(), strict=True)
    ]
    return {"count": [len(values) for values in found], "kl": [sort_kl(v) for v in found]}


def choose_row(rows: pd.DataFrame, kl: float) -> np.ndarray:
    """The KL of dimensions [D] behind a run's final KL or, without one, of its last evaluation."""
    tests = rows[rows["split"] == "test"]
    if len(tests) and np.isfinite(kl):
        # there is a test row for the weights of every rule
        row = tests.iloc[int((tests["kl"] - kl).abs().to_numpy().argmin())]
    else:
        row = rows.iloc[-1]
    return np.asarray(row["kl_per_dim"], float)


def sort_kl(values: np.ndarray) -> list[float]:
    """The values, largest first, without zeros at the end."""
    ordered = np.sort(values)[::-1][:MOST_DIMENSIONS].round(DECIMALS)
    return [float(value) for value in np.trim_zeros(ordered, "b")]
