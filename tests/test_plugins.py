"""Parts of the user's own: projects, plugins, config folders, and what cannot name any."""

import os
from pathlib import Path

import pytest
from conftest import SMALL, type_command

from uncollapse.config import heads, options
from uncollapse.config.targets import locate_class
from uncollapse.errors import InputError
from uncollapse.plugins import FOLDERS, PLUGINS, read_project, use_folders, use_plugins
from uncollapse.starting.project import main, start_project

TINY = ("trainer.epochs=1", *SMALL[:-1])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


HALF = """
from uncollapse.posteriors.gaussian import Gaussian

class Half(Gaussian):
    def __init__(self, hidden: int, latent: int, share: float):
        super().__init__(hidden, latent)

class NoHead:
    pass
"""
HEAD = """# @package _global_
label: half
share: 0.5
frontier: it is for tests
posterior:
  _target_: half_pkg.half.Half
  share: ${share}
"""


def write_package(folder: Path) -> None:
    """A package with a head and its config file."""
    write(folder / "half_pkg/__init__.py", "")
    write(folder / "half_pkg/half.py", HALF)
    write(folder / "half_pkg/conf/head/half.yaml", HEAD)


# ---------------------------------------------------------------- naming


def test_package_brings_its_classes_and_config_files(outside: Path) -> None:
    write_package(outside)
    assert "half" not in heads()
    with pytest.raises(InputError, match=r"only classes of uncollapse\.posteriors are built there"):
        locate_class("half_pkg.half.Half", "posterior")
    use_plugins("half_pkg")
    assert "half" in heads() and len(heads()) == len(set(heads()))
    assert locate_class("half_pkg.half.Half", "posterior").__name__ == "Half"


def test_only_classes_of_the_slot_are_built(outside: Path) -> None:
    write_package(outside)
    use_plugins("half_pkg")
    for target, slot, reason in [
        ("half_pkg.half.NoHead", "posterior", "does not derive from"),
        ("half_pkg.half.Half", "objective", "it has no|does not derive from"),
        ("half_pkg.half.Gaussian", "posterior", "no such class; half_pkg.half defines Half"),
        ("half_pkg.other.Half", "posterior", "no such class"),
        ("os.system", "posterior", "only classes of uncollapse.posteriors and half_pkg"),
        ("half_pkg_b.half.Half", "posterior", "only classes of"),
    ]:
        with pytest.raises(InputError, match=reason) as error:
            locate_class(target, slot)
        assert "\n" not in str(error.value)


def test_broken_module_is_refused_in_one_sentence(outside: Path) -> None:
    write_package(outside)
    write(outside / "half_pkg/broken.py", "1 / 0\n")
    write(outside / "half_pkg/lacking.py", "\nimport nonexistent_thing\n\nclass Half: ...\n")
    use_plugins("half_pkg")
    for name, reason in (
        ("broken", "ZeroDivisionError: division by zero, in half_pkg/broken.py line 1"),
        (
            "lacking",
            "ModuleNotFoundError: No module named 'nonexistent_thing', in half_pkg/lacking.py "
            "line 2",
        ),
    ):
        with pytest.raises(InputError, match=rf"module cannot be imported \({reason}\)$"):
            locate_class(f"half_pkg.{name}.Half", "posterior")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_package", r"plugins=no_such_package: cannot be imported \(ModuleNotFoundError"),
        ("../x", "plugins=../x: allowed is the name of a Python package"),
        (
            "faulty",
            r"plugins=faulty: cannot be imported \(RuntimeError: not today, in faulty/__init__.py "
            r"line 1\)",
        ),
    ],
)
def test_bad_package_is_refused(outside: Path, name: str, reason: str) -> None:
    write(outside / "faulty/__init__.py", "raise RuntimeError('not today')\n")
    with pytest.raises(InputError, match=f"^{reason}"):
        use_plugins(name)
    assert not os.environ[PLUGINS]


def test_config_file_of_a_taken_name_is_refused(outside: Path) -> None:
    write(outside / "conf/head/bn_mu.yaml", HEAD)
    with pytest.raises(InputError, match=r"bn_mu.yaml: .*head/bn_mu.yaml has this name already"):
        use_folders(outside / "conf")
    with pytest.raises(InputError, match="nowhere: no such folder of config files"):
        use_folders(outside / "nowhere")
    assert not os.environ[FOLDERS]


# ---------------------------------------------------------------- projects


def test_project_file_names_plugins_and_config_folder(outside: Path) -> None:
    write_package(outside)
    write(outside / "uncollapse.yaml", "plugins: [half_pkg]\n")
    write(outside / "conf/model/small.yaml", "defaults:\n  - lstm\nhidden: 64\n")
    read_project()
    assert "half" in heads() and "small" in options("model")
    read_project()  # nothing is added twice
    assert os.environ[PLUGINS] == "half_pkg" and os.environ[FOLDERS].count(os.pathsep) == 1


@pytest.mark.parametrize("text", ["plugins: a/x", "other: 1", "[1, 2]", "plugins: {a: 1}"])
def test_damaged_project_file_is_refused(outside: Path, text: str) -> None:
    write(outside / "uncollapse.yaml", text)
    with pytest.raises(InputError):
        read_project()


@pytest.mark.parametrize(
    "sign",
    [
        "config.yaml",
        "runs.parquet",
        "runs/half/default/seed=0/config.yaml",
        "study/runs.parquet",
        "../runs.parquet",
        "../runs/half/default/seed=0/config.yaml",
    ],
)
def test_run_study_or_pack_cannot_name_plugins(
    outside: Path, sign: str, capsys: pytest.CaptureFixture
) -> None:
    """Someone may have sent it."""
    here = outside / "here"
    write_package(here)
    write(here / "uncollapse.yaml", "plugins: [half_pkg]\n")
    write(here / sign, "")
    os.chdir(here)
    read_project()
    assert not os.environ[PLUGINS] and "half" not in heads()
    assert "uncollapse.yaml is not read: a study or a run is here" in capsys.readouterr().err
    # nor is a package found there
    with pytest.raises(InputError, match="ModuleNotFoundError"):
        use_plugins("half_pkg")


def test_results_of_a_project_do_not_disable_it(outside: Path) -> None:
    write_package(outside)
    write(outside / "uncollapse.yaml", "plugins: [half_pkg]\n")
    write(outside / "results/study/runs/half/default/seed=0/config.yaml", "")
    read_project()
    assert "half" in heads()


# ---------------------------------------------------------------- commands


def test_config_file_cannot_name_plugins(tmp_path: Path) -> None:
    write(tmp_path / "conf/experiment/sent.yaml", "# @package _global_\nplugins: [os]\n")
    words = ("experiment=sent", "--config-dir", str(tmp_path / "conf"), f"results={tmp_path}")
    refused = type_command(*words)
    assert refused.returncode == 2 and "plugins=os: a config file cannot name" in refused.stderr


def test_sweep_over_plugins_is_refused() -> None:
    refused = type_command("plugins=json,os")
    assert refused.returncode == 2 and "did you mean plugins=[json,os]?" in refused.stderr


def test_own_head_trains_and_is_evaluated_only_where_it_is_named(tmp_path: Path) -> None:
    write_package(tmp_path)
    path = {"PYTHONPATH": str(tmp_path)}
    words = ("head=half", "share=0.3", *TINY, f"results={tmp_path}")
    refused = type_command("head=half", *TINY, **path)
    assert refused.returncode == 2 and "head=half: no such head" in refused.stderr
    done = type_command(*words, "plugins=[half_pkg]", fresh=True, **path)
    assert done.returncode == 0, done.stderr
    (config,) = tmp_path.glob("scratch/runs/half/*share=0.3*/seed=0/config.yaml")
    assert "plugins" not in "".join(config.read_text().splitlines()[1:])
    assert "'plugins=[half_pkg]'" in config.read_text().splitlines()[0]
    # the config file alone does not permit the class
    folder = tmp_path / "half_pkg/conf"
    refused = type_command(*words, "seed=1", "--config-dir", str(folder), **path)
    assert refused.returncode == 2 and "only classes of uncollapse.posteriors" in refused.stderr


# ---------------------------------------------------------------- uncollapse init


def test_new_project_has_a_head_data_model_experiment_and_metric(outside: Path) -> None:
    assert start_project(Path("My-Project")) == "my_project"
    os.chdir("My-Project")
    read_project()
    assert "first" in heads() and "reviews" in options("data") and "small" in options("model")
    assert "first" in options("experiment")
    assert len(Path("README.md").read_text().splitlines()) <= 25
    assert not [path for path in Path().rglob("*") if "PACKAGE" in path.name]
    for path in Path().rglob("*.*"):
        if path.suffix in (".py", ".md", ".yaml") and path.name != "uncollapse.yaml":
            assert "PACKAGE" not in path.read_text(), path


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("numpy", "numpy: a Python package has this name"),
        ("2x", "2x: not a name for a package"),
        ("tests", "tests: a project has a folder of this name"),
        ("full", "not an empty"),
    ],
)
def test_bad_folder_of_a_project_is_refused(
    outside: Path, folder: str, reason: str, capsys: pytest.CaptureFixture
) -> None:
    write(outside / "full/notes.txt", "mine")
    assert main([folder]) == 2
    assert reason in capsys.readouterr().err
    assert [path.name for path in outside.rglob("*") if path.is_file()] == ["notes.txt"]
