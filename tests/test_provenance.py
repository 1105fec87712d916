"""Provenance of a run: the commit and whether the tree was changed, or nothing if unknown."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, folder_of, run_here

from uncollapse.runs import provenance as module

NOTHING = {"commit": None, "tree_changed": None}
SAY = (
    "import json; from uncollapse.runs.provenance import find_provenance; "
    "print(json.dumps(find_provenance()))"
)


def git(folder: Path, *words: str) -> str:
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("GIT_")}, **own}
    done = subprocess.run(
        ["git", *who, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def put_package(folder: Path) -> None:
    """Write the two package files that provenance needs."""
    (folder / "runs").mkdir(parents=True)
    for name in ("__init__.py", "runs/__init__.py", "runs/provenance.py"):
        shutil.copy(ROOT / "src/uncollapse" / name, folder / name)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    put_package(root / "src/uncollapse")
    (root / "conf").mkdir()
    (root / "conf/train.yaml").write_text("a: 1\n")
    (root / "README.md").write_text("read\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def read_provenance(path: Path, cwd: Path | None = None, **environment: str) -> dict:
    """The provenance printed by a new process that imports the package under `path`."""
    env = {**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", SAY],
        cwd=cwd or path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_clean_checkout_gives_its_commit(checkout: Path, tmp_path: Path) -> None:
    assert read_provenance(checkout / "src", tmp_path) == {
        "commit": git(checkout, "rev-parse", "HEAD"),
        "tree_changed": False,
    }


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("src/uncollapse/__init__.py", True),
        ("README.md", True),
        ("src/uncollapse/mine.py", True),
        ("src/uncollapse/ünïcode.py", True),
        ("conf/head/mine.yaml", True),
        ("src/uncollapse/fast.so", True),
        ("src/notes.txt", False),
        ("results/study/index.html", False),
        ("mine.py", False),
    ],
)
def test_changed_tree_is_reported(checkout: Path, path: str, changed: bool) -> None:
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    with (checkout / path).open("a") as file:
        file.write("\n")
    assert read_provenance(checkout / "src")["tree_changed"] is changed


def test_staged_and_deleted_files_are_changes(checkout: Path) -> None:
    (checkout / "README.md").unlink()
    assert read_provenance(checkout / "src")["tree_changed"] is True
    git(checkout, "checkout", "README.md")
    (checkout / "conf/new.yaml").write_text("b: 1\n")
    git(checkout, "add", ".")
    assert read_provenance(checkout / "src")["tree_changed"] is True


@pytest.mark.parametrize(
    "place", [".venv/lib/python3/site-packages", "vendored/src", "src/vendored"]
)
@pytest.mark.parametrize("tracked", [True, False])
def test_package_inside_another_repository_has_no_commit(
    tmp_path: Path, place: str, tracked: bool
) -> None:
    project = tmp_path / "project"
    put_package(project / place / "uncollapse")
    (project / "paper.tex").write_text("x")
    git(project, "init", "-q")
    git(project, "add", *(["."] if tracked else ["paper.tex"]))
    git(project, "commit", "-qm", "first")
    assert read_provenance(project / place, project) == NOTHING


def test_similar_repository_is_not_mistaken_for_ours(tmp_path: Path) -> None:
    project = tmp_path / "project"
    put_package(project / "src/uncollapse")
    (project / "paper.tex").write_text("x")
    git(project, "init", "-q")
    git(project, "add", "paper.tex")
    git(project, "commit", "-qm", "first")
    assert read_provenance(project / "src") == NOTHING


def test_package_outside_repository_has_no_commit(tmp_path: Path) -> None:
    put_package(tmp_path / "lib/uncollapse")
    assert read_provenance(tmp_path / "lib") == NOTHING


def test_git_environment_of_hook_is_ignored(checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-qm", "theirs", "--allow-empty")
    names = {
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": str(other / "index"),
    }
    assert read_provenance(checkout / "src", other, **names)["commit"] == git(
        checkout, "rev-parse", "HEAD"
    )


def test_missing_git_or_empty_repository_gives_no_commit(checkout: Path, tmp_path: Path) -> None:
    assert read_provenance(checkout / "src", PATH=str(tmp_path)) == NOTHING
    shutil.rmtree(checkout / ".git")
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    assert read_provenance(checkout / "src") == NOTHING


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_checkout_of_another_user_does_not_crash(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in [checkout, *checkout.rglob("*")]:
        os.chown(path, 12345, 12345)
    assert (
        read_provenance(checkout / "src", GIT_CONFIG_GLOBAL=os.devnull, HOME=str(checkout))
        == NOTHING
    )


def failing(error: Exception) -> Callable:
    def run(*_: object, **__: object) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "no"),
        subprocess.TimeoutExpired("git", 10),
        subprocess.CalledProcessError(128, "git"),
    ],
)
def test_failing_git_does_not_crash(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(module.subprocess, "run", failing(error))
    assert module.find_provenance.__wrapped__() == NOTHING


def test_summary_holds_commit_and_dirty_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uncollapse import run

    known = {"commit": "f" * 40, "tree_changed": True}
    monkeypatch.setattr(run, "find_provenance", lambda: known)
    run_here(tmp_path, "plain", "trainer.epochs=1")
    summary = json.loads((folder_of(tmp_path, "plain") / "summary.json").read_text())
    assert {key: summary[key] for key in known} == known
