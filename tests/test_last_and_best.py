"""Last and best weights: both are tested, also after a resume, and the report names them."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import SMALL, composed, folder_of, rows, run_here
from test_report import write_run

from uncollapse.building import prepare
from uncollapse.evaluation.opened import open_run
from uncollapse.metrics.information import FINAL_MIXTURE
from uncollapse.metrics.one_pass import evaluate
from uncollapse.report.figures.mi_vs_kl import describe_mi_vs_kl
from uncollapse.report.figures.rate_distortion import describe_rate_distortion
from uncollapse.report.figures.train_vs_eval import describe_train_vs_eval
from uncollapse.report.figures.usage import describe_usage
from uncollapse.report.notes import changed_by_weights as moved
from uncollapse.report.notes import weights_note
from uncollapse.report.page import write_report
from uncollapse.report.results import read_study
from uncollapse.report.tables.summary import summary_table
from uncollapse.run import run
from uncollapse.runs.checkpoint import load_model
from uncollapse.runs.layout import Run
from uncollapse.runs.rows import last_test_row, read_rows
from uncollapse.training.selection import Selection
from uncollapse.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick_figures")

NUMBERS = ("nelbo", "kl", "mi", "shuffle_gap")


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture
def early_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the first evaluation the best one."""
    honest = Selection.judge
    monkeypatch.setattr(
        Selection,
        "judge",
        lambda self, progress, nelbo, *rest: honest(
            self, progress, nelbo + 1000 * progress.step, *rest
        ),
    )


def test_last_weights_that_are_best_are_tested_once(tmp_path):
    run_here(tmp_path, "plain")
    folder = folder_of(tmp_path, "plain")
    found, tested = summary(folder), [row for row in rows(folder) if row["split"] == "test"]
    assert [(row["mode"], row["weights"], row["step"]) for row in tested] == [
        ("eval", "best", 12),
        ("train", "best", 12),
    ]
    assert (
        found["weights"] == "best"
        and found["best"] == found["last"]
        and found["best"]["step"] == 12
    )
    assert {key: found[key] for key in found["best"] if key != "step"} == {
        key: value for key, value in found["best"].items() if key != "step"
    }
    assert {*NUMBERS, *(f"{name}_se" for name in NUMBERS), "weight", "au", "ppl"} <= set(
        found["best"]
    )
    assert not any(isinstance(value, list | dict) for value in found["best"].values())


@pytest.mark.parametrize("head", ["plain", "bn_tau", "vamp"])
def test_last_weights_match_checkpoint_and_its_statistics(head, tmp_path, early_best):
    run_here(tmp_path, head, "trainer.keep=[last]")
    folder = folder_of(tmp_path, head)
    found = summary(folder)
    assert (
        found["best_step"] == found["best"]["step"] == 0
        and found["step"] == found["last"]["step"] == 12
    )
    assert (
        found["last"]["nelbo"] != found["best"]["nelbo"]
        and found["nelbo"] == found["best"]["nelbo"]
    )
    tested = [row for row in rows(folder) if row["split"] == "test"]
    assert [(row["mode"], row["weights"]) for row in tested] == [
        ("eval", "last"),
        ("eval", "best"),
        ("train", "best"),
    ]
    # independently: evaluate the model of the checkpoint
    subject = open_run(Run(folder), {}, print)
    subject.model.load_state_dict(torch.load(folder / "state.pt", weights_only=True)["model"])
    again = evaluate(
        subject.model, subject.data, "test", "eval", None, None, FINAL_MIXTURE, subject.encode
    )
    assert {name: again[name] for name in NUMBERS} == {
        name: found["last"][name] for name in NUMBERS
    }
    load_model(folder / "model.safetensors", subject.model)
    again = evaluate(
        subject.model, subject.data, "test", "eval", None, None, FINAL_MIXTURE, subject.encode
    )
    assert {name: again[name] for name in NUMBERS} == {name: found[name] for name in NUMBERS}


def test_weights_file_keeps_best_weights(tmp_path, early_best):
    run_here(tmp_path, "bn_mu")
    kept, fresh = (prepare(composed("head=bn_mu", *SMALL), "bn_mu").model for _ in range(2))
    load_model(folder_of(tmp_path, "bn_mu") / "model.safetensors", kept)
    pairs = zip(kept.parameters(), fresh.parameters(), strict=True)  # the best are those of step 0
    assert all(torch.equal(a, b) for a, b in pairs)


class Stop(BaseException):
    """Stands for a power failure."""


@pytest.mark.parametrize("head", ["plain", "bn_tau"])
@pytest.mark.parametrize("call", ["test", "last row", "best row"])
@pytest.mark.slow
def test_run_killed_after_last_step_tests_same_weights(
    head, call, tmp_path, monkeypatch, early_best
):
    run_here(tmp_path / "full", head)
    honest = Trainer.write_row

    def cut(self, split, mode, extra, limit=None):
        if split == "test" and call == f"{extra['weights']} row":
            honest(self, split, mode, extra, limit)
            raise Stop
        return honest(self, split, mode, extra, limit)

    def stop(self):
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "write_row", cut) if call != "test" else patch.setattr(
            Trainer, "test", stop
        )
        with pytest.raises(Stop):
            run_here(tmp_path / "cut", head)
    run_here(tmp_path / "cut", head)
    full, resumed = (summary(folder_of(tmp_path / name, head)) for name in ("full", "cut"))
    assert full["last"] != full["best"]
    assert [resumed[key] for key in ("last", "best", "final_weight")] == [
        full[key] for key in ("last", "best", "final_weight")
    ]


def test_last_weights_after_final_reload_are_the_best(tmp_path, early_best):
    words = ("trainer.decay_patience=1", "trainer.decay_reload=true", "trainer.keep=[last]")
    run_here(tmp_path, "bn_mu", *words)
    found = summary(folder_of(tmp_path, "bn_mu"))
    assert found["step"] == 12 and found["best_step"] == 0 and found["last"] == found["best"]
    assert len([row for row in rows(folder_of(tmp_path, "bn_mu")) if row["split"] == "test"]) == 2


def test_pretraining_only_run_has_one_set_of_weights(tmp_path):
    run_here(tmp_path, "ae_pretrain", "pretrain_epochs=1", "trainer.max_steps=4")
    found = summary(folder_of(tmp_path, "ae_pretrain"))
    assert (
        found["best"] == found["last"]
        and found["last"]["step"] == 4
        and found["last"]["weight"] == 0
    )


def test_report_names_best_weights_of_cyclical_run(tmp_path):
    data = ("data=digits", "data.train=200", "data.valid=64", "data.test=900", "data.batch_size=20")
    words = [*data, "model=image_mlp", "model.latent=4", "trainer.epochs=20", "trainer.lr=1e-2"]
    run(composed("head=kl_cyclical", f"results={tmp_path}", *words), "kl_cyclical", words)
    found = summary(folder_of(tmp_path, "kl_cyclical"))
    assert found["best_step"] < found["step"] == 200 and found["schedule_complete"] is True
    assert found["last"]["shuffle_gap"] != found["best"]["shuffle_gap"] == found["shuffle_gap"]
    (group,) = moved(read_study(tmp_path / "scratch").runs)
    assert group.startswith("cyclical KL annealing")
    page, text = write_report(tmp_path / "scratch")
    sentence = "The last ones differ by more than an interval in cyclical KL annealing "
    assert sentence in page.read_text() and sentence in text
    assert f"{found['last']['kl']:.2f} instead of {found['kl']:.2f}" in text


# ---------------------------------------------------------------- reading and reporting


def make_summary(**last: float) -> dict:
    """The summary of a run, with the test metrics of its best and its last model weights.

    `last`: metrics in which the last weights differ from the best.
    """
    best = {
        "nelbo": 20.0,
        "kl": 2.0,
        "mi": 1.0,
        "shuffle_gap": 1.6,
        **{f"{name}_se": 0.1 for name in NUMBERS},
    }
    return {
        **best,
        "weights": "best",
        "best": {"step": 3, **best},
        "last": {"step": 9, **best, **last},
    }


def find_moved_groups(folder: Path, *lasts: dict) -> dict:
    for seed, last in enumerate(lasts):
        write_run(folder / "s", "plain", seed, evaluations=3, final=make_summary(**last))
    return moved(read_study(folder / "s").runs)


@pytest.mark.parametrize(
    ("lasts", "expected"),
    [
        ([{}], []),
        ([{"shuffle_gap": 6.1}], ["gap 6.10 instead of 1.60"]),
        ([{"shuffle_gap": 1.8}], []),  # 0.2 of 1.96 * 0.1414 = 0.277
        ([{"shuffle_gap": 1.9}], ["gap 1.90 instead of 1.60"]),
        # paired: 0.1, 0.11, 0.09: 0.1 ± 0.0248 excludes 0, though each is within its errors
        ([{"kl": 2.1}, {"kl": 2.11}, {"kl": 2.09}], ["kl 2.10 instead of 2.00"]),
        ([{"kl": 2.1}, {"kl": 1.9}, {"kl": 2.05}], []),
        # two seeds that both move far: 4 and 5 have a t-interval of 4.5 ± 6.4
        ([{"mi": 5.0}, {"mi": 6.0}], ["mi 5.50 instead of 1.00"]),
        ([{"nelbo": 20.0}, {"nelbo": 20.0}], []),
    ],
)
def test_groups_with_different_last_weights_by_hand(lasts, expected, tmp_path):
    assert find_moved_groups(tmp_path, *lasts) == ({"Plain VAE": expected} if expected else {})


def test_page_captions_and_csv_name_the_weights(tmp_path):
    write_run(tmp_path / "s", "plain", 0, evaluations=3, final=make_summary())
    write_run(tmp_path / "s", "kl_anneal", 0, evaluations=3, final=make_summary(shuffle_gap=6.1))
    runs = read_study(tmp_path / "s").runs
    page, text = write_report(tmp_path / "s")
    sentence = (
        "The last ones differ by more than an interval in KL annealing (gap 6.10 instead of 1.60)."
    )
    assert "Weights: the best" in text and sentence in text and sentence in page.read_text()
    for caption in (
        describe_usage,
        describe_rate_distortion,
        describe_mi_vs_kl,
        describe_train_vs_eval,
    ):
        assert caption(runs).endswith(
            "Best weights. The last ones differ by more than an interval in KL annealing."
        )
    table = pd.read_csv(tmp_path / "s" / "report" / "tables" / "summary.csv").set_index("group")
    assert table["last_shuffle_gap_mean"].to_dict() == {"Plain VAE": 1.6, "KL annealing": 6.1}
    each = pd.read_csv(tmp_path / "s" / "report" / "tables" / "runs.csv")
    assert each["last_step"].tolist() == [9, 9] and each["weights"].tolist() == ["best", "best"]
    unmoved = runs[runs["head"] == "plain"]
    assert "In no group do the last ones differ" in weights_note(
        unmoved
    ) and "Best weights." in describe_usage(unmoved)


def test_older_runs_say_nothing_about_weights(tmp_path):
    write_run(tmp_path / "s", "plain", 0, evaluations=3)
    runs = read_study(tmp_path / "s").runs
    assert weights_note(runs) == "" and "eights" not in summary_table(runs).title + describe_usage(
        runs
    )


def test_rows_of_last_weights_are_not_mistaken_for_best(tmp_path):
    folder = write_run(tmp_path / "s", "plain", 0, evaluations=3)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1]) | {"step": 900, "kl": 99.0, "weights": "last"}
    assert last["mode"] == "eval"
    for place in (len(lines) - 2, len(lines)):  # before and after the row of the best
        changed = [*lines[:place], json.dumps(last), *lines[place:]]
        (folder / "metrics.jsonl").write_text("\n".join(changed) + "\n")
        (folder / "summary.json").write_text("{")  # damaged: only the rows are left
        assert last_test_row(read_rows(folder / "metrics.jsonl").rows, "eval")["kl"] != 99.0
        assert read_study(tmp_path / "s").runs["kl"].tolist() != [99.0]
