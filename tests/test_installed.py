"""What an installation holds: the wheel outside a checkout, and the core without the harness."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, SMALL

from uncollapse.config import CONF
from uncollapse.errors import InputError
from uncollapse.extras import describe_missing, require_installed

HARNESS = (
    "hydra",
    "omegaconf",
    "pandas",
    "matplotlib",
    "yaml",
    "rich",
    "datasets",
    "pyarrow",
    "sklearn",
    "sacrebleu",
    "safetensors",
    "jinja2",
    "tabulate",
    "tokenizers",
    "wandb",
    "PIL",
)
# refuses to import what the core does not bring
WITHOUT_HARNESS = f"""
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {HARNESS}:
            raise ModuleNotFoundError(f"No module named {{name}}", name=name)

sys.meta_path.insert(0, Absent())
"""
CORE = """
import importlib, pkgutil, torch, uncollapse

for package in ("posteriors", "objectives", "metrics", "distributions", "decoders"):
    found = importlib.import_module(f"uncollapse.{package}")
    for module in pkgutil.walk_packages(found.__path__, found.__name__ + "."):
        importlib.import_module(module.name)
torch.manual_seed(0)
encoder, decoder = torch.nn.Linear(10, 8), torch.nn.Linear(4, 10)
x = torch.rand(60, 10)
arguments = (
    lambda x: encoder(x).chunk(2, -1), lambda x, z: (decoder(z) - x).square().sum(-1), x
)
found = uncollapse.diagnose(*arguments, samples=5)
assert found["verdict"] and found["nll"] > 0
for more in ({"labels": torch.arange(60) % 2}, {"page": "page"}):
    try:
        uncollapse.diagnose(*arguments, **more)
    except ValueError as error:
        print(error)
"""


def run_python(code: str, folder: Path, path: Path | None = None) -> subprocess.CompletedProcess:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(path or "")}
    words = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=200)


def test_core_works_without_the_harness(tmp_path: Path) -> None:
    done = run_python(WITHOUT_HARNESS + CORE, tmp_path)
    assert done.returncode == 0, done.stderr
    labels, page = done.stdout.splitlines()
    hint = "which is not installed; pip install 'uncollapse[harness]'"
    assert labels == f"labels needs sklearn, {hint}"
    assert page == f"page needs matplotlib, {hint}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_command_without_the_harness_is_refused(command: str, tmp_path: Path) -> None:
    code = (
        f"{WITHOUT_HARNESS}\nimport sys\nsys.argv = ['uncollapse', '{command}', 'x']\n"
        "from uncollapse.__main__ import main\nsys.exit(main())"
    )
    done = run_python(code, tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"error: uncollapse {command} needs ")
    assert done.stderr.endswith("which is not installed; pip install 'uncollapse[harness]'\n")


def test_missing_parts_are_named() -> None:
    require_installed("this", "json", "os")
    with pytest.raises(InputError, match=r"^this needs no_such_module, .*uncollapse\[harness\]'$"):
        require_installed("this", "json", "no_such_module")
    assert describe_missing("log=wandb", "wandb").endswith("pip install 'uncollapse[wandb]'")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 0, "usage: uncollapse COMMAND"),
        (("--help",), 0, "report     write figures"),
        (("--version",), 0, "0."),
        (
            ("repport",),
            2,
            "error: repport: no such command; did you mean report? allowed are",
        ),
        (("report",), 2, "error: the following arguments are required: folder"),
        (("diagnose", "nowhere"), 2, "error: there is no folder"),
    ],
)
def test_command(words: tuple[str, ...], code: int, text: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uncollapse", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == code and text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow  # it builds the wheel
def test_wheel_works_outside_a_checkout(tmp_path: Path) -> None:
    # a copy, as building leaves files behind
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("src", "conf"):
        leave_out = shutil.ignore_patterns("*.egg-info", "__pycache__")
        shutil.copytree(ROOT / name, tree / name, ignore=leave_out)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    build = "import sys; from pip._internal.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(tmp_path), "."]
    command = [sys.executable, "-c", build, *words]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    inside = {
        path.relative_to(tmp_path / "installed/uncollapse/conf")
        for path in (tmp_path / "installed/uncollapse/conf").rglob("*.y*ml")
    }
    assert inside == {path.relative_to(CONF) for path in CONF.rglob("*.y*ml")}

    (tmp_path / "work").mkdir()
    steps = [
        (["init", "mine"], "work"),
        (["train", "head=first", "study=s", *SMALL], "work/mine"),
        (["train", "-m", "head=plain,first", "seed=1", "study=s", *SMALL], "work/mine"),
        (["evaluate", "results/s", "--samples", "5", "--metrics", "nll"], "work/mine"),
        (["report", "results/s"], "work/mine"),
        (["study", "pack", "results/s"], "work/mine"),
        (["new", "other", "--slot", "decoder"], "work/mine"),
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path / "installed")}
    for words, folder in steps:
        command = [sys.executable, "-m", "uncollapse", *words]
        done = subprocess.run(
            command, cwd=tmp_path / folder, env=env, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stdout + done.stderr
    table = (tmp_path / "work/mine/results/s/report/tables/summary.csv").read_text()
    assert "first" in table and "largest_mean" in table
