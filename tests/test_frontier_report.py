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
from uncollapse.report.figures.frontier import (
    FRONTIER_FIGURES,
    FRONTIERS,
    count_beyond,
    frame_limits,
    mean_frontier,
)
from uncollapse.report.figures.frontier_overview import FRONTIER_OVERVIEW_FIGURE, MOST_NAMED_CURVES
from uncollapse.report.frontier import (
    equal_information,
    explain_no_frontier,
    frontier_points,
    interpolate,
    price_of_a_nat,
    values_at,
)
from uncollapse.report.results import read_study
from uncollapse.report.style import NoFigure, figure_style, solve_layout
from uncollapse.report.tables.frontier import format_settings, frontier_gap_table, frontier_table

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
                     "mi": mi, "d_nll": slope * mi + offset + extra, "converged": 1.0,
                     "data_name": "", "knob": "tau", "setting": mi / 10}
                )  # fmt: skip
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- interpolation


def test_straight_line_is_interpolated_exactly_and_never_extrapolated() -> None:
    x, y = [3.0, 1.0, 2.0], [6.0, 2.0, 4.0]
    assert interpolate(x, y, [2.5, 1], True).tolist() == [5, 2]
    assert np.isnan(interpolate(x, y, [0.999, 3.001], True)).all()
    assert np.isnan(interpolate([1.0], [2.0], [1], True)).all(), "one point is no curve"


def test_cheaper_passage_counts_where_a_curve_turns_back() -> None:
    # mi falls again at the last value of the knob, at a higher price
    x, y = [1.0, 3.0, 2.0], [0.0, 2.0, 9.0]
    assert interpolate(x, y, [2.0, 2.5, 3.0], True).tolist() == [1.0, 1.5, 2.0]
    assert interpolate(x, y, [2.0, 2.5, 3.0], False).tolist() == [9.0, 5.5, 2.0]
    assert interpolate([1, 1, 2], [2, 4, 5], [1], True) == 2
    assert interpolate([1, 1, 2], [4, 2, 5], [1], True) == 2


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(-5, 5)), min_size=2, max_size=8),
    st.floats(-1, 11),
)
def test_interpolation_stays_within_its_neighbours(
    points: list[tuple[float, float]], target: float
) -> None:
    x, y = map(list, zip(*points, strict=True))
    (found,) = interpolate(x, y, [target], True)
    inside = min(x) <= target <= max(x)
    assert np.isnan(found) != inside
    if inside:
        assert min(y) - 1e-9 <= found <= max(y) + 1e-9


# ---------------------------------------------------------------- ranks


def test_values_and_ranks_of_known_lines() -> None:
    numbers, targets = equal_information(made_points())
    assert targets == [1.0, 2.0, 4.0, 6.0], "no curve reaches 8 nats"
    rows = numbers.set_index("curve")
    for curve, slope in SLOPES.items():
        for target in targets:
            assert rows.loc[curve, f"d_nll_at_{target:g}_mean"] == pytest.approx(slope * target)
        half = scipy_stats.t.ppf(0.975, 2) * np.std(OFFSETS, ddof=1) / 3**0.5
        assert rows.loc[curve, "d_nll_at_4_half"] == pytest.approx(half)
        assert rows.loc[curve, "price_mean"] == pytest.approx(slope)
    assert rows["rank_at_4"].to_dict() == {"cheap": 1, "same": 1, "costly": 3}
    assert rows["envelope"].to_dict() == {"cheap": "1, 2, 4, 6", "same": "1, 2, 4, 6", "costly": ""}


def test_knob_at_each_level_is_interpolated_and_named() -> None:
    """The knob of these lines is a tenth of mi; the first row is one on the envelope."""
    numbers, targets = equal_information(made_points())
    for target in targets:
        assert numbers[f"knob_at_{target:g}"].to_numpy() == pytest.approx(target / 10)
    points = made_points()
    numbers, targets = equal_information(points[(points["head"] != "same") | (points["mi"] < 6)])
    cells = dict(zip(numbers["curve"], format_settings(numbers, targets), strict=True))
    assert cells["cheap"] == "τ: 0.1, 0.2, 0.4, 0.6" and cells["same"] == "τ: 0.1, 0.2, –, –"


def test_seeds_whose_span_ends_earlier_do_not_count() -> None:
    points = made_points()
    short = points[~((points["seed"] == 0) & (points["mi"] == 6))]
    assert len(values_at(short, 4.0)["cheap"]) == 2 and len(values_at(short, 2.0)["cheap"]) == 3
    assert price_of_a_nat(short[short["curve"] == "costly"]).to_numpy() == pytest.approx(0.5)


def test_price_leaves_out_what_lies_beyond_the_turn() -> None:
    runs = pd.DataFrame({"seed": 0, "mi": [1.0, 3.0, 2.0], "d_nll": [0.1, 0.3, 7.0]})
    assert price_of_a_nat(runs).to_numpy() == pytest.approx(0.1)
    # a run that costs a little more than one with a larger code is kept
    runs["d_nll"] = [0.1, 0.1, 0.16]
    assert price_of_a_nat(runs).to_numpy() == pytest.approx(
        np.polyfit([1, 3, 2], runs["d_nll"], 1)[0]
    )


def test_band_is_the_interval_over_seeds() -> None:
    group = made_points().query("curve == 'costly'")
    x, mean, half = mean_frontier(group)
    assert mean == pytest.approx(0.5 * x)
    assert half == pytest.approx(scipy_stats.t.ppf(0.975, 2) * 0.01 / 3**0.5)


def test_heads_of_different_data_are_not_ranked_together() -> None:
    points = made_points()
    points["data_name"] = points["curve"].map({"cheap": "a", "same": "b", "costly": "b"})
    rows, _ = equal_information(points)
    ranks = rows.set_index("curve")["rank_at_4"]
    assert ranks[["same", "costly"]].tolist() == [1, 2]
    assert np.isnan(ranks["cheap"]), "alone on its data"
    assert rows["data"].tolist() == ["a", "b", "b"]


def test_levels_can_be_those_of_the_gap() -> None:
    points = made_points().assign(shuffle_gap=lambda frame: 2 * frame["mi"], mi=np.nan)
    rows, targets = equal_information(points, x="shuffle_gap")
    assert targets == [1.0, 2.0, 4.0, 6.0, 8.0]
    costly = rows.set_index("curve").loc["costly"]
    assert costly["d_nll_at_8_mean"] == pytest.approx(2) and costly["shuffle_gap_max"] == 12
    assert costly["price_mean"] == pytest.approx(0.25)


def test_curves_below_every_level_are_listed_with_their_span() -> None:
    rows, targets = equal_information(made_points().assign(mi=lambda frame: frame["mi"] / 10))
    assert not targets and rows["mi_max"].tolist() == [0.6] * 3
    assert rows["envelope"].tolist() == [""] * 3


def test_single_seeds_have_no_rank() -> None:
    """One seed of `cheap` reaches 4 nats: it is neither first nor on the envelope there."""
    points = made_points()
    short = points[~((points["curve"] == "cheap") & (points["seed"] > 0) & (points["mi"] == 6))]
    rows = equal_information(short)[0].set_index("curve")
    assert rows.loc["cheap", "d_nll_at_4_n"] == 1 and np.isnan(rows.loc["cheap", "rank_at_4"])
    assert rows.loc["same", "rank_at_4"] == 1 and rows.loc["cheap", "envelope"] == "1, 2"


# ---------------------------------------------------------------- a study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """plain, and both tau heads at three values."""
    folder = tmp_path_factory.mktemp("frontier") / "s"
    for seed in (0, 1):
        write_run(folder, "plain", seed, evaluated=True, evaluations=2)
        for head in ("bn_tau", "rms_tau"):
            for tau in (0.1, 0.3, 0.5):
                final = {"mi": 10 * tau + 0.01 * seed, "mi_saturated": False}
                more = {"evaluated": True, "final": final, "evaluations": 2}
                write_run(folder, head, seed, overrides=f"tau={tau}", **more)
    return folder


@pytest.fixture(scope="module")
def runs(study: Path) -> pd.DataFrame:
    return read_study(study).runs


def test_study_gets_tables_and_sections(study: Path, runs: pd.DataFrame, no_figures: None) -> None:
    points = frontier_points(runs)
    assert set(points["head"]) == {"bn_tau", "rms_tau"} and points["d_nll"].notna().all()
    table = frontier_table(runs)
    assert len(table.text) == 2 and table.text.columns[0] == "head"
    assert "Holm" in table.title and "No head reaches 6, 8 nats." in table.title
    assert "span of gap" in frontier_gap_table(runs).text
    assert report([str(study)]) == 0
    page = (study / "report/index.html").read_text()
    titles = [
        "Remedies and their settings",
        "Equal information",
        "Difference from plain",
        "Equal gap",
    ]
    places = [page.index(f">{title}</h2>") for title in titles]
    assert places == sorted(places)
    for name in ("frontier", "frontier_gap"):
        assert (study / f"report/tables/{name}.csv").exists()


def test_every_figure_has_a_panel_for_each_head(runs: pd.DataFrame) -> None:
    runs = runs.assign(factor_information=0.2 * runs["mi"])
    for axes, plot in zip(FRONTIERS, FRONTIER_FIGURES, strict=True):
        with figure_style():
            figure = plot.draw(runs)
        (sheet,) = figure.axes
        texts = [text.get_text() for text in sheet.texts]
        assert {"BN on μ and σ", "BN on μ, RMS on σ"} <= {*texts}
        # the marks of the first panel are where its runs are
        marks = next(line for line in sheet.lines if line.get_marker() == "o")
        own = frontier_points(runs, axes.x, axes.y).query("head == 'bn_tau'")
        for places, values in ((marks.get_xdata(), own[axes.x]), (marks.get_ydata(), own[axes.y])):
            slope, start = np.polyfit(values, places, 1)
            assert slope > 0 and places == pytest.approx(slope * values.to_numpy() + start)
        caption = plot.describe(runs)
        assert "n = 2 seeds per group" in caption and "t-interval" in caption
        assert ("Black dashes: the mean of plain" in caption) == (axes.y != "d_nll")


def test_black_line_is_plains_mean(runs: pd.DataFrame) -> None:
    plain = runs.loc[runs["head"] == "plain", "probe"].mean()
    with figure_style():
        figure = {plot.name: plot for plot in FRONTIER_FIGURES}["frontier_probe"].draw(runs)
    (sheet,) = figure.axes
    numbers = [text for text in sheet.texts if text.get_ha() == "right"]
    values = [float(text.get_text()) for text in numbers]
    slope, start = np.polyfit([text.get_position()[1] for text in numbers], values, 1)
    lines = [
        line
        for line in sheet.collections
        if line.get_linestyle()[0][1] and line.get_color()[0][:3].max() == 0
    ]
    heights = {round(line.get_segments()[0][0][1] * slope + start, 6) for line in lines}
    assert len(lines) == 2 and heights == {round(plain, 6)}


def test_overview_names_the_best_heads(runs: pd.DataFrame) -> None:
    with figure_style():
        figure = FRONTIER_OVERVIEW_FIGURE.draw(runs)
    texts = [text.get_text().replace("\n", " ") for text in figure.axes[0].texts]
    assert sorted(texts) == ["BN on μ and σ", "BN on μ, RMS on σ"]
    assert "grey" not in FRONTIER_OVERVIEW_FIGURE.describe(runs)


def many_heads(runs: pd.DataFrame, count: int, label: str) -> pd.DataFrame:
    """plain, and copies of a head under other names."""
    others = runs[runs["head"] == "bn_tau"]
    copies = [
        others.assign(head=f"h{i}", label=f"{label} {i}", order=others["order"] + 10 * i)
        for i in range(1, count + 1)
    ]
    return pd.concat([runs[runs["head"] == "plain"], *copies], ignore_index=True)


def test_overview_of_many_heads_names_some(runs: pd.DataFrame) -> None:
    many = many_heads(runs, 10, "head")
    with figure_style():
        figure = FRONTIER_OVERVIEW_FIGURE.draw(many)
    assert len(figure.axes[0].texts) == MOST_NAMED_CURVES
    assert "grey: the other 2" in FRONTIER_OVERVIEW_FIGURE.describe(many)


def test_overview_needs_two_heads(runs: pd.DataFrame) -> None:
    with pytest.raises(NoFigure, match="fewer than two heads"):
        FRONTIER_OVERVIEW_FIGURE.draw(runs[runs["head"] != "rms_tau"])


@pytest.mark.parametrize("count", [19, pytest.param(40, marks=pytest.mark.slow)])
def test_panels_of_many_heads_fit_a_page(runs: pd.DataFrame, count: int) -> None:
    """With long labels of hostile text."""
    many = many_heads(runs, count, "$\\frac{a$ <script> a remedy with a very long name, no")
    with figure_style():
        figure = FRONTIER_FIGURES[0].draw(many)
        solve_layout(figure)
        assert figure.get_figwidth() <= 7.5 and figure.get_figheight() <= 10.5
        page = figure.bbox.padded(1)
        boxes = [ax.get_tightbbox() for ax in figure.axes if ax.axison]
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 for box in boxes)
    assert not any(a.padded(-1).overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_far_runs_do_not_compress_the_frame(runs: pd.DataFrame) -> None:
    more = pd.concat([runs.assign(seed=runs["seed"] + 2 * i) for i in range(4)], ignore_index=True)
    more["run"] = range(len(more))
    assert count_beyond(more, frontier_points(more), FRONTIERS[0]) == 0
    highest = frontier_points(more)["d_nll"].max()
    more = more.copy()  # results are kept for a frame
    more.loc[more.index[more["head"] == "bn_tau"][0], "nll"] += 50
    points = frontier_points(more)
    _, (_, high) = frame_limits(more, points, FRONTIERS[0])
    assert high < highest + 1 and count_beyond(more, points, FRONTIERS[0]) == 1
    assert "1 run outside the frame" in FRONTIER_FIGURES[0].describe(more)
    more = more.copy()  # results are kept for a frame
    more.loc[more.index[more["head"] == "bn_tau"][1], "nll"] -= 50
    points = frontier_points(more)
    _, (low, _) = frame_limits(more, points, FRONTIERS[0])
    assert low > -5 and count_beyond(more, points, FRONTIERS[0]) == 2


# ---------------------------------------------------------------- what a curve may hold


def test_runs_with_another_trainer_are_another_curve(tmp_path: Path) -> None:
    for seed in (0, 1):
        for words in ("", "trainer.lr=1"):
            more = {"evaluated": True, "evaluations": 2, "slots": {"trainer": {"lr": words}}}
            write_run(tmp_path / "s", "plain", seed, overrides=words or "default", **more)
            for tau in (0.1, 0.3, 0.5):
                both = f"tau={tau},{words}".strip(",")
                more["final"] = {"mi": 10 * tau + bool(words), "mi_saturated": False}
                write_run(tmp_path / "s", "bn_tau", seed, overrides=both, **more)
    points = frontier_points(read_study(tmp_path / "s").runs)
    spans = points.groupby("curve")["mi"].agg(["min", "max", "count"])
    assert spans.loc["BN on μ and σ"].tolist() == [1, 5, 6]
    assert spans.loc["BN on μ and σ (trainer.lr=1)"].tolist() == [2, 6, 6]


def test_values_of_other_settings_do_not_make_a_curve(tmp_path: Path) -> None:
    """Three learning rates at one tau, and two values of tau."""
    write_run(tmp_path / "s", "plain", 0, evaluated=True, evaluations=2)
    for words in ("trainer.lr=1", "trainer.lr=2", "trainer.lr=3", "tau=0.1", "tau=0.2"):
        more = {"evaluated": True, "evaluations": 2, "slots": {"trainer": {"lr": words}}}
        write_run(tmp_path / "s", "bn_tau", 0, overrides=words, **more)
    assert frontier_points(read_study(tmp_path / "s").runs).empty


def test_data_are_separate_curves(runs: pd.DataFrame) -> None:
    other = runs.assign(data_name="yelp", order=runs["order"] + 100, run=runs["run"] + 100)
    both = pd.concat([runs.assign(data_name="grammar"), other], ignore_index=True)
    names = set(frontier_points(both)["curve"])
    assert names == {
        f"{label} [{data}]"
        for label in ("BN on μ and σ", "BN on μ, RMS on σ")
        for data in ("grammar", "yelp")
    }
    table = frontier_table(both)
    assert "ranked among those of the same data" in table.title
    assert table.numbers["rank_at_2"].tolist().count(1) >= 2
    with pytest.raises(NoFigure, match="different data"):
        FRONTIER_OVERVIEW_FIGURE.draw(both)


def test_equal_labels_of_two_heads_are_two_curves(runs: pd.DataFrame) -> None:
    points = frontier_points(runs.assign(label="a head"))
    assert set(points["curve"]) == {"a head [bn_tau]", "a head [rms_tau]"}


# ---------------------------------------------------------------- what is missing


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"head": "bn_mu"}, "no finished run of head=plain"),
        ({"nll": np.nan}, "no finished run has nll (`uncollapse evaluate` computes it)."),
        ({"nll_samples": np.arange(14.0)}, "same seed, data and number of codes"),
        ({"status": "failed"}, "no finished run has nll"),
        ({"mi": np.nan}, "with mi and nll"),
        ({"mi_saturated": 1.0}, "at 3 values of its knob or more with mi and nll"),
    ],
)
def test_figure_and_table_say_what_they_lack(runs: pd.DataFrame, change: dict, says: str) -> None:
    runs = runs.assign(**change)
    assert frontier_table(runs).text.empty
    with pytest.raises(NoFigure) as refusal:
        FRONTIER_FIGURES[0].draw(runs)
    assert says in str(refusal.value) and str(refusal.value).count(". ") == 0


def test_metric_of_no_run_is_named(runs: pd.DataFrame) -> None:
    without = runs.drop(columns="factor_information", errors="ignore").copy()
    for missing in (without, runs.assign(factor_information=np.nan)):
        says = explain_no_frontier(missing, "mi", "factor_information")
        assert says.startswith("no finished run has factor_information")
        with pytest.raises(NoFigure, match="factor_information"):
            FRONTIER_FIGURES[-1].draw(missing)


def test_probe_needs_no_plain_run(runs: pd.DataFrame) -> None:
    points = frontier_points(runs[runs["head"] != "plain"], "mi", "probe")
    assert len(points) == 12


def test_runs_left_out_are_counted(runs: pd.DataFrame) -> None:
    assert "left out" not in frontier_table(runs).title
    less = runs.copy()
    less.loc[less.index[less["head"] == "bn_tau"][0], "mi_saturated"] = 1.0
    assert "1 finished run left out" in frontier_table(less).title


def test_unconverged_heads_are_marked(runs: pd.DataFrame) -> None:
    opened = runs.assign(converged=np.where(runs["head"] == "bn_tau", 0.0, 1.0))
    table = frontier_table(opened)
    assert [name.endswith("§") for name in table.text["head"]].count(True) == 1
    assert "§: some of its runs had not converged." in table.title


def test_study_of_single_settings_has_no_frontier(tmp_path: Path) -> None:
    for head in ("plain", "bn_mu"):
        write_run(tmp_path / "s", head, 0, evaluated=True, evaluations=2)
    runs = read_study(tmp_path / "s").runs
    assert frontier_table(runs).text.empty
    with pytest.raises(NoFigure, match="at 3 values of its knob"):
        FRONTIER_FIGURES[0].draw(runs)
