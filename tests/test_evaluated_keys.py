"""A new evaluation replaces the numbers of an earlier one, also of metrics from outside."""

import pytest

from uncollapse.metrics import catalogue
from uncollapse.metrics.metric import NLL, Metric
from uncollapse.runs.results import join_results


def test_a_metric_from_outside_is_not_kept_from_an_earlier_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metric = Metric(name="tightness", stage=NLL, meaning="A test.", function=lambda: {})
    monkeypatch.setitem(catalogue.METRICS, "tightness", metric)
    summary = join_results({"kl": 1.0}, {"test-nll": {"tightness": 1.0}})
    assert summary["tightness"] == 1.0
    assert join_results(summary, {"test-nll": {"tightness": 2.0}})["tightness"] == 2.0
    assert "tightness" not in join_results(summary, {"test-probe": {"probe": 0.5}})
