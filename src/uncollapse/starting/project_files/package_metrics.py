"""Metrics of your own: a function, and a row of the catalogue that says what it is."""

import numpy as np

from uncollapse.json_types import JsonObject
from uncollapse.metrics import catalogue
from uncollapse.metrics.base import Pass
from uncollapse.metrics.metric import PASS, Metric


def largest_mean(seen: Pass) -> JsonObject:
    """The largest norm of a posterior mean, [N, D] -> a number."""
    return {"largest_mean": float(np.linalg.norm(seen.mean, axis=1).max())}


catalogue.add(
    Metric(
        name="largest_mean",
        stage=PASS,
        function=largest_mean,
        unit="length",
        meaning="The largest norm of a posterior mean.",
        pitfall="It grows with the number of examples.",
        column=151,
    )
)
