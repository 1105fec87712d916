"""`uncollapse new` generates files that pass every check and overwrites nothing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from uncollapse.starting.remedy import copy_templates, find_place

SLOTS = ("posterior", "objective", "objective_module", "procedure", "decoder")
LEFT_OUT = shutil.ignore_patterns(".*", "results", "__pycache__", "*.egg-info", "*.png")


def run_in_tree(tree: Path, *words: str) -> subprocess.CompletedProcess:
    """A command in a copy of the checkout, whose package and conf it uses."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree / "src")}
    return subprocess.run(
        [sys.executable, *words], cwd=tree, env=env, capture_output=True, text=True, timeout=270
    )


def make_remedy(tree: Path, *words: str) -> subprocess.CompletedProcess:
    return run_in_tree(tree, "scripts/new_remedy.py", *words)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with one remedy of each slot, named my_<slot>."""
    copy = tmp_path_factory.mktemp("copy") / "tree"
    copy.mkdir()
    for name in (
        "src",
        "conf",
        "scripts",
        "tests",
        "pyproject.toml",
        "train.py",
        "README.md",
        "CONTRIBUTING.md",
        "setup.py",
        "docs",
    ):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=LEFT_OUT)
        else:
            shutil.copy(ROOT / name, copy / name)
    for slot in SLOTS:
        done = make_remedy(copy, f"my_{slot}", "--slot", slot)
        assert done.returncode == 0, done.stderr
        assert f"python train.py head=my_{slot}" in done.stdout
        assert "make docs" in done.stdout
    return copy


def list_generated(tree: Path) -> list[str]:
    """Paths of the generated files."""
    paths = [path.relative_to(tree) for path in tree.rglob("*my_*")]
    return sorted(
        str(path)
        for path in paths
        if path.suffix in (".py", ".yaml") and "templates" not in path.parts
    )


def test_each_slot_gets_class_head_and_test(tree: Path) -> None:
    expected = [
        path
        for slot in SLOTS
        for path in (
            f"src/uncollapse/{slot.removesuffix('_module')}s/my_{slot}.py",
            f"conf/head/my_{slot}.yaml",
            f"tests/test_my_{slot}.py",
        )
    ]
    assert list_generated(tree) == sorted(expected)


def test_no_template_name_remains() -> None:
    for slot in SLOTS:
        for text in copy_templates("other", slot, find_place(ROOT, slot)).values():
            assert "templates" not in text and not re.search(f"my.?{slot}", text, re.IGNORECASE)


@pytest.mark.slow  # mypy takes 20 seconds
def test_generated_files_pass_style_and_type_checks(tree: Path) -> None:
    python = [path for path in list_generated(tree) if path.endswith(".py")]
    for words in (
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy", "--follow-imports=silent"],
    ):
        done = run_in_tree(tree, "-m", *words, *python)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("name", "slot"), [("a1", "objective"), ("zz_last", "posterior")])
def test_imports_are_sorted_for_any_name(name: str, slot: str, tree: Path) -> None:
    assert make_remedy(tree, name, "--slot", slot).returncode == 0
    code, test = f"src/uncollapse/{slot}s/{name}.py", f"tests/test_{name}.py"
    done = run_in_tree(tree, "-m", "ruff", "check", code, test)
    for path in (code, test, f"conf/head/{name}.yaml"):
        (tree / path).unlink()
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_new_remedies_pass_their_tests_and_contract_tests(tree: Path) -> None:
    tests = [f"tests/test_my_{slot}.py" for slot in SLOTS]
    tests += ["tests/test_contract.py", "tests/test_config.py"]
    names = "my_ and not images and not pixels"
    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "-k", names]
    done = run_in_tree(tree, "-m", "pytest", *options, *tests)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.slow
def test_printed_command_runs_with_the_new_knob(tree: Path, tmp_path: Path) -> None:
    small = [
        "data.train=200",
        "data.valid=50",
        "data.test=50",
        "model.hidden=8",
        "trainer.epochs=1",
    ]
    done = run_in_tree(
        tree, "train.py", "head=my_posterior", "width=0.7", *small, f"results={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("scratch/runs/my_posterior/*/seed=0/done"))
    bad = run_in_tree(tree, "train.py", "head=my_posterior", "width=0", f"results={tmp_path}")
    assert bad.returncode == 2 and "width=0: out of range; allowed is 0 < width" in bad.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["kl_anneal", "--slot", "posterior"], "conf/head/kl_anneal.yaml exists"),
        (["lm", "--slot", "posterior"], "src/uncollapse/posteriors/lm.py exists"),
        (["cli", "--slot", "decoder"], "tests/test_cli.py exists"),
        (["my_posterior", "--slot", "objective"], "conf/head/my_posterior.yaml exists"),
        (
            ["my_posterior", "--slot", "posterior"],
            "src/uncollapse/posteriors/my_posterior.py exists",
        ),
        (["My", "--slot", "posterior"], "My: not a name for a remedy"),
        (["a-b", "--slot", "posterior"], "a-b: not a name for a remedy"),
        (["../a", "--slot", "posterior"], "../a: not a name for a remedy"),
        (["a__b", "--slot", "posterior"], "a__b: not a name for a remedy"),
        (["2d", "--slot", "posterior"], "2d: not a name for a remedy"),
        (["lambda", "--slot", "posterior"], "lambda: not a name for a remedy"),
        (["tensor", "--slot", "posterior"], "its class would be Tensor"),
        (["diagonal_gaussian", "--slot", "objective"], "its class would be DiagonalGaussian"),
        (["new", "--slot", "model"], "invalid choice: 'model'"),
        (["new"], "--slot"),
        ([], "name"),
    ],
)
def test_invalid_request_is_refused_and_changes_nothing(
    words: list[str], sentence: str, tree: Path
) -> None:
    def snapshot() -> dict[Path, bytes]:
        kinds = ("src", "conf", "tests")
        return {
            p: p.read_bytes()
            for kind in kinds
            for p in (tree / kind).rglob("*")
            if p.suffix in (".py", ".yaml")
        }

    before = snapshot()
    done = make_remedy(tree, *words)
    assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr
    assert snapshot() == before


def test_help_is_quick() -> None:
    before = os.times().children_user
    done = subprocess.run(
        [sys.executable, "scripts/new_remedy.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "posterior,objective,objective_module,procedure,decoder" in done.stdout
    assert os.times().children_user - before < 1.0
