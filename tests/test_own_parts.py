"""docs/own_parts.md as its reader follows it, the contract, and recorded runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, composed

import uncollapse
from uncollapse import contract
from uncollapse.building import require_model
from uncollapse.console import Console
from uncollapse.contract import Case
from uncollapse.contract.case import RUN
from uncollapse.contract.runs import stop_at
from uncollapse.errors import InputError
from uncollapse.interfaces.model import Model
from uncollapse.interfaces.posterior import Posterior
from uncollapse.metrics import catalogue
from uncollapse.own_code import digest_module
from uncollapse.plugins import read_project
from uncollapse.report import main as report
from uncollapse.runs.layout import PACK
from uncollapse.runs.rows import read_run_rows, read_validation_objective
from uncollapse.runs.study_cli import main as study
from uncollapse.starting.project import start_project
from uncollapse.starting.remedy import SLOT_FOLDERS, TEMPLATES, write_remedy

PAGE = (ROOT / "docs/own_parts.md").read_text()
GRU = ("model=gru", *contract.TINY_DATA, "model.hidden=8", "model.latent=3")


def find_block(text: str) -> str:
    """The only fenced block that contains a text."""
    blocks = re.findall(r"^```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if text in block]
    return str(block)


@pytest.fixture
def project(outside: Path) -> Path:
    """A new project, as the current folder, with the files of the page."""
    start_project(Path("mine"))
    os.chdir("mine")
    for name in ("mine/gru.py", "conf/model/gru.yaml", "tests/test_gru.py", "mine/words.py"):
        Path(name).write_text(find_block(f"# {name}\n"))
    read_project()
    return outside / "mine"


def test_head_and_metric_of_a_new_project_take_part(project: Path) -> None:
    contract.check_head("first", "vectors", project / "runs")
    case = Case("first", contract.KINDS["vectors"], project / "again")
    assert all(row["largest_mean"] > 0 for row in contract.read_comparable_rows(case.full))


def test_report_without_the_plugin_names_its_metrics(
    project: Path, no_figures: None, capsys: pytest.CaptureFixture
) -> None:
    folder = Case("first", contract.KINDS["vectors"], project / "runs").full
    study_of_run = project / "runs/full/scratch"
    assert study_of_run in folder.parents and report([str(study_of_run)]) == 0
    assert "no plugin" not in capsys.readouterr().out
    assert study(["pack", str(study_of_run)]) == 0
    # as in a process without the plugin
    del catalogue.METRICS["largest_mean"]
    shutil.copy(study_of_run / PACK, project.parent / PACK)
    capsys.readouterr()
    for place in (study_of_run, project.parent / PACK):
        assert report([str(place)]) == 0
        assert "no plugin in use adds them: largest_mean; name the" in capsys.readouterr().out
    page = (study_of_run / "report/index.html").read_text()
    assert "no plugin in use adds them: largest_mean; name the" in page


@pytest.mark.parametrize("head", ["plain", "skip", "lipschitz", "word_dropout"])
def test_model_of_the_page_takes_heads_of_every_slot(head: str, project: Path) -> None:
    case = Case(head, GRU, project / "runs")
    contract.check_initial_weights(case)
    contract.check_gradients(case)


def test_model_of_the_page_trains_and_writes_sentences(project: Path) -> None:
    folder = Case("bn_mu", GRU, project / "runs").full
    assert len(uncollapse.load(folder).sample(3, beam=2)) == 3


def test_tokeniser_of_the_page_makes_the_tokens(project: Path) -> None:
    words = ("data=reviews", "data.level=function", "data.tokenizer=mine.words.split")
    words += ("data.join=mine.words.join", f"data.cache={project / 'cache'}")
    data = Case("plain", words, project / "runs").parts("model.latent=3").data
    text = "Not good , really !"
    assert data.level.tokens_of(text) == ["not", "good", ",", "really", "!"]
    assert data.level.text_of(data.level.tokens_of(text)) == "not good, really!"
    assert data.facts()["level"] == "function"


@pytest.mark.slow
def test_model_of_the_page_keeps_the_contract(project: Path) -> None:
    contract.check_model("gru", project / "runs", *GRU[1:])


@pytest.mark.parametrize("slot", SLOT_FOLDERS)
def test_generated_test_imports_what_is_installed(slot: str) -> None:
    text = (TEMPLATES / f"test_my_{slot}.py").read_text()
    packages = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))
    assert packages <= {"pathlib", "pytest", "torch", "typing", "uncollapse"}


@pytest.mark.slow
def test_generated_tests_of_every_slot_pass_in_a_project(project: Path) -> None:
    for slot in SLOT_FOLDERS:
        write_remedy(f"own_{slot}", slot)
    # a process of its own, as its conftest.py must not be the one of these tests
    words = ["-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-c", os.devnull]
    done = subprocess.run(
        [sys.executable, *words, *(f"tests/test_own_{slot}.py" for slot in SLOT_FOLDERS)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_contract_names_what_a_head_breaks(project: Path) -> None:
    code = Path("mine/first.py").read_text()
    assert "self.linear = nn.Linear(hidden, 2 * latent)" in code
    # other initial weights than plain
    drawn = "nn.Linear(1, 1)\n        self.linear = nn.Linear(hidden, 2 * latent)"
    Path("mine/first.py").write_text(
        code.replace("self.linear = nn.Linear(hidden, 2 * latent)", drawn)
    )
    with pytest.raises(AssertionError, match="starts from other values than in plain"):
        contract.check_head("first", "vectors", project / "runs")


def test_contract_names_outputs_that_nothing_uses(project: Path) -> None:
    file = Path("mine/first.py")
    chunks = "mean, log_var = outputs(self.linear, h).chunk(2, -1)"
    code = file.read_text()
    assert chunks in code
    file.write_text(code.replace(chunks, f"{chunks}\n        log_var = 0 * log_var"))
    with pytest.raises(AssertionError, match=r"weight is 0 in rows \[4, 5, 6, 7\]"):
        contract.check_gradients(Case("first", contract.KINDS["vectors"], project / "runs"))


@pytest.mark.parametrize(
    "good, bad, reason",
    [
        ("[1][0]", "[0]", r"mine.gru.GRUConfig: h: a PackedSequence; a head takes"),
        ("[1][0]", "[1]", r"mine.gru.GRUConfig: h: shape \[1, 2, 8\]; a head takes one"),
        ("self.embed(batch.tokens)", "batch.tokens",
         r"GRUConfig: encode\(batch\) raised ValueError: .*, in mine/gru.py line \d"),
        ("index_add(0, owner, losses)", "index_add(0, owner, losses).sum()",
         r"nll\(batch, z\) for z \[2, 3\] has the shape \[\]; allowed is \[2\]"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused_before_anything_is_written(
    good: str, bad: str, reason: str, project: Path
) -> None:
    file = Path("mine/gru.py")
    code = file.read_text()
    assert good in code
    file.write_text(code.replace(good, bad))
    with pytest.raises(InputError, match=reason):
        Case("plain", GRU, project / "runs").run("bad")
    assert not (project / "runs/bad").exists()


# ---------------------------------------------------------------- runs of other training loops


def test_loop_of_the_page_is_reported(
    outside: Path, no_figures: None, capsys: pytest.CaptureFixture
) -> None:
    exec(compile(find_block("uncollapse.Recorder("), "docs/own_parts.md", "exec"), {})
    assert report(["results/own"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"my_vae \(β=0\.5\)", printed) and "no plugin" not in printed
    table = pd.read_csv("results/own/report/tables/runs.csv")
    assert len(table) == 1 and table["kl"].gt(0).all() and table["nll"].notna().all()
    for words in (["pack", "results/own"], ["verify", "results/own"]):
        assert study(words) == 0


def encode(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[:, :2], torch.zeros(len(x), 2)


def nll(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return (x[:, :2] - z).square().sum(-1)


def test_recorded_rows_are_those_of_diagnose(tmp_path: Path) -> None:
    x = torch.randn(60, 3)
    recorder = uncollapse.Recorder(tmp_path / "own", head="mine", seed=3, entropy=2.5)
    row = recorder.evaluate(10, encode, nll, x, mixture=50)
    summary = recorder.test(10, encode, nll, x, samples=7, mixture=50)
    found = uncollapse.diagnose(encode, nll, x, samples=7, mixture=50)
    for name in ("rec", "kl", "kl_per_dim", "mi", "au", "moments"):
        assert row[name] == summary[name] == found[name]
    folder = tmp_path / "own/runs/mine/default/seed=3"
    rows = read_run_rows(recorder.run).rows
    assert [(r["step"], r["split"]) for r in rows] == [(10, "valid"), (10, "test")]
    saved = json.loads((folder / "summary.json").read_text())
    assert saved["nll"] == found["nll"] and saved["nll_samples"] == 7
    assert saved["entropy"] == 2.5 and (folder / "done").exists()


def test_recorder_refuses_bad_input_and_overwrites_nothing(tmp_path: Path) -> None:
    recorder = uncollapse.Recorder(tmp_path / "own", head="mine", seed=0)
    with pytest.raises(InputError, match="holds a run already"):
        uncollapse.Recorder(tmp_path / "own", head="mine", seed=0)
    for arguments, reason in [
        ({"head": "a/b", "seed": 0}, "head=a/b: allowed are letters"),
        ({"head": "mine", "seed": -1}, "seed=-1: allowed"),
    ]:
        with pytest.raises(InputError, match=reason):
            uncollapse.Recorder(tmp_path / "own", **arguments)  # type: ignore[arg-type]
    for knobs, reason in [
        ({"head": 1}, "knobs: head: allowed are letters"),
        ({"beta": [1, 2]}, "a number and a text"),
    ]:
        with pytest.raises(InputError, match=reason):
            uncollapse.Recorder(tmp_path / "own", head="other", seed=0, knobs=knobs)
    with pytest.raises(InputError, match="study=a b"):
        uncollapse.Recorder(tmp_path / "a b", head="mine", seed=0)
    with pytest.raises(InputError, match="split=validation"):
        recorder.write(0, "validation", {"kl_per_dim": [1.0]})
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
    with pytest.raises(InputError, match="kl_per_dim is missing"):
        recorder.write(0, "valid", {"rec": 1.0, "kl": 2.0})
    with pytest.raises(InputError, match="split=tests"):
        recorder.evaluate(0, encode, nll, torch.randn(9, 3), split="tests")


def test_objectives_of_the_page_run() -> None:
    page = (ROOT / "docs/own_vae.md").read_text()
    (block,) = [
        block
        for block in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        if "uncollapse.objectives" in block
    ]
    names: dict = {}
    exec(compile(block, "docs/own_vae.md", "exec"), names)
    assert names["loss"].terms.keys() >= {"rec", "kl"}


def test_loop_with_numbers_of_its_own_can_end(tmp_path: Path, no_figures: None) -> None:
    knobs = {"beta": np.float32(0.5), "depth": np.int64(3)}
    recorder = uncollapse.Recorder(tmp_path / "own", head="mine", seed=np.int64(1), knobs=knobs)
    numbers = {
        "rec": np.float64(10), "kl": torch.tensor(2.0), "nelbo": 12.0, "kl_per_dim": np.ones(2)
    }  # fmt: skip
    recorder.write(np.int64(0), "valid", numbers)
    recorder.finish(5, numbers)
    with pytest.raises(InputError, match="the run has ended"):
        recorder.finish(5, numbers)
    assert report([str(tmp_path / "own")]) == 0
    table = pd.read_csv(tmp_path / "own/report/tables/runs.csv")
    assert table["kl"].tolist() == [2.0] and table["rec"].tolist() == [10.0]


# ---------------------------------------------------------------- sweepers


def test_job_returns_the_validation_objective_of_the_best_weights(tmp_path: Path) -> None:
    from uncollapse.run import carry_out

    words = [*contract.KINDS["vectors"], "trainer.epochs=3"]
    cfg = composed("head=plain", f"results={tmp_path}", *words)
    first, again = (carry_out(cfg, "plain", words) for _ in range(2))
    assert (first.status, again.status) == ("done", "skipped")
    assert first.run is not None and again.run is not None
    rows = [row for row in read_run_rows(first.run).rows if row["split"] == "valid"]
    best = min(row["objective"] for row in rows)
    assert read_validation_objective(first.run) == read_validation_objective(again.run) == best


# ---------------------------------------------------------------- models that leave something out


@pytest.mark.parametrize(
    ("head", "change"),
    [("word_dropout", "word_dropout"), ("skip", "output"), ("lipschitz", "output")],
)
def test_model_that_ignores_a_decoder_remedy_is_refused(
    head: str, change: str, project: Path
) -> None:
    """It would train as plain under the remedy's name."""
    code = Path("mine/gru.py").read_text()
    ignoring = code.replace("decoder = decoder or Options()", "decoder = Options()")
    assert ignoring != code
    Path("mine/gru.py").write_text(ignoring)
    with pytest.raises(InputError, match=rf"head={head} changes decoder\.{change}, which .*GRU"):
        Case(head, GRU, project / "runs").parts()
    Case("plain", GRU, project / "runs").parts()


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"returned a dict; .*uncollapse\.interfaces\.model\.Model"
    ):
        require_model({}, "mine.gru.GRUConfig")
    with pytest.raises(InputError, match="has no `posterior`"):
        require_model(HeadlessModel(), "mine.gru.GRUConfig")


class HeadlessModel(Model):
    def encode(self, batch: object) -> Posterior:
        raise NotImplementedError

    def nll(self, batch: object, z: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def parts(self) -> dict[str, list[torch.nn.Parameter]]:
        return {}


def test_changed_code_of_a_finished_run_is_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("first", contract.KINDS["vectors"], project / "runs")
    summary = json.loads((case.full / "summary.json").read_text())
    assert list(summary["own_code"]) == ["mine.first"]
    case.run("full", *RUN)
    assert "is done with this config\n" in capsys.readouterr().out
    module = Path("mine/first.py")
    module.write_text(module.read_text() + "\n# changed\n")
    case.run("full", *RUN)
    said = capsys.readouterr().out
    assert "is done with this config; but mine.first has changed since: move" in said


def test_code_that_changed_during_an_interruption_is_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("first", contract.KINDS["vectors"], project / "runs")
    module = Path("mine/first.py")

    def cut_at(step: int) -> str:
        with patch.object(Console, "stepped", partial(stop_at, step)), suppress(contract.Stop):
            case.run("cut", *RUN)
        return capsys.readouterr().out

    assert "has changed" not in cut_at(10)
    first = digest_module("mine.first")
    module.write_text(module.read_text() + "\n# changed\n")
    assert "mine.first has changed since this run was interrupted; it goes on" in cut_at(16)
    folder = case.run("cut", *RUN)
    assert "has changed" not in capsys.readouterr().out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["own_code"] == {"mine.first": f"{first} then {digest_module('mine.first')}"}
    case.run("cut", *RUN)
    assert "is done with this config\n" in capsys.readouterr().out
