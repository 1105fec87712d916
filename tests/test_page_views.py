"""The data of the page's views: curves, dimensions, frontiers, knobs, comparisons, descriptions."""

import base64
import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_report import write_run
from test_report_text import put_config

from uncollapse import config
from uncollapse.report import curve_data
from uncollapse.report.curve_data import encode_curves, find_span, thin
from uncollapse.report.dimension_data import choose_dimension_rows, sort_kl
from uncollapse.report.frontier_data import encode_frontiers
from uncollapse.report.heads import make_head_table
from uncollapse.report.knob_data import encode_knob_sets
from uncollapse.report.page_data import encode_page_data, find_quantiles, make_page_data
from uncollapse.report.page_numbers import round_number
from uncollapse.report.remedies import describe_remedies
from uncollapse.report.results import Study, read_study
from uncollapse.report.runs import row_numbers


def write_grid(folder: Path, lrs: int = 4, taus: int = 5) -> Study:
    """A study over two knobs: bn_tau at lrs x taus settings, and plain."""
    final = {"mi_saturated": False, "nll": 20.0}
    write_run(folder, "plain", 0, evaluations=1, evaluated=True, final=final)
    for i in range(lrs):
        for j in range(taus):
            final |= {"mi": float(i + 1), "shuffle_gap": float(j + 1), "nll": 20.0 + i / 10}
            lr, tau = 10.0**-i, (j + 1) / 40
            options = {"evaluations": 1, "evaluated": True, "final": final}
            run = write_run(folder, "bn_tau", 0, overrides=f"lr={lr:g},tau={tau}", **options)
            # otherwise these are the same run
            put_config(run, lr=lr)
    return read_study(folder)


def write_frontier(folder: Path, seeds: int = 2) -> Study:
    """bn_tau at three values of tau, where mi and nll - plain are on one line, and plain."""
    for seed in range(seeds):
        final = {"mi_saturated": False, "mi": 0.0, "shuffle_gap": 0.0, "nll": 20.0 + seed}
        write_run(folder, "plain", seed, evaluations=2, evaluated=True, final=final)
        for k, tau in enumerate((0.2, 0.4, 0.6)):
            # all seeds span 1 to 3 nats; seed s costs 0.1 mi + 0.2 s more than plain
            changed = {"mi": 1.0 + k, "shuffle_gap": 5.0 + k, "converged": k < 2}
            changed["nll"] = final["nll"] + 0.1 * (1.0 + k) + 0.2 * seed
            write_run(
                folder,
                "bn_tau",
                seed,
                overrides=f"tau={tau}",
                evaluations=2,
                evaluated=True,
                final=final | changed,
            )
    return read_study(folder)


def find_places(study: Study) -> dict[int, int]:
    return {head.order: i for i, head in enumerate(make_head_table(study.runs).heads)}


# ---------------------------------------------------------------- curves


@pytest.mark.parametrize(
    ("count", "most", "kept"),
    [(3, 5, [0, 1, 2]), (1, 5, [0]), (9, 5, [0, 2, 4, 6, 8]), (100, 2, [0, 99])],
)
def test_thinned_curves_keep_their_ends(count: int, most: int, kept: list[int]) -> None:
    assert thin(count, most).tolist() == kept


def test_curves_are_the_validation_rows(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "plain", 0, evaluations=4)
    write_run(tmp_path / "s", "bn_mu", 1, status="unfinished", evaluations=4)
    study = read_study(tmp_path / "s")
    curves = encode_curves(study.rows, study.runs, find_places(study))
    assert curves["names"][:2] == ["kl", "nelbo"] and "ppl" not in curves["names"]
    for i, run in study.runs.iterrows():
        own = study.rows[(study.rows["run"] == run["run"]) & (study.rows["split"] == "valid")]
        assert curves["steps"][curves["at"][i]] == own["step"].tolist()
        for name in curves["names"]:
            assert curves["values"][name][i] == pytest.approx(own[name].tolist(), rel=1e-3)
    # the run that is not finished is shorter, and the only seed of plain is its mean
    assert curves["at"] == [0, 1]
    ((place, (_, values)),) = curves["means"]["kl"].items()
    assert place == str(find_places(study)[0]) and values == curves["values"]["kl"][0]


def test_many_runs_have_few_points_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_frontier(tmp_path / "s")
    rows = pd.concat([study.rows.assign(step=study.rows["step"] + 1000 * k) for k in range(20)])
    places = find_places(study)
    for most, points in ((10**9, 40), (8 * 4 * 12, 12), (1, 8)):
        monkeypatch.setattr(curve_data, "MOST_NUMBERS", most)
        curves = encode_curves(rows, study.runs, places)
        most_points = max(len(steps) for steps in curves["steps"])
        # 8 runs
        expected = points if most in (10**9, 1) else most // (len(curves["names"]) * 8)
        assert most_points == max(min(expected, 40), 8)


def test_curves_of_3000_runs_fit_into_the_page() -> None:
    runs, evaluations = 3000, 12
    rng = np.random.default_rng(0)
    run = np.repeat(np.arange(runs), evaluations)
    names = ("kl", "nelbo", "shuffle_gap", "au", "rec")
    rows = pd.DataFrame({name: rng.uniform(0, 30, len(run)) for name in names})
    rows = rows.reindex(columns=[*{*names, *row_numbers()}])
    rows = rows.assign(run=run, order=run // 10, split="valid", mode="eval", status="done")
    rows["step"] = np.tile(100 * np.arange(1, evaluations + 1), runs)
    frame = pd.DataFrame({"run": range(runs), "order": np.arange(runs) // 10, "head": "bn_mu"})
    curves = encode_curves(rows, frame, {order: order for order in range(300)})
    assert len(curves["at"]) == runs and curves["names"] == [*names]
    text, kind = encode_page_data(curves)
    # random numbers are the worst case
    assert kind == "application/gzip" and len(text) < 1_100_000


def test_study_without_evaluation_in_training_has_no_curves(tmp_path: Path) -> None:
    study = write_frontier(tmp_path / "s")
    assert encode_curves(study.rows[:0], study.runs, find_places(study)) == {}


def make_rows(values: dict[int, list[float]]) -> pd.DataFrame:
    """Validation rows of one run per group, at steps 100, 200 ..."""
    return pd.DataFrame(
        {"order": order, "run": order, "step": 100 * (k + 1), "kl": value}
        for order, own in values.items()
        for k, value in enumerate(own)
    )


def test_axis_holds_late_values_of_usual_groups() -> None:
    late = [5.0, 6.0, 7.0, 6.5, 6.2]
    rows = make_rows({order: [99.0, *late[order:], *late[:order]] for order in range(5)})
    # the first of six evaluations is before a fifth of training is over
    assert find_span(rows, "kl") == [5, 7]
    far = pd.concat([rows, make_rows({9: [800.0] * 6})])
    assert find_span(far, "kl") == [5, 7]
    assert find_span(rows.assign(kl=rows["kl"] - 4.9), "kl") == [0, 2.1]
    assert find_span(rows.assign(kl=rows["kl"] - 5.01), "kl") == [0, 1.99]
    assert find_span(rows.assign(kl=rows["kl"] - 6), "kl") == [-1, 1]
    assert find_span(make_rows({0: [3.0]}), "kl") == [3, 3]


# ---------------------------------------------------------------- KL per dimension


def test_dimensions_are_of_the_weights_that_are_reported() -> None:
    rows = pd.DataFrame(
        [
            (0, "valid", 9.0, [9.0, 0.0]),
            (0, "test", 3.0, [1.0, 2.0]),
            (0, "test", 5.0, [4.0, 1.0]),
            (1, "valid", 1.0, [1.0, 0.0]),
            (1, "valid", 2.0, [0.0, 2.0]),
        ],
        columns=["run", "split", "kl", "kl_per_dim"],
    )
    found = choose_dimension_rows(rows, {0: 3.01, 1: np.nan, 2: 1.0})
    assert {run: values.tolist() for run, values in found.items()} == {0: [1, 2], 1: [0, 2]}


def test_dimensions_are_sorted_and_end_with_the_last_one_that_is_used() -> None:
    assert sort_kl(np.array([0.0001, 2.0, 0.0, 0.5, 1e-9])) == [2.0, 0.5]
    assert sort_kl(np.zeros(3)) == [] and sort_kl(np.empty(0)) == []
    assert len(sort_kl(np.ones(1000))) == 128


# ---------------------------------------------------------------- comparison


def test_quantiles_are_of_student(tmp_path: Path) -> None:
    runs = write_frontier(tmp_path / "s", seeds=3).runs
    # t(0.975) with 1 and 2 degrees of freedom
    assert find_quantiles(runs) == [None, None, pytest.approx(12.7062), pytest.approx(4.302653)]
    assert find_quantiles(runs[runs["seed"] == 0]) == [None, None]


def test_data_say_which_nll_may_be_compared(tmp_path: Path) -> None:
    for seed, final in enumerate(({}, {"nll_samples": 7}, {"nll_examples": 7}, {"nll_samples": 7})):
        write_run(tmp_path / "s", "plain", seed, evaluations=1, evaluated=True, final=final)
    write_run(tmp_path / "s", "plain", 4, evaluations=1)
    write_run(tmp_path / "s", "plain", 5, evaluations=1, status="failed")
    study = read_study(tmp_path / "s")
    data = make_page_data(study, make_head_table(study.runs))
    codes = data["runs"]["sampling"]
    assert codes[1] == codes[3] and len({codes[0], codes[1], codes[2]}) == 3
    assert codes[4:] == [None, None] and None not in codes[:4]
    assert data["runs"]["status"] == {"5": "failed"}
    assert "FloatingPointError" in data["runs"]["message"]["5"]
    assert data["compared"] == ["nll", "mi", "shuffle_gap", "kl", "probe"]
    assert data["metrics"]["nll"]["sampled"] and not data["metrics"]["mi"]["sampled"]


def test_groups_name_the_plain_group_that_they_are_compared_with(tmp_path: Path) -> None:
    study = write_frontier(tmp_path / "s")
    groups = make_page_data(study, make_head_table(study.runs))["groups"]
    plain = next(place for place, group in enumerate(groups) if group["head"] == "plain")
    assert [group["plain"] for group in groups] == [plain] * 4
    assert {group["settings"] for group in groups} == {"", "tau=0.2", "tau=0.4", "tau=0.6"}
    alone = write_grid(tmp_path / "alone", 1, 2)
    runs = alone.runs[alone.runs["head"] != "plain"].reset_index(drop=True)
    table = make_head_table(runs)
    rows = alone.rows[alone.rows["run"].isin(runs["run"])]
    data = make_page_data(Study(alone.folder, "a", runs, rows, ""), table)
    assert [group["plain"] for group in data["groups"]] == [None, None]


# ---------------------------------------------------------------- frontiers


def test_frontier_is_the_mean_of_seeds_with_its_band(tmp_path: Path) -> None:
    study = write_frontier(tmp_path / "s")
    places = find_places(study)
    found = encode_frontiers(study.runs, places)
    assert [axes["x"] for axes in found] == ["mi", "shuffle_gap", "kl"]
    (curve,) = found[0]["curves"]
    x, mean, half = curve["line"]
    assert (x[0], x[-1]) == (1, 3) and len(x) == 41
    # seeds cost 0.1 mi and 0.1 mi + 0.2: mean + 0.1, half 12.7062 * 0.1414214 / sqrt(2)
    assert mean == pytest.approx([0.1 * value + 0.1 for value in x], abs=1e-4)
    assert half == pytest.approx([1.27062] * 41, rel=1e-3)
    runs = study.runs
    assert {places[order] for order in runs["order"].iloc[curve["runs"]]} == {*curve["places"]}
    assert len(curve["runs"]) == 6 and "plain" not in set(runs["head"].iloc[curve["runs"]])


def test_one_seed_has_a_line_without_a_band(tmp_path: Path) -> None:
    study = write_frontier(tmp_path / "s", seeds=1)
    (curve,) = encode_frontiers(study.runs, find_places(study))[0]["curves"]
    assert curve["line"][1][0] == pytest.approx(0.1) and set(curve["line"][2]) == {None}


def test_no_frontier_without_plain(tmp_path: Path) -> None:
    study = write_frontier(tmp_path / "s")
    runs = study.runs[study.runs["head"] != "plain"].reset_index(drop=True)
    assert encode_frontiers(runs, find_places(study)) == []


# ---------------------------------------------------------------- knobs


def test_knobs_of_a_grid_are_axes(tmp_path: Path) -> None:
    study = write_grid(tmp_path / "s")
    places = find_places(study)
    # plain has neither knob, so that all heads together are bn_tau alone
    (own,) = encode_knob_sets(study.runs, places, ["mi", "d_nll"])
    assert own["name"] == "bn_tau"
    assert [axis["name"] for axis in own["axes"]] == ["lr", "τ", "mi", "d_nll"]
    assert len(own["places"]) == 20 and len(set(own["places"])) == 20
    lr, tau, mi, _ = own["axes"]
    assert sorted(set(lr["values"])) == [0.001, 0.01, 0.1, 1] and lr["log"]
    assert sorted(set(tau["values"])) == [0.025, 0.05, 0.075, 0.1, 0.125] and not tau["log"]
    assert mi == {"name": "mi", "metric": True}


def test_few_groups_or_one_knob_have_no_parallel_coordinates(tmp_path: Path) -> None:
    for name, sizes in (("few", (2, 9)), ("one", (1, 20))):
        study = write_grid(tmp_path / name, *sizes)
        assert encode_knob_sets(study.runs, find_places(study), ["mi"]) == []


def make_groups(settings: list[list[str]], heads: list[str]) -> pd.DataFrame:
    columns = {"order": range(len(settings)), "override_list": settings}
    return pd.DataFrame(columns | {"head": heads, "label": [f"L {head}" for head in heads]})


def test_knobs_of_a_study_have_an_axis_of_heads_and_of_words() -> None:
    settings = [[f"model={m}", f"lr={i}"] for m in ("b", "a10", "a9") for i in range(8)]
    runs = make_groups(settings, ["x", "y"] * 12)
    (found,) = encode_knob_sets(runs, {i: i for i in range(24)}, [])
    heads, lr, model = found["axes"]
    assert heads["labels"] == ["L x", "L y"] and heads["values"] == [0, 1] * 12
    assert lr["values"] == [*range(8)] * 3 and not lr["log"]
    assert model["labels"] == ["a9", "a10", "b"] and set(model["values"][:8]) == {2}


def test_numbers_that_are_not_finite_are_words() -> None:
    settings = [[f"a={v}", f"b={i}"] for v in ("nan", "inf", "1") for i in range(7)]
    ((axis, _),) = (found["axes"] for found in encode_knob_sets(
        make_groups(settings, ["x"] * 21), {i: i for i in range(21)}, []
    ))  # fmt: skip
    assert axis["labels"] == ["1", "inf", "nan"]


# ---------------------------------------------------------------- what files say of heads


def test_remedies_say_what_their_files_say(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "bn_tau", 0, evaluations=1, label="BN <b>")
    write_run(tmp_path / "s", "plain", 0, evaluations=1)
    plain, tau = describe_remedies(read_study(tmp_path / "s").runs)
    assert (plain.head, tau.head, tau.label) == ("plain", "bn_tau", "BN <b>")
    assert tau.parts["Promise"].startswith("in training") and "kexue.fm" in tau.parts["Paper"]
    assert [(name, default) for name, default, _ in tau.knobs] == [("tau", "0.5")]
    assert not tau.missing and not plain.knobs
    assert tau.parts["Promise"].endswith("> -(D/2) ln(1 - τ).")
    assert "scales γ_μ^2 = τ + (1 - τ)" in tau.parts["Idea"]
    assert (tau.symbol_of("tau"), tau.symbol_of("rate")) == ("τ", "")


def test_heads_without_a_file_say_so_and_no_other_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("# @package _global_\n# secret\nlabel: x\n")
    for head in ("mine", str(tmp_path / "secret"), "../model/lstm"):
        runs = pd.DataFrame({"order": [0], "head": [head], "label": ["x"]})
        (remedy,) = describe_remedies(runs)
        assert "neither in this package nor in your own" in remedy.missing
        assert not remedy.parts and not remedy.knobs


def test_own_heads_are_described_by_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "head").mkdir()
    text = "# @package _global_\n# Mine.\n# Source: me.\nlabel: Own\nrho: 2  # how <much>\n"
    (tmp_path / "head/mine.yaml").write_text(text)
    monkeypatch.setenv("UNCOLLAPSE_CONF", str(tmp_path))
    (remedy,) = describe_remedies(pd.DataFrame({"order": [0], "head": ["mine"], "label": ["x"]}))
    assert remedy.parts == {"Idea": "Mine.", "Paper": "me."}
    assert remedy.knobs == [("rho", "2", "how <much>")] and not remedy.missing


def test_damaged_head_file_is_reported_without_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "head").mkdir()
    (tmp_path / "head/mine.yaml").write_text("# @package _global_\n# Idea.\n- a\n")
    monkeypatch.setattr(config, "CONF", tmp_path)
    runs = pd.DataFrame({"order": [0], "head": ["mine"], "label": ["x"]})
    (remedy,) = describe_remedies(runs)
    assert "cannot be read" in remedy.missing and str(tmp_path) not in remedy.missing


# ---------------------------------------------------------------- encoding


def test_many_data_are_compressed_and_always_alike() -> None:
    data = {"a": "</script>" * 200_000}
    text, kind = encode_page_data(data)
    assert kind == "application/gzip" and len(text) < 50_000 and text.isascii()
    assert json.loads(gzip.decompress(base64.b64decode(text))) == data
    assert encode_page_data(data)[0] == text


def test_short_numbers() -> None:
    values = [round_number(value, 4) for value in (3.0, 0.123456, -1234567.0, 1e300)]
    assert values == [3, 0.1235, -1235000, 1e300] and isinstance(values[0], int)
