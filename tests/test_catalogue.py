"""The catalogue of metrics: one row per number, from which everything else is derived."""

import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, folder_of, rows, run_here, summary

from uncollapse.console import format_row
from uncollapse.errors import InputError
from uncollapse.evaluation.result_line import format_result
from uncollapse.metrics import catalogue, rows_pass
from uncollapse.metrics.base import Pass, with_error
from uncollapse.metrics.metric import (
    END,
    PASS,
    REPORT,
    STAGES,
    TRAINING,
    WITHOUT_FUNCTION,
    Beside,
    Metric,
)
from uncollapse.metrics.one_pass import statistics
from uncollapse.report import figures
from uncollapse.report.page import write_report
from uncollapse.report.panels import axis_label
from uncollapse.starting.project import start_project


# not the example of docs/add_a_metric.md, which a reader may have added to the package
def largest_mean(seen: Pass) -> dict:
    return {"largest_mean": float(abs(seen.mean).max())}


ROW = Metric(
    name="largest_mean",
    title="largest",
    stage=PASS,
    function=largest_mean,
    unit="",
    digits=1,
    line=".1f",
    meaning="The largest |mu_j| over examples and dimensions.",
    pitfall="A single outlier determines it.",
)


@pytest.fixture
def own_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the rows that a test adds."""
    monkeypatch.setattr(catalogue, "METRICS", catalogue.METRICS)
    before = dict(catalogue.METRICS)
    yield
    catalogue.METRICS.clear()
    catalogue.METRICS.update(before)


def small_pass() -> Pass:
    ones = np.ones((4, 2))
    return Pass(ones[:, 0], ones[:, 0], ones, 3 * ones, ones, None, torch.ones(4, 2), [])


# ---- a metric from outside -----------------------------------------------------------------------


def test_metric_from_outside_is_shown_everywhere(
    tmp_path: Path,
    own_catalogue: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(figures, "PLOTS", {})
    catalogue.add(ROW)
    run_here(tmp_path, "plain")
    found = rows(folder_of(tmp_path, "plain"))
    assert all(row["largest_mean"] > 0 for row in found)
    lines = [line for line in capsys.readouterr().out.splitlines() if "nelbo" in line]
    value = next(row["largest_mean"] for row in found if row["mode"] == "eval")
    assert f"largest_mean {value:.1f}" in lines[0]
    assert all("largest_mean" in line for line in lines)

    page, terminal = write_report(tmp_path / "scratch")
    tested = f"{found[-2]['largest_mean']:.1f}"
    header, _, values = terminal.split("\n\n")[1].splitlines()[:3]
    assert "largest" in header.split() and tested in values.split()
    tables = page.parent / "tables"
    for name in ("runs", "summary"):
        assert "largest_mean" in (tables / f"{name}.csv").read_text().splitlines()[0]
    assert "| largest |" in (tables / "summary.md").read_text().splitlines()[0]
    text = page.read_text()
    assert f"<dt>{ROW.header} <code>largest_mean</code></dt>" in text
    assert ROW.meaning in text and ROW.pitfall in text and "<th>largest</th>" in text


def test_metric_can_be_paired_with_plain(
    tmp_path: Path, own_catalogue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "PLOTS", {})
    catalogue.add(replace(ROW, paired=True))
    for head in ("plain", "bn_mu"):
        run_here(tmp_path, head)
    page, _ = write_report(tmp_path / "scratch")
    assert "| largest |" in (page.parent / "tables" / "paired.md").read_text().splitlines()[0]


def test_training_and_its_end_give_metrics_from_outside(
    tmp_path: Path, own_catalogue: None
) -> None:
    of_training = replace(ROW, stage=TRAINING, function=lambda trainer: {ROW.name: trainer.epoch})
    of_end = replace(ROW, stage=END, name="notes", function=lambda _, notes: {"notes": len(notes)})
    catalogue.add(of_training, of_end)
    run_here(tmp_path, "plain")
    folder = folder_of(tmp_path, "plain")
    assert [row.get(ROW.name) for row in rows(folder)] == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, None, None]
    assert summary(folder)["notes"] == 0


def test_documented_function_and_row_work(own_catalogue: None) -> None:
    """As docs/add_a_metric.md adds them to the package."""
    page = (ROOT / "docs" / "add_a_metric.md").read_text()
    function, row = (text.split("```")[0] for text in page.split("```python\n")[1:3])
    names: dict = {"Pass": Pass}
    exec(function, names)
    path = ROOT / "src" / "uncollapse" / "metrics" / "rows_pass.py"
    before, name, rows_below = path.read_text().partition("PASS_ROWS = (\n")
    exec(f"{before}{name}{row}{rows_below}", names)
    metric, others = names["PASS_ROWS"][0], names["PASS_ROWS"][1:]
    assert others == rows_pass.PASS_ROWS
    assert names["max_abs_mean"](small_pass()) == {metric.name: 3.0}
    catalogue.add(replace(metric, name="documented", function=lambda seen: {"documented": 3.0}))
    assert statistics(small_pass())["documented"] == 3.0


def test_page_explains_every_field_of_a_row() -> None:
    page = (ROOT / "docs" / "add_a_metric.md").read_text()
    table = page.partition("| field | |\n")[2].partition("\n\n")[0]
    explained = {word for line in table.splitlines() for word in re.findall(r"`(\w+)`", line)}
    assert {field.name for field in fields(Metric)} <= explained


@pytest.mark.slow
def test_documented_module_works(tmp_path: Path) -> None:
    """mine/metrics.py of docs/add_a_metric.md, in a project."""
    text = (ROOT / "docs" / "add_a_metric.md").read_text()
    module = text.partition("# mine/metrics.py\n")[2].partition("```")[0]
    start_project(tmp_path / "mine")
    (tmp_path / "mine/mine/metrics.py").write_text(module)
    check_added_metric(["-m", "uncollapse"], ("train",), ("report",), tmp_path / "mine")


SCRIPT = """
import runpy
import sys

from uncollapse.metrics import catalogue
from uncollapse.metrics.metric import PASS, Metric

def max_abs_mean(seen):
    return {"max_abs_mean": float(abs(seen.mean).max())}

catalogue.add(Metric(
    name="max_abs_mean", stage=PASS, function=max_abs_mean, unit="", line=".1f", meaning="None.",
))

if __name__ == "__main__":
    runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.mark.slow
def test_metric_of_a_script_reaches_workers(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT)
    program = [str(tmp_path / "mine.py")]
    check_added_metric(program, ("train.py",), ("scripts/report.py",), ROOT, tmp_path)


def check_added_metric(
    program: list[str],
    train: tuple[str],
    report: tuple[str],
    cwd: Path,
    results: Path | None = None,
) -> None:
    """One run, its report and a sweep have the metric max_abs_mean."""
    results = results or cwd / "results"
    small = ("data.train=60", "data.valid=20", "data.test=20", "model.hidden=8", "threads=1")
    words = (*train, f"results={results}", "trainer.epochs=1", *small)
    one = (*words, "head=plain", "study=mine")
    sweep = (*words, "-m", "head=plain,bn_mu", "study=workers", "hydra/launcher=joblib")
    for arguments in (one, (*report, str(results / "mine")), sweep):
        done = subprocess.run(
            [sys.executable, *program, *arguments],
            cwd=cwd,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        assert "max_abs_mean" in done.stdout
    files = list(results.glob("workers/**/metrics.jsonl"))
    assert len(files) == 2
    assert all("max_abs_mean" in line for file in files for line in file.read_text().splitlines())


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "kl"}, "metric kl: the catalogue has a row for it already"),
        ({"name": "kl_se"}, "metric kl_se: the catalogue has a row for it already"),
        ({"name": "two words"}, "metric 'two words': a name is a Python identifier"),
        ({"name": "step"}, "metric 'step': a name is a Python identifier and none of step"),
        ({"meaning": ""}, "metric largest_mean: `meaning` is empty"),
        ({"function": ""}, "metric largest_mean: a row of stage 'pass' needs a function"),
        ({"stage": REPORT}, "metric largest_mean: a row of stage 'report' takes no function"),
        ({"stage": "later"}, "metric largest_mean: stage 'later' is none of pass, nll"),
        ({"stage": ""}, "metric largest_mean: stage '' is none of pass, nll"),
        ({"line": ".1q"}, "metric largest_mean: line='.1q' is not a format of numbers"),
    ],
)
def test_unusable_row_is_refused(
    own_catalogue: None, changes: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InputError) as refused:
        catalogue.add(replace(ROW, **changes))  # type: ignore[arg-type]
    assert str(refused.value).startswith(sentence)


def test_key_without_row_is_refused(own_catalogue: None) -> None:
    catalogue.add(replace(ROW, function=lambda seen: {**largest_mean(seen), "other": 1.0}))
    with pytest.raises(InputError, match="returned 'other', which has no row in the catalogue"):
        statistics(small_pass())


def test_row_that_is_no_metric_is_refused(own_catalogue: None) -> None:
    with pytest.raises(InputError, match="a row of the catalogue is a Metric, not a tuple"):
        catalogue.add((ROW,))  # type: ignore[arg-type]


def test_standard_error_without_column_names_the_setting(own_catalogue: None) -> None:
    catalogue.add(replace(ROW, function=lambda seen: with_error(ROW.name, seen.rec)))
    with pytest.raises(InputError, match="catalogue; set error='csv' in the row of largest_mean"):
        statistics(small_pass())


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "returned a NoneType; it must return a dict"),
        (
            {ROW.name: np.float32(1)},
            "metric largest_mean: its function returned a float32; it must be",
        ),
        (
            {ROW.name: np.ones(2)},
            "metric largest_mean: its function returned a ndarray; it must be",
        ),
        ({ROW.name: [1.0]}, "metric largest_mean: its function returned a list; it must be"),
    ],
)
def test_value_that_no_row_can_hold_is_refused(
    own_catalogue: None, value: dict[str, object] | None, sentence: str
) -> None:
    catalogue.add(replace(ROW, function=lambda seen: value))
    with pytest.raises(InputError, match=sentence):
        statistics(small_pass())


def test_row_without_value_is_refused(own_catalogue: None) -> None:
    catalogue.add(replace(ROW, error="csv"))
    with pytest.raises(InputError, match="largest_mean did not return 'largest_mean_se'"):
        statistics(small_pass())


@pytest.mark.parametrize("stage", [TRAINING, END])
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"other": 1.0}, "returned 'other', which has no row in the catalogue"),
        ({"largest_mean": 1.0}, "did not return 'largest_mean_se', which has a row"),
    ],
)
def test_values_of_training_are_checked(
    own_catalogue: None, tmp_path: Path, stage: str, value: dict[str, float], sentence: str
) -> None:
    catalogue.add(replace(ROW, stage=stage, error="disk", function=lambda *_: value))
    with pytest.raises(InputError, match=sentence):
        run_here(tmp_path, "plain")


def test_row_that_the_report_does_not_derive_is_refused(
    own_catalogue: None, tmp_path: Path
) -> None:
    run_here(tmp_path, "plain")
    catalogue.add(replace(ROW, stage=REPORT, function=""))
    with pytest.raises(InputError, match="the report did not return 'largest_mean', which has"):
        write_report(tmp_path / "scratch")


def test_inapplicable_values_can_be_missing(own_catalogue: None) -> None:
    other = replace(ROW, name="smallest_mean", optional=True)
    catalogue.add(ROW, other)
    assert statistics(small_pass())["largest_mean"] == 3.0
    catalogue.METRICS["largest_mean"] = replace(ROW, function=nothing)
    catalogue.METRICS["smallest_mean"] = replace(other, function=nothing)
    assert "largest_mean" not in statistics(small_pass())


def nothing(seen: Pass) -> dict:
    return {}


@pytest.mark.parametrize("function", ["uncollapse.metrics.usage:no_such", "no.such:name", "text"])
def test_missing_function_is_refused(own_catalogue: None, function: str) -> None:
    catalogue.add(replace(ROW, function=function))
    with pytest.raises(InputError, match=f"metric function {function}: cannot be imported"):
        statistics(small_pass())


@pytest.mark.parametrize("stage", [PASS, TRAINING, END])
def test_missing_function_is_refused_before_a_run_starts(
    own_catalogue: None, tmp_path: Path, stage: str
) -> None:
    catalogue.add(replace(ROW, stage=stage, function="uncollapse.metrics.usage:no_such"))
    with pytest.raises(InputError, match=r"metric function .*:no_such: cannot be imported"):
        run_here(tmp_path, "plain")
    assert not list(tmp_path.iterdir())


# ---- the rows ------------------------------------------------------------------------------------


def test_every_row_function_exists() -> None:
    catalogue.require_functions(*(stage for stage in STAGES if stage not in WITHOUT_FUNCTION))


def test_metric_companions_have_rows() -> None:
    beside = [name for m in catalogue.METRICS.values() for _, name, _ in m.beside]
    assert beside and set(beside) <= set(catalogue.METRICS)


def test_every_metric_has_one_meaning() -> None:
    of_pass = [m for m in catalogue.METRICS.values() if m.stage == PASS]
    assert len({m.meaning for m in of_pass}) == len(of_pass)
    shown = [m for m in catalogue.METRICS.values() if m.column and m.in_text and m.stage != REPORT]
    assert all(m.pitfall for m in shown)


def test_evaluation_keys_are_written_only_by_evaluations() -> None:
    own = catalogue.evaluated_keys()
    assert {"nll", "nll_se", "nll_per_char_se", "oracle_gap", "probe_curves", "sample_words"} <= own
    assert not own & {key for m in catalogue.METRICS.values() if m.stage == PASS for key in m.keys}


def test_larger_results_are_those_of_more_examples_then_samples_then_labels() -> None:
    assert catalogue.size_names() == [
        "nll_examples",
        "nll_samples",
        "probe_labels",
        "reconstruction_examples",
        "amortisation_examples",
    ]


def test_line_shows_units_and_companions_of_the_row(own_catalogue: None) -> None:
    row = {"epoch": 1.0, "step": 8, "split": "valid", "kl": 3.0, "floor": 2.88}
    row |= {"kl_minus_floor": 0.12, "seconds_per_step": 0.0123}
    assert format_row(row).endswith("kl 3.00 floor 2.88 (+0.12) 12.3 ms/step")
    catalogue.METRICS["kl"] = replace(catalogue.METRICS["kl"], beside=(Beside("mi", "mi"),))
    assert "kl 3.00 floor" in format_row(row)
    assert "kl 3.00 (mi 1.23) floor" in format_row({**row, "mi": 1.234})


def test_result_line_has_the_digits_of_the_row() -> None:
    result = {"nll": 25.31, "nll_se": 0.12, "nll_bias": 0.15, "nll_ess": 18.3, "probe": 0.91234}
    line = "nll 25.310 ± 0.120 (bias about 0.150, ess 18.3), probe 0.912"
    assert format_result(result) == line


def test_labels_and_values_follow_the_row(own_catalogue: None) -> None:
    assert axis_label("kl", "test ", ", the rate") == "test kl, the rate (nats)"
    assert axis_label("relative_time") == "time"
    assert catalogue.format_metric_value("probe_chance", 0.36719) == "0.367"
    assert catalogue.format_metric_value("kl", 2.0) == "2.00"
    catalogue.METRICS["kl"] = replace(catalogue.METRICS["kl"], title="rate", unit="bits", digits=1)
    assert axis_label("kl") == "rate (bits)" and catalogue.format_metric_value("kl", 2.0) == "2.0"


def test_docs_table_is_current() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == catalogue.format_documentation()


def test_catalogue_imports_neither_torch_nor_pandas() -> None:
    code = "import sys, uncollapse.metrics.catalogue\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert not {"torch", "pandas", "numpy"} & set(done.stdout.split())
