"""Packs: a study in one file, merged over machines, reported and trained without its folders."""

import io
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from conftest import ROOT, SMALL, composed, mounted, run_here
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from safetensors.torch import load_file, save_file
from test_report import write_run

from uncollapse import report
from uncollapse.errors import InputError
from uncollapse.evaluation.command import main as evaluate
from uncollapse.report import figures
from uncollapse.report.results import read_study
from uncollapse.report.tables import build_tables as all_tables
from uncollapse.run import run
from uncollapse.runs import pack, pack_writing, packed
from uncollapse.runs.layout import Run, require_runs
from uncollapse.runs.pack import read_pack
from uncollapse.runs.pack_writing import DATA_VIEWS, build_pack
from uncollapse.runs.portable import make_portable
from uncollapse.runs.reading import Saved, read_run
from uncollapse.runs.rows import drop_unread
from uncollapse.runs.study import read_runs
from uncollapse.runs.study_cli import main

TEXT_WORDS = [word for word in SMALL if not word.startswith("data.")]
TIMED = re.compile(r"time|seconds")


def write_corpus(folder: Path, colour: str = "red") -> Path:
    folder.mkdir(parents=True)
    for split, size in {"train": 60, "valid": 20, "test": 20}.items():
        lines = [
            f"the {colour if i % 2 else 'blue'} dog {'sees' if i % 3 else 'hears'} a cat"
            for i in range(size)
        ]
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return folder


def train(results: Path, data: Path, head: str, seed: int, *more: str) -> str:
    """A tiny run on text, with the results and data folders of one `machine`."""
    places = [f"data.dir={data}", f"data.cache={results}/cache"]
    words = [*TEXT_WORDS, "data=text", *places, "data.batch_size=16", *more]
    return run(composed(f"head={head}", f"seed={seed}", f"results={results}", *words), head, words)


def study_cli(*words: object) -> int:
    return main([str(word) for word in words])


# runs of this size have variances so small that eps counts, and the floor is lost
pytestmark = pytest.mark.filterwarnings("ignore:.*is below the promised floor")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one` and `two` share a study; `all` has the complete study. Data folders differ."""
    base = tmp_path_factory.mktemp("machines")
    places = {"one": "home/ann/texts", "two": "disk/corpus", "all": "data"}
    for machine, place in places.items():
        data = write_corpus(base / machine / place)
        for head in ("plain", "bn_mu"):
            for seed in {"one": (0,), "two": (1,), "all": (0, 1)}[machine]:
                assert train(base / machine, data, head, seed) == "done"
        words = [str(base / machine / "scratch"), "--metrics", "nll,samples", "--samples", "3"]
        assert evaluate([*words, "--workers", "1"]) == 0
    for machine in ("one", "two"):
        assert study_cli("pack", base / machine / "scratch") == 0
    return base


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A study of three runs, written without training, with its pack."""
    study = tmp_path / "small"
    for head, seed in (("plain", 0), ("plain", 1), ("bn_mu", 0)):
        write_run(study, head, seed, evaluations=3, evaluated=True)
    assert study_cli("pack", study) == 0
    return study


def make_tables(study: Path) -> dict[str, pd.DataFrame]:
    """Every table of a report, without columns of time."""
    found = {}
    for table in all_tables(read_study(study).runs):
        kept = [name for name in table.text.columns if not TIMED.search(str(name))]
        found[table.name] = table.text[kept].reset_index(drop=True)
    return found


def assert_same_tables(one: Path, other: Path) -> None:
    mine, yours = make_tables(one), make_tables(other)
    assert mine.keys() == yours.keys() and len(mine["summary"])
    for name, table in mine.items():
        pd.testing.assert_frame_equal(table, yours[name])


def rows_of(study: Path) -> list[tuple]:
    """(name, rows, summary) of each run, without times, machines and locations."""
    from uncollapse.runs.portable import drop_machine_facts, joined_results, training_summary

    runs = [make_portable(saved) for saved in read_runs(study, [])]
    return [
        (
            saved.name,
            [drop_machine_facts(row) for row in drop_unread(saved.rows)],
            drop_machine_facts(training_summary(saved)),
            drop_machine_facts(joined_results(saved)),
        )
        for saved in runs
    ]


def refusal(capsys: pytest.CaptureFixture, *words: object) -> str:
    """The one-sentence error of a command."""
    capsys.readouterr()
    assert study_cli(*words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


# ---------------------------------------------------------------- one study on two machines


def test_study_merged_from_two_machines_equals_single_machine_study(
    machines: Path, tmp_path: Path
) -> None:
    assert (
        study_cli(
            "merge", tmp_path / "scratch", *(machines / m / "scratch" for m in ("one", "two"))
        )
        == 0
    )
    assert not (tmp_path / "scratch/runs").exists()
    merged, full = rows_of(tmp_path / "scratch"), rows_of(machines / "all/scratch")
    assert len(merged) == 4 and merged == full
    assert_same_tables(tmp_path / "scratch", machines / "all/scratch")


def test_merge_order_does_not_change_bytes(machines: Path, tmp_path: Path) -> None:
    packs = [machines / m / "scratch/runs.parquet" for m in ("one", "two")]
    assert study_cli("merge", tmp_path / "a", *packs) == 0
    assert study_cli("merge", tmp_path / "b", *reversed(packs)) == 0
    assert study_cli("merge", tmp_path / "b", tmp_path / "a", *packs) == 0
    assert (tmp_path / "a/runs.parquet").read_bytes() == (tmp_path / "b/runs.parquet").read_bytes()


def test_pack_contains_no_machine_path(machines: Path) -> None:
    for machine, name in (("one", "texts"), ("two", "corpus")):
        path = machines / machine / "scratch/runs.parquet"
        cells = [path.read_bytes().decode("latin1")]
        cells += [
            str(cell)
            for row in read_pack(path).columns(*pack.PACK_COLUMNS)
            for cell in row.values()
        ]
        text = "\n".join(cells)
        for secret in (str(machines), "home", "/ann", "cache", "disk", "wandb"):
            assert secret not in text.replace("…/corpus", "")
        assert f"…/{name}" in text


def test_report_from_pack_alone_is_complete(
    machines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "PLOTS", {"usage": figures.PLOTS["usage"]})
    folder = machines / "one/scratch"
    (tmp_path / "scratch").mkdir()
    shutil.copy(folder / "runs.parquet", tmp_path / "scratch")
    assert_same_tables(tmp_path / "scratch", folder)
    assert report.main([str(tmp_path / "scratch/runs.parquet")]) == 0
    page = (tmp_path / "scratch/report/index.html").read_text()
    first = (
        read_runs(folder, [])[0]
        .views()["reconstructions.txt"]
        .decode()
        .split("\n")[1]
        .split("\t")[0]
    )
    assert "Reconstructions" in page and first in page and str(machines) not in page


def test_data_samples_can_be_omitted_from_pack(machines: Path, tmp_path: Path) -> None:
    shutil.copytree(machines / "one/scratch", tmp_path / "scratch")
    assert study_cli("pack", "--without-examples", tmp_path / "scratch") == 0
    packed = read_pack(tmp_path / "scratch/runs.parquet").runs()
    stems = {Path(name).stem for saved in packed for name in saved.views()}
    assert "prior" in stems and not stems & set(DATA_VIEWS)


def test_only_samples_shown_in_report_are_packed(machines: Path, tmp_path: Path) -> None:
    folders = {
        saved.name: saved for saved in map(make_portable, read_runs(machines / "all/scratch", []))
    }
    (tmp_path / "runs.parquet").write_bytes(build_pack(folders.values()))
    packed = read_pack(tmp_path / "runs.parquet").runs()
    assert len(packed) == 4 and all(folders[saved.name].views() for saved in packed)
    for saved in packed:
        first = saved.name.endswith("seed=0")
        assert saved.views() == (folders[saved.name].views() if first else {})


def test_two_data_sets_in_one_study_have_distinct_names(tmp_path: Path) -> None:
    for colour in ("red", "green"):
        data = write_corpus(tmp_path / "secret" / colour, colour)
        assert train(tmp_path, data, "plain", 0) == "done"
    runs = pack_and_read(tmp_path / "scratch")
    assert [saved.config["overrides"]["data.dir"] for saved in runs] == ["…/green", "…/red"]
    assert len({saved.name for saved in runs}) == 2 and "secret" not in str(runs)
    assert_same_tables(tmp_path / "scratch/runs.parquet", tmp_path / "scratch")


# ---------------------------------------------------------------- packs in training


def test_packed_run_is_skipped_unless_retraining_is_requested(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run_here(tmp_path, "plain") == "done"
    runs = tmp_path / "scratch/runs"
    first = read_run(Run(next(runs.glob("*/*/*"))), tmp_path / "scratch")
    assert study_cli("pack", tmp_path / "scratch") == 0
    shutil.rmtree(runs)
    capsys.readouterr()
    assert (
        run_here(tmp_path, "plain") == run_here(tmp_path, "plain", "trainer.lr=0.0020") == "skipped"
    )
    assert "runs.parquet holds this run" in capsys.readouterr().out and not runs.exists()
    assert run_here(tmp_path, "plain", "seed=1") == run_here(tmp_path, "bn_mu") == "done"
    assert run_here(tmp_path, "plain", "again=true") == "done"
    capsys.readouterr()
    assert run_here(tmp_path, "plain", "again=true") == "skipped"
    assert "move that folder away" in capsys.readouterr().out
    folder = next(runs.glob("plain/*/seed=0"))
    assert "again" not in (folder / "config.yaml").read_text() and "again" not in str(folder)
    again = read_run(Run(folder), tmp_path / "scratch")
    assert again.config == first.config and again.identity == first.identity
    assert study_cli("verify", tmp_path / "scratch") == 0


@pytest.mark.parametrize("value", ["1", "maybe", "null", "[true]"])
def test_again_must_be_boolean(value: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"again=.*: allowed are true, false"):
        run_here(tmp_path, "plain", f"again={value}")
    assert not (tmp_path / "scratch").exists()


def test_same_data_in_another_folder_is_the_same_run(machines: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    shutil.copy(machines / "one/scratch/runs.parquet", tmp_path / "scratch")
    assert train(tmp_path, write_corpus(tmp_path / "elsewhere"), "plain", 0) == "skipped"
    # the data of the packed run were in a folder `texts`, too
    other = write_corpus(tmp_path / "other/texts", "green")
    assert train(tmp_path, other, "plain", 0) == "done"
    assert len({saved.name for saved in pack_and_read(tmp_path / "scratch")}) == 3


def test_different_data_at_same_relative_path_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, study = Path("texts"), tmp_path / "scratch"
    monkeypatch.chdir(tmp_path)
    write_corpus(here)
    assert train(tmp_path, here, "plain", 0) == "done"
    assert study_cli("pack", study) == 0
    shutil.rmtree(study / "runs")
    assert train(tmp_path, here, "plain", 0) == "skipped"
    here.rename("away")
    assert train(tmp_path, here, "plain", 0) == "skipped", "no data here to compare"
    write_corpus(here, "green")
    assert train(tmp_path, here, "plain", 0) == "done"


def pack_and_read(study: Path) -> list[Saved]:
    assert study_cli("pack", study) == 0
    return read_pack(study / "runs.parquet").runs()


def test_sweep_reads_a_pack_once(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    honest = packed.read_pack
    monkeypatch.setattr(packed, "read_pack", lambda path: asked.append(path) or honest(path))
    (saved, *_) = read_runs(small / "runs.parquet", [])
    for _ in range(5):
        assert packed.find_equal_packed_runs(small, saved.name, saved.config, {})
    assert len(asked) == 1
    write_run(small, "bn_mu", 7, evaluations=3)
    assert study_cli("pack", small) == 0
    assert (
        packed.find_equal_packed_runs(small, "x", {**saved.config, "seed": 7}, {})
        and len(asked) == 2
    )


def test_different_config_under_packed_name_is_refused(tmp_path: Path) -> None:
    assert run_here(tmp_path, "plain") == "done"
    assert study_cli("pack", tmp_path / "scratch") == 0
    shutil.rmtree(tmp_path / "scratch/runs")
    words = [word for word in SMALL if "epochs" not in word]
    cfg = composed("head=plain", f"results={tmp_path}", *words, "trainer.epochs=1")
    path = tmp_path / "scratch/runs.parquet"
    runs = [
        rename(saved, "trainer.epochs=2", "trainer.epochs=1") for saved in read_pack(path).runs()
    ]
    path.write_bytes(build_pack(runs))
    with pytest.raises(InputError, match=r"another config .*trainer.epochs: 2 -> 1"):
        run(cfg, "plain", [*words, "trainer.epochs=1"])


def rename(saved: Saved, old: str, new: str) -> Saved:
    from dataclasses import replace

    assert old in saved.name
    return replace(saved, name=saved.name.replace(old, new))


# ---------------------------------------------------------------- folders and pack together


def test_study_combines_folders_and_pack(small: Path) -> None:
    full = make_tables(small)
    shutil.rmtree(small / "runs/plain/default/seed=0")
    notes: list[str] = []
    assert len(read_runs(small, notes)) == 3 and not notes
    found = make_tables(small)
    for name, table in full.items():
        pd.testing.assert_frame_equal(table, found[name])
    shutil.rmtree(small / "runs")
    assert len(pack_and_read(small)) == 3
    with pytest.raises(InputError, match="packed runs have no weights; train them again"):
        require_runs(small)
    assert evaluate([str(small)]) == evaluate([str(small / "runs.parquet")]) == 2


def test_conflicting_folder_wins_over_pack_with_a_note(
    small: Path, capsys: pytest.CaptureFixture
) -> None:
    change_result(small / "runs/plain/default/seed=0", kl=77.0)
    notes: list[str] = []
    runs = {saved.name: saved for saved in read_runs(small, notes)}
    assert runs["runs/plain/default/seed=0"].summary["kl"] == 77.0 and len(runs) == 3
    assert len(notes) == 1 and "plain/default/seed=0" in notes[0] and "77.0" in notes[0]
    before = (small / "runs.parquet").read_bytes()
    capsys.readouterr()
    assert study_cli("pack", small) == 0
    assert "left out: " in (output := capsys.readouterr().out) and "77.0" in output
    assert (small / "runs.parquet").read_bytes() == before, "what is packed is never replaced"
    assert study_cli("verify", small) == 1
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("name", ["data.json", "summary.json", "metrics.jsonl", "config.yaml"])
@pytest.mark.parametrize(
    "spoil", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:99])]
)
def test_intact_pack_replaces_damaged_folder(name: str, spoil: Any, small: Path) -> None:
    full = rows_of(small)
    spoil(small / "runs/plain/default/seed=0" / name)
    notes: list[str] = []
    runs = read_runs(small, notes)
    assert len(runs) == 3 and not any(saved.notes for saved in runs)
    assert len(notes) == 1 and "plain/default/seed=0" in notes[0]
    assert rows_of(small) == full


def change_result(folder: Path, **values: Any) -> None:
    """Change results of a run in its summary and, if they are there too, in its last row."""
    path, rows = folder / "summary.json", folder / "metrics.jsonl"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    *others, last = rows.read_text().splitlines(keepends=True)
    row = json.loads(last)
    row |= {key: value for key, value in values.items() if key in row}
    rows.write_text("".join([*others, json.dumps(row) + "\n"]))


def test_packed_run_counts_while_being_retrained(small: Path) -> None:
    (small / "runs/plain/default/seed=0/done").unlink()
    notes: list[str] = []
    runs = read_runs(small, notes)
    assert [saved.status for saved in runs] == ["done"] * 3 and "unfinished" in notes[0]


def test_evaluations_of_folder_and_pack_are_merged(small: Path, tmp_path: Path) -> None:
    folder = small / "runs/plain/default/seed=0"
    add_result(folder, "test-nll-K5", nll=1.5)
    shutil.copytree(small, tmp_path / "other")
    assert study_cli("pack", small) == 0
    (folder / "evaluations/test-nll-K5.json").unlink()
    add_result(folder, "valid-nll-K7", nll=2.5)
    wanted = {"test-nll-K5", "valid-nll-K7"}
    (saved,) = [
        saved for saved in read_runs(small, []) if saved.name.endswith("plain/default/seed=0")
    ]
    assert set(saved.summary["evaluations"]) == wanted
    (packed,) = [one for one in pack_and_read(small) if one.name == saved.name]
    assert set(packed.summary["evaluations"]) == wanted and packed.summary["nll"] == 1.5
    assert study_cli("merge", tmp_path / "other", small) == 0


def add_result(folder: Path, name: str, **values: Any) -> None:
    (folder / "evaluations").mkdir(exist_ok=True)
    (folder / f"evaluations/{name}.json").write_text(json.dumps({"nll_samples": 5, **values}))


def test_summary_contradicting_its_rows_is_not_packed(
    small: Path, capsys: pytest.CaptureFixture
) -> None:
    (small / "runs.parquet").unlink()
    path = small / "runs/plain/default/seed=0/summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kl": 77.0}))
    capsys.readouterr()
    assert study_cli("pack", small) == 0
    assert "the test row in metrics.jsonl differ (kl: 77.0" in capsys.readouterr().out
    assert len(read_pack(small / "runs.parquet").runs()) == 2


def test_merging_into_a_training_study_works(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "s", "bn_tau", 0, status="unfinished", evaluations=3)
    for new in (3, 0):
        capsys.readouterr()
        assert study_cli("merge", "s", "small") == 0
        assert f"3 runs, {new} of them new in it" in capsys.readouterr().out
    assert len(read_runs(Path("s"), [])) == 4


def test_invalid_runs_are_omitted_and_named(small: Path, capsys: pytest.CaptureFixture) -> None:
    (small / "runs.parquet").unlink()
    write_run(small, "bn_tau", 0, status="failed", evaluations=3)
    write_run(small, "bn_tau", 1, status="unfinished", evaluations=3)
    busy = write_run(small, "bn_tau", 2, evaluations=3)
    (write_run(small, "bn_tau", 3, evaluations=3) / "config.yaml").write_text("head: [")
    (write_run(small, "bn_tau", 4, evaluations=3) / "summary.json").write_text("{")
    (write_run(small, "bn_tau", 5, evaluations=3) / "metrics.jsonl").write_text("{}\n{}\n")
    (write_run(small, "bn_tau", 6, evaluations=3) / "model.safetensors").write_bytes(b"weights")
    capsys.readouterr()
    with Run(busy).lock():
        assert study_cli("pack", small) == 0
    output = capsys.readouterr().out
    assert output.count("left out: ") == 7 and "3 runs" in output
    for word in ("failed", "unfinished", "another process is working on this run", "damaged"):
        assert word in output
    assert len(read_pack(small / "runs.parquet").runs()) == 3


# ---------------------------------------------------------------- refusals


def other_study(study: Path, to: Path) -> Path:
    shutil.copytree(study, to, ignore=shutil.ignore_patterns("runs.parquet"))
    return to


@pytest.mark.parametrize(
    ("change_it", "words"),
    [
        (lambda folder: change_result(folder, kl=9.0), ["test, eval: kl"]),
        (lambda folder: change_result(folder, parameters=9), ["summary: parameters: None and 9"]),
        (lambda folder: change_result(folder, train_mode={"kl": 9.0}), ["summary: train_mode"]),
        (lambda folder: drop_row(folder), ["rows: 8 and 7"]),
        (lambda folder: perturb_row(folder), ["row of step 200, train, train: kl"]),
        (
            lambda folder: add_result(folder, "test-nll-K5", nll=3.0),
            ["evaluation test-nll-K5: nll: 2.0 and 3.0"],
        ),
    ],
)
def test_same_run_with_different_result_is_refused(
    change_it: Any, words: list[str], small: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    name = "runs/plain/default/seed=1"
    add_result(small / name, "test-nll-K5", nll=2.0)
    other = other_study(small, tmp_path / "other")
    assert study_cli("pack", small) == 0
    change_it(other / name)
    before = (small / "runs.parquet").read_bytes()
    for source in (other, small):  # once as a study, once as a pack
        if source is small:
            assert study_cli("pack", other) == 0
            source = other / "runs.parquet"
        line = refusal(capsys, "merge", small, source)
        assert name in line and str(small / "runs.parquet") in line and str(other) in line
        assert all(word in line for word in words)
        assert (small / "runs.parquet").read_bytes() == before


def drop_row(folder: Path) -> None:
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[1:]))


def perturb_row(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows[0]["kl"] += 1e-12
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_clocks_and_versions_may_differ(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = other_study(small, tmp_path / "other")
    for folder in other.glob("runs/*/*/*"):
        change_result(
            folder,
            seconds=1e9,
            commit="other",
            versions={},
            device="cuda",
            peak_memory_mb=1,
            threads=8,
        )
    capsys.readouterr()
    assert study_cli("merge", small, other) == 0 and "left out" not in capsys.readouterr().out


def test_different_weights_are_refused(
    machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = shutil.copytree(machines / "one/scratch", tmp_path / "other")
    (other / "runs.parquet").unlink()
    plain, bn = (next(other.glob(f"runs/{head}/*/*")) for head in ("plain", "bn_mu"))
    # a weights file does not record which run it belongs to
    save_file(load_file(bn / "model.safetensors"), plain / "model.safetensors")
    assert "weights: " in refusal(capsys, "merge", machines / "one/scratch", other)


def test_two_runs_with_one_name_are_refused(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = tmp_path / "other"
    write_run(other, "plain", 0, evaluations=3, slots={"model": {"latent": 16}})
    line = refusal(capsys, "merge", small, other)
    assert (
        "runs/plain/default/seed=0 is one run in" in line
        and "latent: 32 and 16" in line.replace(" -> ", " and ")
    )


def test_pack_of_different_data_is_refused(
    machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = write_corpus(tmp_path / "texts", "green")
    assert train(tmp_path, other, "plain", 5) == "done"
    line = refusal(capsys, "merge", machines / "one/scratch", tmp_path / "scratch")
    assert (
        "on other data" in line
        and "train: " in line
        and str(tmp_path) in line
        and str(machines / "one") in line
    )


def test_data_without_fingerprint_is_distinguished_by_facts(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = tmp_path / "other"
    data = write_run(other, "plain", 9, evaluations=3) / "data.json"
    data.write_text(json.dumps(json.loads(data.read_text()) | {"vocab": 999}))
    assert "vocab: 112 and 999" in refusal(capsys, "merge", small, other)


def foreign(path: Path) -> None:
    parquet.write_table(pa.table({"a": [1]}), path)


def newer(path: Path) -> None:
    runs = read_pack(path).runs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack_writing, "SCHEMA", 99)
        path.write_bytes(build_pack(runs))


def linked(path: Path) -> None:
    path.rename(path.parent.parent / "away.parquet")
    path.symlink_to(path.parent.parent / "away.parquet")


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def edited(path: Path) -> None:
    table = parquet.read_table(path)
    facts = parquet.read_metadata(path).metadata
    with parquet.ParquetWriter(path, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(facts)


def renamed(path: Path) -> None:
    """A valid digest over content that is not a pack."""
    runs = read_pack(path).runs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "PACK_COLUMNS", (*pack.PACK_COLUMNS[1:], "other"))
        honest = pack_writing.pack_row
        patch.setattr(
            pack_writing, "pack_row", lambda saved, views: honest(saved, views) | {"other": "x"}
        )
        path.write_bytes(build_pack(runs))


REFUSED = {
    "empty": (lambda path: path.write_bytes(b""), "an empty file"),
    "text": (lambda path: path.write_text("runs"), "damaged, or not a pack"),
    "foreign": (foreign, "not a pack of uncollapse"),
    "newer": (newer, "written by a newer version"),
    "other columns": (renamed, "other columns"),
    "edited": (edited, "its digest does not match its content"),
    "link": (linked, "a link that leads out of"),
    "folder": (folder_instead, "not a file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_invalid_pack_gives_one_sentence(
    kind: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    spoil, words = REFUSED[kind]
    fine = other_study(small, tmp_path / "fine")
    spoil(small / "runs.parquet")
    for command in (["pack", small], ["merge", small, fine], ["merge", fine, small]):
        assert words in refusal(capsys, *command)
    assert not (fine / "runs.parquet").exists()
    assert study_cli("verify", small) == 1 and words in capsys.readouterr().out
    assert study_cli("list", small) == 0 and words in capsys.readouterr().out
    notes: list[str] = []
    assert len(read_runs(small, notes)) == 3 and words in notes[0], (
        "the folders are reported all the same"
    )
    shutil.rmtree(small / "runs")
    assert report.main([str(small)]) == 2 and words in capsys.readouterr().err
    with pytest.raises(InputError, match=words):
        run_here(tmp_path, "plain", "study=small")


def test_read_only_study_gives_one_sentence(
    small_disk: Path, capsys: pytest.CaptureFixture
) -> None:
    study = small_disk / "s"
    write_run(study, "plain", 0, evaluations=3)
    mounted(small_disk, "-o", "remount,ro")
    assert "Read-only" in refusal(capsys, "pack", study)
    mounted(small_disk, "-o", "remount,rw")
    assert study_cli("pack", study) == 0
    mounted(small_disk, "-o", "remount,ro")
    assert study_cli("pack", study) == 0, "nothing has changed, so nothing is written"


def test_full_disk_leaves_old_pack(small_disk: Path, capsys: pytest.CaptureFixture) -> None:
    from conftest import fill

    study = small_disk / "s"
    write_run(study, "plain", 0, evaluations=3)
    assert study_cli("pack", study) == 0
    before = (study / "runs.parquet").read_bytes()
    write_run(study, "plain", 1, evaluations=3)
    fill(small_disk)
    assert "No space left" in refusal(capsys, "pack", study)
    assert (study / "runs.parquet").read_bytes() == before
    assert [path.name for path in study.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "words",
    [
        ["pack", "/nowhere"],
        ["list", "conf"],
        ["verify", "conf"],
        ["merge", "x", "/nowhere"],
        ["merge", "conf/train.yaml", "x"],
        ["pock"],
        [],
    ],
)
def test_bad_arguments_give_one_sentence(words: list[str], capsys: pytest.CaptureFixture) -> None:
    try:
        code = main(words)
    except SystemExit as stop:
        code = int(str(stop.code))
    output = capsys.readouterr()
    assert (
        code == 2
        and output.err.count("\n") == 1
        and output.err.startswith("error: ")
        and not output.out
    )


def test_unpackable_study_does_not_stop_others(small: Path, capsys: pytest.CaptureFixture) -> None:
    (small / "runs.parquet").unlink()
    assert study_cli("pack", "/nowhere", small) == 2
    assert (small / "runs.parquet").exists() and capsys.readouterr().err.count("\n") == 1


def test_concurrent_packs_do_not_interfere(small: Path, capsys: pytest.CaptureFixture) -> None:
    from uncollapse.disk import hold_lock

    with hold_lock(small, "study"):
        assert "another process is working on this study" in refusal(capsys, "pack", small)


# ---------------------------------------------------------------- damage and kills


def list_damages(content: bytes, count: int) -> list[bytes]:
    """Flipped bits, cuts, zeros and added bytes at random positions, half of them in the footer."""
    dice = random.Random(5)
    found = []
    foot = pack.footer_offset(content)
    for number in range(count):
        spot = dice.randrange(foot, len(content)) if number % 2 else dice.randrange(len(content))
        bytes_ = bytearray(content)
        if number % 4 < 2:
            bytes_[spot] ^= 1 << dice.randrange(8)
        elif number % 8 == 2:
            del bytes_[spot:]
        elif number % 8 == 3:
            bytes_[spot : spot + 64] = bytes(len(bytes_[spot : spot + 64]))
        elif number % 8 == 6:
            bytes_[spot:spot] = b"x"
        else:
            bytes_ += b"x"
        if bytes(bytes_) != content:
            found.append(bytes(bytes_))
    return found


def test_damaged_pack_gives_one_sentence(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fine = other_study(small, tmp_path / "fine")
    shutil.rmtree(small / "runs")
    path = small / "runs.parquet"
    spoilt = list_damages(path.read_bytes(), 80)
    assert len(spoilt) >= 70
    for content in spoilt:
        path.write_bytes(content)
        capsys.readouterr()
        assert report.main([str(small)]) == 2
        assert study_cli("merge", fine, small) == 2
        with pytest.raises(InputError, match=r"runs\.parquet"):
            packed.find_equal_packed_runs(small, "x", {"head": "plain", "seed": 0}, {})
        assert study_cli("verify", small) == 1
        output = capsys.readouterr()
        assert (
            output.err.count("\n") == 2
            and output.out.count("\n") == 1
            and "runs.parquet" in output.out
        )
        assert path.read_bytes() == content
    assert not (fine / "runs.parquet").exists()


LOOP = """
import sys
from pathlib import Path
from uncollapse.runs.merge import pack_study
study = Path(sys.argv[1])
pack_study(study)
print("ready", flush=True)
while True:
    for examples in (False, True):
        pack_study(study, examples)
"""


@pytest.mark.slow
def test_kill_leaves_old_or_new_pack(machines: Path, tmp_path: Path) -> None:
    study = shutil.copytree(machines / "one/scratch", tmp_path / "scratch")
    both = set()
    for words in (["--without-examples"], []):
        assert study_cli("pack", *words, study) == 0
        both.add((study / "runs.parquet").read_bytes())
    assert len(both) == 2
    dice = random.Random(3)
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(study)], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        time.sleep(dice.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert (study / "runs.parquet").read_bytes() in both
        assert len(read_runs(study, [])) == 2
    # a temporary file is removed even if the pack turns out to be unchanged
    assert study_cli("pack", study) == 0
    (study / ".runs.parquet.new").write_bytes(b"half")
    assert study_cli("pack", study) == study_cli("verify", study) == 0
    assert not list(study.glob(".*.new"))


# ---------------------------------------------------------------- list, verify, and the file itself


def test_list_and_verify(small: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.rmtree(small / "runs/plain/default/seed=0")
    write_run(small, "bn_tau", 0, status="failed", evaluations=3)
    write_run(small, "bn_tau", 1, evaluations=3)
    capsys.readouterr()
    assert study_cli("list", small) == 0
    lines = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[2:]]
    assert lines == [
        ["runs/bn_mu/default/seed=0", "both", "done"],
        ["runs/bn_tau/default/seed=0", "folder", "failed"],
        ["runs/bn_tau/default/seed=1", "folder", "done"],
        ["runs/plain/default/seed=0", "pack", "done"],
        ["runs/plain/default/seed=1", "both", "done"],
    ]
    assert study_cli("verify", small) == 0 and capsys.readouterr().out == "4 runs: fine\n"
    (small / "runs/bn_tau/default/seed=1/metrics.jsonl").write_text("{\n{}\n")
    assert study_cli("verify", small) == 1 and capsys.readouterr().out.count("\n") == 1


def test_verify_reads_weights(
    machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    study = shutil.copytree(machines / "one/scratch", tmp_path / "scratch")
    weights = next(study.glob("runs/plain/*/*")) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 4
    weights.write_bytes(content)
    capsys.readouterr()
    assert study_cli("verify", study) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert "model.safetensors" in line and "damaged" in line


@pytest.mark.parametrize(
    ("key", "value"), [("identity", "0" * 16), ("name", "runs/bn_mu/default/seed=0")]
)
def test_verify_checks_pack_metadata(
    key: str,
    value: str,
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    honest = pack_writing.pack_row
    monkeypatch.setattr(
        pack_writing, "pack_row", lambda saved, views: honest(saved, views) | {key: value}
    )
    path = small / "runs.parquet"
    path.write_bytes(
        build_pack(read_pack(path).runs()[-1:] if key == "identity" else read_pack(path).runs())
    )
    shutil.rmtree(small / "runs")
    capsys.readouterr()
    assert study_cli("verify", small) == 1
    assert ("identity" if key == "identity" else "twice") in capsys.readouterr().out


def test_packed_run_matches_its_folder(machines: Path) -> None:
    folders = {
        saved.name: saved for saved in map(make_portable, read_runs(machines / "all/scratch", []))
    }
    buffer = io.BytesIO(build_pack(folders.values()))
    path = machines / "again.parquet"
    path.write_bytes(buffer.getvalue())
    packed = read_pack(path).runs()
    assert len(packed) == 4
    for saved in packed:
        other = folders[saved.name]
        for name in ("status", "config", "command", "data", "summary", "identity"):
            assert getattr(saved, name) == getattr(other, name)
        assert saved.rows == drop_unread(other.rows)
        # moments in all rows of the folder, but in test rows only of the pack
        assert all("moments" in row for row in other.rows)
        assert {row["split"] for row in saved.rows if "moments" in row} == {"test"}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUE = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
OBJECT = st.dictionaries(TEXT, VALUE | st.lists(VALUE, max_size=3), max_size=4)
ROW = st.builds(
    lambda step, split, more: {**more, "step": step, "split": split, "mode": "eval"},
    st.integers(0, 2**40),
    st.sampled_from(["train", "valid", "test"]),
    st.dictionaries(TEXT.map("x{}".format), VALUE, max_size=4),
)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(ROW, max_size=5, unique_by=lambda row: (row["step"], row["split"])),
    summary=OBJECT,
    data=OBJECT,
    knobs=st.dictionaries(TEXT.map("knob{}".format), VALUE | st.just(float("inf")), max_size=4),
    views=st.dictionaries(
        st.sampled_from(["prior.txt", "prior.png", "neighbours.txt"]),
        st.binary(max_size=9),
        max_size=3,
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_pack_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list,
    summary: dict,
    data: dict,
    knobs: dict,
    views: dict,
    seed: int,
) -> None:
    config = {"head": "plain", "seed": seed, **knobs}
    saved = Saved(
        f"runs/plain/default/seed={seed}",
        "done",
        config,
        "python",
        data,
        rows,
        summary,
        views=lambda: views,
    )
    path = tmp_path_factory.mktemp("pack") / "runs.parquet"
    path.write_bytes(build_pack([saved]))
    (found,) = read_pack(path).runs()
    for name in ("name", "status", "config", "command", "data", "rows", "summary", "identity"):
        assert getattr(found, name) == getattr(saved, name)
    assert found.views() == views


PLACES = ["/home/me/x", "/data/x y/", "~/x", "~me", "/", "C:\\me\\x", "file:///me/x", "/home/me"]


@pytest.mark.parametrize(
    "place", [*PLACES, "ptb", "./a/b", "owner/set", "data/x y/", "https://a.org/me/x"]
)
def test_portable_run_is_the_same_run_and_idempotent(place: str) -> None:
    overrides = {"data.dir": place, "x": place}
    config = {
        "head": "plain",
        "seed": 0,
        "data": {"dir": place, "cache": place},
        "overrides": overrides,
    }
    name, command = (
        "runs/plain/x=-home-me-x,y=2-0123abcd/seed=0",
        f"python train.py 'data.dir={place}'",
    )
    saved = Saved(name, "done", config, command, {"file": place if "/" in place else ""})
    once = make_portable(saved)
    assert make_portable(once) == once and once.identity == saved.identity
    text = str((once.config, once.command, once.data, once.name))
    assert place not in PLACES or not re.search(r"home|data/x|~|me\\|me/", text)
    assert place in PLACES or place in once.config["data"]["dir"] in command
