"""The KL of every latent dimension for the page, sorted within each run.

Dimensions of two seeds do not correspond, so that only their ranks can be averaged.
"""

import numpy as np
import pandas as pd

from uncollapse.json_types import JsonObject

DECIMALS = 3
MOST_BARS = 128  # of one run; the largest are kept


def encode_dimensions(rows: pd.DataFrame, runs: pd.DataFrame) -> JsonObject:
    """`count`: the dimensions of each run, 0 where the KL does not split over them; `kl`: their KL
    (nats), largest first, without zeros at the end."""
    splits = rows["kl_per_dim"].map(lambda values: len(values) > 1 and np.isfinite(values).all())
    finals = dict(zip(runs["run"].tolist(), runs["kl"].tolist(), strict=True))
    chosen = choose_dimension_rows(rows[(rows["mode"] == "eval") & splits.astype(bool)], finals)
    found = [chosen.get(run, np.empty(0)) for run in finals]
    return {"count": [len(values) for values in found], "kl": [sort_kl(v) for v in found]}


def choose_dimension_rows(rows: pd.DataFrame, finals: dict[int, float]) -> dict[int, np.ndarray]:
    """The KL of dimensions [D] behind each run's final KL or, without one, of its last evaluation.

    There is a test row for the weights of every rule, and only their KL tells them apart.
    """
    found: dict[int, tuple[float, np.ndarray]] = {}
    columns = (rows[name].tolist() for name in ("run", "split", "kl", "kl_per_dim"))
    for run, split, kl, values in zip(*columns, strict=True):
        far = abs(kl - finals[run]) if split == "test" else np.inf
        far = far if np.isfinite(far) else np.inf
        if run not in found or far < found[run][0] or far == found[run][0] == np.inf:
            found[run] = far, np.asarray(values, float)
    return {run: values for run, (_, values) in found.items()}


def sort_kl(values: np.ndarray) -> list[float]:
    """The values, largest first, without zeros at the end."""
    ordered = np.sort(values)[::-1][:MOST_BARS].round(DECIMALS)
    return [float(value) for value in np.trim_zeros(ordered, "b")]
