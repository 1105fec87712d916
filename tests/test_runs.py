"""Run folders: written, skipped, resumed bit for bit, refused, failed, and never damaged."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, SMALL, composed, folder_of, rows, run_here, summary, type_command

from uncollapse.errors import InputError


def test_run_folder_holds_all_promised_files_and_rows(tmp_path: Path) -> None:
    assert run_here(tmp_path, "bn_tau", "tau=0.3") == "done"
    folder = folder_of(tmp_path, "bn_tau")
    seen = rows(folder)
    assert [(r["step"], r["split"], r["mode"]) for r in seen] == [
        *(
            (step, split, mode)
            for step in (0, 6, 12)
            for split, mode in (("train", "train"), ("valid", "eval"))
        ),
        (12, "test", "eval"),
        (12, "test", "train"),
    ]
    for row in seen:
        assert len(row["kl_per_dim"]) == 4 and row["kl"] == pytest.approx(sum(row["kl_per_dim"]))
        assert row["nelbo"] == pytest.approx(row["rec"] + row["kl"])
        assert row["kl_minus_floor"] == pytest.approx(row["kl"] - row["floor"])
        assert {"au", "shuffle_gap", "moments", "ppl", "weight"} <= set(row)
        if row["mode"] == "train":
            # E mu^2 + E sigma^2 = 1 per dimension, over batches of nearly equal size
            sums = [
                a + b
                for a, b in zip(row["moments"]["mu_sq"], row["moments"]["sigma_sq"], strict=True)
            ]
            assert sums == pytest.approx([1] * 4, abs=1e-4)
            assert row["kl_minus_floor"] > -1e-4
    final = json.loads((folder / "summary.json").read_text())
    assert (
        final["status"] == "done"
        and final["seconds"] > 0
        and final["threads"] == 1
        and final["versions"]["torch"]
    )
    assert 50 < final["peak_memory_mb"] < 20_000
    assert final["kl"] == seen[-2]["kl"] and final["train_mode"]["kl"] == seen[-1]["kl"]
    first = (folder / "config.yaml").read_text().splitlines()[0]
    assert first == f"# python train.py head=bn_tau {' '.join(SMALL)} tau=0.3 seed=0"


def test_done_run_is_skipped_and_untouched(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run_here(tmp_path, "plain")
    before = {
        p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder_of(tmp_path, "plain").iterdir()
    }
    assert run_here(tmp_path, "plain") == "skipped"
    assert "skipped" in capsys.readouterr().out
    assert {
        p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder_of(tmp_path, "plain").iterdir()
    } == before


def test_different_config_in_same_folder_is_refused_with_difference(tmp_path: Path) -> None:
    run_here(tmp_path, "bn_mu")
    config = folder_of(tmp_path, "bn_mu") / "config.yaml"
    config.write_text(config.read_text().replace("gamma: 0.6", "gamma: 0.7"))
    with pytest.raises(InputError, match=r"gamma: 0\.7 -> 0\.6"):
        run_here(tmp_path, "bn_mu")


class Stop(BaseException):
    """Stands for a power failure: nothing in the code under test may catch it."""


@pytest.mark.parametrize(
    ("head", "trainer"),
    [
        ("kl_anneal", "default"),
        ("bn_tau", "published"),
        pytest.param("plain", "published", marks=pytest.mark.slow),
        pytest.param("ln_mu", "default", marks=pytest.mark.slow),
    ],
)
def test_resumed_run_equals_uninterrupted_run(
    head: str, trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uncollapse.procedures.joint import Joint

    words = (
        f"trainer={trainer}",
        "trainer.epochs=3",
        "trainer.eval_every=4",
        "model.dropout_in=0.3",
    )
    run_here(tmp_path / "full", head, *words)
    honest, steps = Joint.step, iter(range(10_000))

    def cut(*args: object) -> object:
        if next(steps) == 10:  # between two checkpoints, in the middle of the second epoch
            raise Stop
        return honest(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Joint, "step", cut)
    with pytest.raises(Stop):
        run_here(tmp_path / "cut", head, *words)
    assert not (folder_of(tmp_path / "cut", head) / "done").exists()
    run_here(tmp_path / "cut", head, *words)
    assert_same(folder_of(tmp_path / "full", head), folder_of(tmp_path / "cut", head))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    results = tmp_path_factory.mktemp("undisturbed")
    run_here(results, "bn_mu")
    return folder_of(results, "bn_mu")


@pytest.mark.parametrize("write", range(2, 8))
def test_run_stopped_while_writing_a_file_equals_uninterrupted_run(
    write: int, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, writes = os.replace, iter(range(10_000))

    def cut(source: Path, target: Path) -> None:
        if next(writes) == write:
            # half of a temporary file is left behind
            Path(source).write_bytes(Path(source).read_bytes()[:100])
            raise Stop
        honest(source, target)

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(Stop):
        run_here(tmp_path / "cut", "bn_mu")
    monkeypatch.undo()
    run_here(tmp_path / "cut", "bn_mu")
    assert_same(undisturbed, folder_of(tmp_path / "cut", "bn_mu"))


class Events:
    """Counts the writes of a run after its last training step, and stops it before event `stop`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop: int | None = None):
        from uncollapse.runs.rows import Record
        from uncollapse.training.trainer import Trainer

        self.count, self.stop, self.counting = 0, stop, False
        honest_test, honest_write, honest_replace = Trainer.test, Record.write, os.replace

        def test(trainer: Trainer) -> object:
            self.counting = True
            return honest_test(trainer)

        def write(record: Record, row: dict) -> None:
            self.happens()
            honest_write(record, row)
            self.happens()

        def replace(source: Path, target: Path) -> None:
            self.happens()
            honest_replace(source, target)

        monkeypatch.setattr(Trainer, "test", test)
        monkeypatch.setattr(Record, "write", write)
        monkeypatch.setattr(os, "replace", replace)

    def happens(self) -> None:
        if self.counting:
            if self.count == self.stop:
                raise Stop
            self.count += 1


@pytest.mark.slow
@pytest.mark.parametrize("head", ["plain", pytest.param("kl_cyclical", marks=pytest.mark.slow)])
def test_run_stopped_after_last_step_writes_nothing_twice(
    head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("trainer.epochs=3",)
    with monkeypatch.context() as patched:
        events = Events(patched)
        run_here(tmp_path / "full", head, *words)
    assert events.count >= 6  # each test row before and after, the summary, the mark of the end
    for stop in range(events.count):
        results = tmp_path / f"cut-{stop}"
        with monkeypatch.context() as patched:
            Events(patched, stop)
            with pytest.raises(Stop):
                run_here(results, head, *words)
        assert not (folder_of(results, head) / "done").exists()
        run_here(results, head, *words)
        assert_same(folder_of(tmp_path / "full", head), folder_of(results, head))


@pytest.mark.slow
def test_killed_command_resumes_to_same_result(tmp_path: Path) -> None:
    words = ["head=bn_tau", *SMALL, "trainer.epochs=20", "trainer.eval_every=7"]
    command = [sys.executable, "train.py", *words, f"results={tmp_path / 'cut'}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "step 35 valid" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    folder = folder_of(tmp_path / "cut", "bn_tau")
    assert not (folder / "done").exists()
    assert "resumed at step" in type_command(*command[2:]).stdout
    run_here(tmp_path / "full", "bn_tau", "trainer.epochs=20", "trainer.eval_every=7")
    assert_same(folder_of(tmp_path / "full", "bn_tau"), folder)


def assert_same(one: Path, other: Path) -> None:
    assert rows(one) == rows(other)
    assert summary(one) == summary(other)
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    a, b = (torch.load(folder / "state.pt", weights_only=True) for folder in (one, other))
    assert a["step"] == b["step"] and torch.equal(a["rng"], b["rng"])
    assert all(torch.equal(a["model"][name], b["model"][name]) for name in a["model"])


def test_checkpoint_without_to_beat_resumes(tmp_path: Path) -> None:
    run_here(tmp_path, "plain")
    folder = folder_of(tmp_path, "plain")
    before, state = rows(folder), torch.load(folder / "state.pt", weights_only=True)
    del state["to_beat"], state["digest"], state["rows"]
    torch.save(state, folder / "state.pt")
    (folder / "done").unlink()
    assert run_here(tmp_path, "plain") == "done" and rows(folder) == before


def test_truncated_checkpoint_gives_one_sentence_and_is_kept(tmp_path: Path) -> None:
    run_here(tmp_path, "plain")
    folder = folder_of(tmp_path, "plain")
    (folder / "done").unlink()
    full = (folder / "state.pt").read_bytes()
    (folder / "state.pt").write_bytes(full[: len(full) // 2])
    with pytest.raises(InputError, match=r"state\.pt: truncated or damaged"):
        run_here(tmp_path, "plain")
    assert (folder / "state.pt").read_bytes() == full[: len(full) // 2]
    assert not (folder / "failed").exists()


def test_truncated_last_line_is_repaired_on_resume(tmp_path: Path) -> None:
    run_here(tmp_path / "full", "plain")
    run_here(tmp_path / "torn", "plain")
    folder = folder_of(tmp_path / "torn", "plain")
    (folder / "done").unlink()
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:-2]) + lines[-2][:40])
    run_here(tmp_path / "torn", "plain")
    assert rows(folder) == rows(folder_of(tmp_path / "full", "plain"))


def test_non_finite_loss_error_names_step_head_and_term(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uncollapse.models.text_vae import TextVAE

    honest = TextVAE.nll

    def broken(self: TextVAE, batch: object, z: torch.Tensor) -> torch.Tensor:
        nll = honest(self, batch, z)  # type: ignore[arg-type]
        return nll * torch.nan if torch.is_grad_enabled() else nll

    monkeypatch.setattr(TextVAE, "nll", broken)
    with pytest.raises(
        FloatingPointError, match="step 1, head=bn_mu: the loss is not finite: rec = nan"
    ):
        run_here(tmp_path, "bn_mu")
    folder = folder_of(tmp_path, "bn_mu")
    assert "rec = nan" in (folder / "failed").read_text().splitlines()[-1]
    assert "Traceback" in (folder / "failed").read_text()
    monkeypatch.undo()
    assert run_here(tmp_path, "bn_mu") == "done"  # a retry keeps the old traceback
    assert (folder / "failed.1").exists() and not (folder / "failed").exists()


def test_run_locked_by_another_process_is_refused(tmp_path: Path) -> None:
    import fcntl

    run_here(tmp_path, "plain")
    folder = folder_of(tmp_path, "plain")
    (folder / "done").unlink()
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another process is working on this run"):
        run_here(tmp_path, "plain")
    os.close(handle)


def test_run_just_finished_by_another_process_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uncollapse.run as module

    honest = module.prepare

    def slow(*words: Any) -> Any:
        parts = honest(*words)
        monkeypatch.setattr(module, "prepare", honest)
        assert run_here(tmp_path, "plain") == "done"
        return parts

    monkeypatch.setattr(module, "prepare", slow)
    assert run_here(tmp_path, "plain") == "skipped"


def test_unwritable_results_give_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="cannot write there"):
        run_here(tmp_path / "results", "plain")


@pytest.mark.slow
def test_full_disk_gives_one_sentence_and_run_resumes(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk.

    The first checkpoint fits; the second, with Adam's moments, does not.
    """
    words = ("model.hidden=24", "trainer.eval_every=3")
    run_here(tmp_path / "complete", "bn_mu", *words)
    room = (folder_of(tmp_path / "complete", "bn_mu") / "state.pt").stat().st_size - 1
    command = [
        sys.executable,
        "train.py",
        "head=bn_mu",
        *SMALL,
        *words,
        f"results={tmp_path / 'full'}",
    ]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 2
    assert "state.pt: cannot write there" in done.stderr and "Traceback" not in done.stderr
    folder = folder_of(tmp_path / "full", "bn_mu")
    assert not (folder / "failed").exists() and not list(folder.glob(".*.new"))
    assert "resumed at step 0" in type_command(*command[2:]).stdout
    assert_same(folder_of(tmp_path / "complete", "bn_mu"), folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_gives_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot write there"):
        run_here(tmp_path / "results", "plain")
    tmp_path.chmod(0o700)


def test_evaluation_frequency_does_not_change_weights(tmp_path: Path) -> None:
    run_here(tmp_path / "seldom", "bn_tau")
    run_here(tmp_path / "often", "bn_tau", "trainer.eval_every=2")
    a, b = (
        torch.load(folder_of(tmp_path / n, "bn_tau") / "state.pt", weights_only=True)["model"]
        for n in ("seldom", "often")
    )
    for name in a:
        if "moments" not in name:  # population statistics are recomputed only at evaluations
            assert torch.equal(a[name], b[name]), name


def test_no_op_annealing_equals_plain_bit_for_bit(tmp_path: Path) -> None:
    run_here(tmp_path, "plain")
    run_here(tmp_path, "kl_anneal", "anneal_epochs=0")
    plain, annealed = rows(folder_of(tmp_path, "plain")), rows(folder_of(tmp_path, "kl_anneal"))
    assert plain == annealed


def test_early_stopping_and_lr_decay_follow_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uncollapse.training.trainer as trainer

    honest = trainer.evaluate
    # no evaluation is better than the first
    monkeypatch.setattr(trainer, "evaluate", lambda *a: {**honest(*a), "objective": 1.0})
    run_here(tmp_path, "plain", "trainer.epochs=50", "trainer.patience=3")
    folder = folder_of(tmp_path, "plain")
    assert summary(folder)["step"] == 3 * 6 and summary(folder)["best_step"] == 0

    decay = (
        "trainer.epochs=50",
        *(f"trainer.decay_{k}" for k in ("from_epoch=3", "patience=2", "limit=3")),
    )
    run_here(tmp_path, "plain", "trainer.lr=1.0", *decay)
    (folder,) = set((tmp_path / "scratch/runs/plain").glob("*/seed=0")) - {folder}
    # not before epoch 3: the lr falls after epochs 3 and 5, and the third time, after epoch 7, is
    # the end
    assert read_learning_rates(folder) == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def read_learning_rates(folder: Path) -> list[float]:
    """The learning rate recorded at each evaluation, of which there is one per epoch."""
    return [row["lr"] for row in rows(folder) if row["split"] == "valid"]


# validation losses, and the lr of the published code in each epoch: patience 2 from the fourth
# epoch on (epoch >= 3, counted from 0), at most 3 halvings, computed by hand
PUBLISHED = [
    (90.0, 1.0),  # before training
    (50.0, 1.0),  # the best
    (51.0, 1.0),  # bad, 1
    (52.0, 1.0),  # bad, 2, but too early
    (53.0, 1.0),  # bad, 3: halved; now the loss to beat is 53
    (52.5, 0.5),  # beats it, though not the best: now 52.5
    (52.8, 0.5),  # bad, 1
    (49.0, 0.5),  # the best
    (50.0, 0.5),  # bad, 1
    (51.0, 0.5),  # bad, 2: halved; now the loss to beat is 51
    (51.5, 0.25),  # bad, 1
    (52.0, 0.25),  # bad, 2: halved for the third time, and the end
    (1.0, 0.125),  # never reached
]


def test_lr_decay_matches_published_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import uncollapse.training.selection as selection
    import uncollapse.training.testing as testing
    import uncollapse.training.trainer as trainer

    honest, losses, reloaded = trainer.evaluate, iter(PUBLISHED), []

    def scripted(*args: Any) -> dict:
        return {
            **honest(*args),
            **({"objective": next(losses)[0]} if args[2] == "valid" else {}),
        }

    def reload(path: Path, model: Any) -> None:
        load_model(path, model)
        reloaded.append(model.state_dict())

    load_model = selection.load_model
    monkeypatch.setattr(trainer, "evaluate", scripted)
    for module in (testing, selection):
        monkeypatch.setattr(module, "load_model", reload)
    rule = ("trainer.decay_from_epoch=4", "trainer.decay_patience=2", "trainer.decay_limit=3")
    words = ("trainer=published", "trainer.epochs=50", "trainer.keep=[]", *rule)
    run_here(tmp_path, "plain", *words)
    folder = folder_of(tmp_path, "plain")
    assert read_learning_rates(folder) == [lr for _, lr in PUBLISHED[:-1]]
    assert (
        len(reloaded) == 3 + 1 and summary(folder)["best_step"] == 7 * 6
    )  # once more for the test
    assert summary(folder)["step"] == 11 * 6


@pytest.mark.parametrize(("reload", "left"), [("true", 0), ("false", 1)])
def test_optimisers_restart_with_best_weights(
    reload: str, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam's moments belong to the weights that were replaced."""
    import uncollapse.training.trainer as trainer

    honest = trainer.evaluate
    monkeypatch.setattr(trainer, "evaluate", lambda *a: {**honest(*a), "objective": 1.0})
    run_here(
        tmp_path,
        "plain",
        "trainer.decay_patience=2",
        "trainer.decay_limit=1",
        f"trainer.decay_reload={reload}",
    )
    state = torch.load(folder_of(tmp_path, "plain") / "state.pt", weights_only=True)
    assert state["decays"] == 1
    assert [bool(optimizer["state"]) for optimizer in state["optimizers"].values()] == [
        bool(left)
    ] * 2


def test_published_settings_match_the_original_code() -> None:
    """Epochs are counted from 0 there, so its `epoch >= 15` is 16 finished ones."""
    trainer = composed("trainer=published").trainer
    assert (trainer.decay_from_epoch, trainer.decay_patience, trainer.decay_limit) == (16, 5, 5)
    assert trainer.decay_reload and (trainer.optimizer, trainer.clip, trainer.epochs) == (
        "sgd",
        5.0,
        100,
    )


@pytest.mark.parametrize(
    ("head", "batching", "times"),
    [("bn_mu", "by_length", 1), ("plain", "by_length", 0), ("bn_mu", "mixed", 0)],
)
def test_batches_by_length_train_and_warn_about_batch_norm_once(
    head: str, batching: str, times: int, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run_here(tmp_path, head, f"data.batching={batching}") == "done"
    assert capsys.readouterr().out.count("batch norm takes the length out of mu") == times


def test_one_training_example_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.test: 1 example; .* at least 2"):
        run_here(tmp_path, "plain", "data.test=1")
    assert not list(tmp_path.rglob("config.yaml"))


def test_training_time_accumulates_on_resume(tmp_path: Path) -> None:
    start = time.time()
    run_here(tmp_path, "plain")
    assert (
        0
        < json.loads((folder_of(tmp_path, "plain") / "summary.json").read_text())["seconds"]
        < time.time() - start
    )
