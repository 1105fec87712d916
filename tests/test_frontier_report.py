"""Curves of heads, and their comparison at equal information, from frames made by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from test_report import write_run

from uncollapse.report import main as report
from uncollapse.report.figures.frontier import FRONTIER_FIGURE, mean_frontier
from uncollapse.report.frontier import (
    are_tied,
    equal_information,
    frontier_points,
    interpolate_at,
    price_of_a_nat,
    rank_values,
    values_at,
)
from uncollapse.report.results import read_study
from uncollapse.report.style import NoFigure, figure_style
from uncollapse.report.tables.frontier import frontier_table

SLOPES = {"cheap": 0.1, "same": 0.1, "costly": 0.5}
OFFSETS = (-0.01, 0.0, 0.01)  # of the seeds


def made_points(noise: dict[str, tuple[float, ...]] | None = None) -> pd.DataFrame:
    """Straight lines d_nll = slope mi + offset of the seed, at mi = 0.5, 3 and 6."""
    rows = []
    for order, (curve, slope) in enumerate(SLOPES.items()):
        for seed, offset in enumerate(OFFSETS):
            extra = (noise or {}).get(curve, (0.0,) * 3)[seed]
            for value, mi in enumerate((0.5, 3.0, 6.0)):
                rows.append(
                    {"curve": curve, "head": curve, "order": 3 * order + value, "seed": seed,
                     "mi": mi, "d_nll": slope * mi + offset + extra, "converged": 1.0}
                )  # fmt: skip
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- interpolation


def test_straight_line_is_interpolated_exactly_and_never_extrapolated() -> None:
    x, y = [3.0, 1.0, 2.0], [6.0, 2.0, 4.0]
    assert interpolate_at(x, y, 2.5) == 5 and interpolate_at(x, y, 1) == 2
    assert np.isnan(interpolate_at(x, y, 0.999)) and np.isnan(interpolate_at(x, y, 3.001))
    assert np.isnan(interpolate_at([1.0], [2.0], 1)), "one point is no curve"
    assert interpolate_at([1, 1, 2], [2, 4, 5], 1) == 3


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(-5, 5)), min_size=2, max_size=8),
    st.floats(-1, 11),
)
def test_interpolation_stays_within_its_neighbours(
    points: list[tuple[float, float]], target: float
) -> None:
    x, y = map(list, zip(*points, strict=True))
    found = interpolate_at(x, y, target)
    inside = min(x) <= target <= max(x) and len(set(x)) > 1
    assert np.isnan(found) != inside
    if inside:
        assert min(y) - 1e-9 <= found <= max(y) + 1e-9


# ---------------------------------------------------------------- ranks


def test_values_and_ranks_of_known_lines() -> None:
    numbers, targets = equal_information(made_points())
    assert targets == [1.0, 2.0, 4.0], "no curve reaches 8 nats"
    rows = numbers.set_index("curve")
    for curve, slope in SLOPES.items():
        for target in targets:
            assert rows.loc[curve, f"d_nll_at_{target:g}_mean"] == pytest.approx(slope * target)
        half = scipy_stats.t.ppf(0.975, 2) * np.std(OFFSETS, ddof=1) / 3**0.5
        assert rows.loc[curve, "d_nll_at_4_half"] == pytest.approx(half)
        assert rows.loc[curve, "price_mean"] == pytest.approx(slope)
    assert rows["rank_at_4"].to_dict() == {"cheap": 1, "same": 1, "costly": 3}
    assert rows["envelope"].to_dict() == {"cheap": "1, 2, 4", "same": "1, 2, 4", "costly": ""}


def test_ties_follow_the_paired_interval() -> None:
    one = pd.Series([0.1, 0.2, 0.3])
    assert are_tied(one, one + pd.Series([0.01, -0.01, 0.005]))
    # a small difference that all seeds share decides, however much the seeds differ
    assert not are_tied(one, one + pd.Series([0.0100, 0.0101, 0.0099]))
    assert are_tied(one[:1], one[:1] + 5), "one seed decides nothing"
    assert are_tied(one.iloc[:1], one.iloc[2:]), "nor do different seeds"
    ranks = rank_values({"a": one, "b": one + 0.001, "c": one + pd.Series([0.01, 0.0101, 0.0102])})
    assert ranks["a"] == 1 and ranks["c"] > 1


def test_seeds_whose_span_ends_earlier_do_not_count() -> None:
    points = made_points()
    short = points[~((points["seed"] == 0) & (points["mi"] == 6))]
    assert len(values_at(short, 4.0)["cheap"]) == 2 and len(values_at(short, 2.0)["cheap"]) == 3
    assert price_of_a_nat(short[short["curve"] == "costly"]).to_numpy() == pytest.approx(0.5)


def test_band_is_the_interval_over_seeds() -> None:
    group = made_points().query("curve == 'costly'")
    x, mean, half = mean_frontier(group)
    assert mean == pytest.approx(0.5 * x)
    assert half == pytest.approx(scipy_stats.t.ppf(0.975, 2) * 0.01 / 3**0.5)


# ---------------------------------------------------------------- a study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """plain, and both tau heads at three values."""
    folder = tmp_path_factory.mktemp("frontier") / "s"
    for seed in (0, 1):
        write_run(folder, "plain", seed, evaluated=True)
        for head in ("bn_tau", "rms_tau"):
            for tau in (0.1, 0.3, 0.5):
                final = {"mi": 10 * tau + 0.01 * seed, "mi_saturated": False}
                write_run(folder, head, seed, overrides=f"tau={tau}", evaluated=True, final=final)
    return folder


def test_study_gets_table_figure_and_section(study: Path, no_figures: None) -> None:
    runs = read_study(study).runs
    points = frontier_points(runs)
    assert set(points["head"]) == {"bn_tau", "rms_tau"} and points["d_nll"].notna().all()
    table = frontier_table(runs)
    assert len(table.text) == 2 and table.text.columns[0] == "head"
    assert report([str(study)]) == 0
    assert "Equal information" in (study / "report/index.html").read_text()
    assert (study / "report/tables/frontier.csv").exists()


def test_figure_has_a_panel_for_each_head(study: Path) -> None:
    with figure_style():
        figure = FRONTIER_FIGURE.draw(read_study(study).runs)
    shown = [ax.get_title() for ax in figure.axes if ax.axison]
    assert shown == ["BN on mu and sigma", "BN on mu, RMS on sigma"]
    assert "n = 2 seeds per group" in FRONTIER_FIGURE.describe(read_study(study).runs)


def test_study_of_single_settings_has_no_frontier(tmp_path: Path) -> None:
    for head in ("plain", "bn_mu"):
        write_run(tmp_path / "s", head, 0, evaluated=True)
    runs = read_study(tmp_path / "s").runs
    assert frontier_table(runs).text.empty
    with pytest.raises(NoFigure, match="at 3 values of its knob"):
        FRONTIER_FIGURE.draw(runs)
