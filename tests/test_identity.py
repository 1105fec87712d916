"""The same run under two names: the name of a run depends only on its resolved config."""

import json
from pathlib import Path

import pytest
from conftest import SMALL, composed, folder_of, run_here

from uncollapse.request import understand_request
from uncollapse.runs.identity import compute_identity, fill_missing_keys, list_changes


def folder(*words: str, head: str = "plain") -> Path:
    """The folder below runs/ of a command line."""
    cfg = composed(f"head={head}", *words)
    return understand_request(cfg, head, [*words]).run.folder.relative_to("results/scratch/runs")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("plain", ["trainer.lr=0.002"]),
        ("plain", ["trainer.lr=2e-3"]),
        ("plain", ["trainer.lr='0.002'"]),
        ("plain", ["model=lstm"]),
        (
            "plain",
            ["data=grammar", "model.hidden=128", "trainer=default", "device=auto", "threads=1"],
        ),
        ("plain", ["trainer.max_steps=null"]),
        ("plain", ["objective.weight=1"]),
        ("plain", ["++trainer.epochs=6"]),
        ("bn_tau", ["tau=0.5"]),
        ("kl_anneal", ["anneal_epochs=2.0"]),
        ("bn_tau_cyclical", ["tau=0.50", "cycles=4"]),
    ],
)
def test_explicit_default_does_not_change_name(head: str, words: list[str]) -> None:
    assert folder(*words, head=head) == Path(head, "default", "seed=0")


def test_run_name_holds_only_changed_overrides() -> None:
    assert folder("tau=0.3", "trainer.lr=0.002", head="bn_tau") == Path("bn_tau/tau=0.3/seed=0")
    assert folder("model=transformer") == Path("plain/model=transformer/seed=0")


def test_group_default_depends_on_chosen_option() -> None:
    assert folder("model=transformer", "model.width=64").parent.name == "model=transformer"
    assert (
        folder("model=lstm_ptb", "model.dropout_in=0.0").parent.name
        == "model=lstm_ptb,model.dropout_in=0.0"
    )
    assert folder("model=lstm_ptb", "model.dropout_in=0.5").parent.name == "model=lstm_ptb"


def test_experiment_values_are_defaults() -> None:
    cfg = composed(
        "head=plain", "experiment=transformer_small", "data.train=8000", "trainer.epochs=5"
    )
    words = ["experiment=transformer_small", "data.train=8000", "trainer.epochs=5"]
    assert understand_request(cfg, "plain", words).run.folder.parent.name == "default"


def test_equivalent_command_is_skipped(tmp_path: Path) -> None:
    assert run_here(tmp_path, "bn_tau", "tau=0.3") == "done"
    assert run_here(tmp_path, "bn_tau", "tau=0.30", "trainer.lr=0.002", "model=lstm") == "skipped"
    assert len([*(tmp_path / "scratch/runs/bn_tau").iterdir()]) == 1


def test_folder_with_old_style_name_is_found(tmp_path: Path) -> None:
    run_here(tmp_path, "plain")
    old = folder_of(tmp_path, "plain")
    named = old.parent.with_name("trainer.lr=0.002")
    old.parent.rename(named)
    assert run_here(tmp_path, "plain", "trainer.lr=0.002") == "skipped"
    assert run_here(tmp_path, "plain") == "skipped"
    assert [path.name for path in (tmp_path / "scratch/runs/plain").iterdir()] == [named.name]


def test_equivalent_paths_give_same_name() -> None:
    one = {"data": {"dir": "/a/b", "cache": "/x"}}
    for spelt in ("/a/b/", "/a/../a/b", "/a//b", "/a/./b"):
        other = {"data": {"dir": spelt, "cache": "/y"}}
        assert compute_identity(one) == compute_identity(other) and not list_changes(one, other, {})
    assert list_changes(one, {"data": {"dir": "/a/c"}}, {}) == ["data.dir: /a/b -> /a/c"]


def test_unfinished_duplicate_is_resumed_in_its_own_folder(tmp_path: Path) -> None:
    run_here(tmp_path, "plain")
    old = folder_of(tmp_path, "plain")
    (old / "done").unlink()
    old.parent.rename(old.parent.with_name("odd"))
    assert run_here(tmp_path, "plain") == "done"
    assert folder_of(tmp_path, "plain").parent.name == "odd"


def test_unreadable_neighbour_is_ignored(tmp_path: Path) -> None:
    broken = tmp_path / "scratch/runs/plain/other/seed=0"
    broken.mkdir(parents=True)
    (broken / "config.yaml").write_bytes(b"\xff\xfe: [")
    assert run_here(tmp_path, "plain") == "done"


def test_run_older_than_an_option_is_accepted(tmp_path: Path) -> None:
    run_here(tmp_path, "plain")
    config = folder_of(tmp_path, "plain") / "config.yaml"
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if "bidirectional" not in line))
    assert run_here(tmp_path, "plain") == "skipped"


def test_completed_config_adds_no_keys_for_another_class() -> None:
    saved = {"model": {"_target_": "a", "size": 1}, "seed": 0}
    base = {"model": {"_target_": "b", "size": 2, "depth": 3}, "seed": 1, "young": 5}
    assert fill_missing_keys(saved, base) == {**saved, "young": 5}
    assert list_changes(saved, {**saved, "young": 6}, base) == ["young: 5 -> 6"]


def test_removed_key_without_effect_is_ignored(tmp_path: Path) -> None:
    """A run saved with a key that is gone, at the value that changed nothing."""
    run_here(tmp_path, "plain")
    config = folder_of(tmp_path, "plain") / "config.yaml"
    config.write_text(config.read_text().replace("trainer:\n", "trainer:\n  plateau_decays: 0\n"))
    assert run_here(tmp_path, "plain") == "skipped"
    plain = {"trainer": {"lr": 1}}
    removed, other = ({"trainer": {"lr": 1, "plateau_decays": count}} for count in (0, 2))
    assert compute_identity(removed) == compute_identity(plain) != compute_identity(other)
    assert not list_changes(removed, plain, {}) and list_changes(other, plain, {})


def test_identity_ignores_logging_and_number_format() -> None:
    one = {
        "head": "plain",
        "seed": 0,
        "trainer": {"lr": 1.0},
        "study": "a",
        "results": "x",
        "overrides": {},
    }
    other = {
        **one,
        "study": "b",
        "results": "y",
        "overrides": {"k": 1},
        "trainer": {"lr": 1},
        "log": {"wandb": True},
    }
    assert compute_identity(one) == compute_identity(json.loads(json.dumps(other)))
    assert compute_identity(one) != compute_identity({**one, "seed": 1})
    assert compute_identity(one) != compute_identity({**one, "trainer": {"lr": True}})


def test_run_identity_ignores_data_location() -> None:
    one, other = ({"head": "plain", "seed": 0, "data": {"dir": f"/{place}/yelp"}} for place in "ab")
    old, content = {"vocab": 10, "train": 96}, {"content": "ab12"}
    assert (
        compute_identity(one, old)
        == compute_identity(other, old)
        != compute_identity(one, {**old, "vocab": 11})
    )
    assert (
        compute_identity(one, content)
        == compute_identity(other, {**old, **content})
        != compute_identity(one, old)
    )
    assert compute_identity(one, content) != compute_identity(one, {"content": "cd34"})
    assert (
        compute_identity(one)
        == compute_identity(other)
        != compute_identity({**one, "data": {"dir": "/a/ptb"}})
    )


@pytest.mark.parametrize("words", [SMALL, [*SMALL, "trainer.lr=0.002"]])
def test_config_lists_overrides_in_its_name(words: list[str], tmp_path: Path) -> None:
    import yaml

    run_here(tmp_path, "plain", *words)
    config = yaml.safe_load((folder_of(tmp_path, "plain") / "config.yaml").read_text())
    assert "trainer.lr" not in config["overrides"] and config["overrides"]["model.hidden"] == 12
