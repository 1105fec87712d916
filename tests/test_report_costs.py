"""What a report of many runs must not do twice, and shortcuts that must not change a result."""

import gc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_page_views import write_frontier

from uncollapse.report import frontier
from uncollapse.report.frontier import values_at, values_at_levels
from uncollapse.report.page import build_page
from uncollapse.report.results import paused_collection
from uncollapse.report.stats import once_per_frame, summarise
from uncollapse.report.tables import summary
from uncollapse.runs.json_values import has_suspect_number, parse_json


def test_results_are_kept_while_their_frame_lives() -> None:
    asked = []

    @once_per_frame
    def add_up(frame: pd.DataFrame, factor: int = 1) -> int:
        asked.append(factor)
        return factor * int(frame["x"].sum())

    one, other = (pd.DataFrame({"x": values}) for values in ([1, 2], [10]))
    assert [add_up(one), add_up(one), add_up(other), add_up(one, 2), add_up(one, factor=3)] == [
        3, 3, 10, 6, 9,
    ]  # fmt: skip
    assert asked == [1, 1, 2, 3]
    del one
    # frames that come and go must never get each other's results, whatever their address
    for value in range(100):
        assert add_up(pd.DataFrame({"x": [value]})) == value


def test_page_computes_summary_and_frontiers_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_frontier(tmp_path / "s").folder
    counts = {"numbers": 0, "curves": 0}

    def count(name: str, compute):
        def counted(*args, **options):
            counts[name] += 1
            return compute(*args, **options)

        return counted

    monkeypatch.setattr(summary, "summary_numbers", count("numbers", summary.summary_numbers))
    monkeypatch.setattr(frontier, "name_curves", count("curves", frontier.name_curves))
    assert b"BN" in build_page(study)
    # frontiers over mi, gap and kl, each named with and without data
    assert counts == {"numbers": 1, "curves": 6}


def test_groups_are_summarised_over_finished_runs() -> None:
    runs = pd.DataFrame(
        {
            "order": [1, 0, 1, 0, 2, 1],
            "status": ["done", "done", "done", "failed", "failed", "done"],
            "mi": [1.0, 5.0, np.nan, 9.0, 3.0, 3.0],
        },
        index=[7, 3, 5, 1, 2, 9],
    )
    found = summarise(runs, ["mi"])
    assert found.index.tolist() == [0, 1, 2]
    assert found["mi_n"].tolist() == [1, 2, 0]
    assert found["mi_mean"].tolist()[:2] == [5.0, 2.0] and np.isnan(found["mi_mean"][2])
    # 12.706 standard errors
    assert found["mi_half"][1] == pytest.approx(12.706, abs=1e-3) and np.isnan(found["mi_half"][0])


def test_several_levels_are_interpolated_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    points = pd.DataFrame(
        {
            "curve": np.repeat(["a", "b"], 12),
            "seed": np.tile([0, 1, 2], 8),
            "order": np.repeat(np.arange(8), 3),
            "mi": rng.uniform(0, 9, 24),
            "d_nll": rng.normal(size=24),
        }
    )
    together = values_at_levels(points)
    assert sum(map(len, together.values())) > 4
    for level, curves in together.items():
        alone = values_at(points, level)
        assert curves.keys() == alone.keys()
        for name, values in curves.items():
            pd.testing.assert_series_equal(values, alone[name], check_exact=True)


@pytest.mark.parametrize(
    "text", ["1e400", "[-1.5E+999]", '{"a": 2e308}', '{"a":[0,12.5e999]}', "NaN", "[-Infinity]"]
)
def test_numbers_beyond_floats_are_found(text: str) -> None:
    assert has_suspect_number(text.encode())
    value, count = parse_json(text.encode())
    assert count == 1 and "inf" not in str(value)


@pytest.mark.parametrize(
    "text", ['{"commit": "4e1290c7e400a1"}', '"1e999 is a word"', "[1e30, -2.5e-300]"]
)
def test_digests_are_no_such_numbers(text: str) -> None:
    assert not has_suspect_number(text.encode()) and parse_json(text.encode())[1] == 0


def test_collection_is_as_before() -> None:
    for was_enabled in (False, True):
        (gc.enable if was_enabled else gc.disable)()
        try:
            with pytest.raises(KeyError), paused_collection():
                assert not gc.isenabled()
                raise KeyError
            assert gc.isenabled() == was_enabled
        finally:
            gc.enable()
