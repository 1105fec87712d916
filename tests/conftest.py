"""Shared fixtures and helpers: small runs, in this process or as a command."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from hydra import compose, initialize_config_dir
from matplotlib.figure import Figure
from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    "data.train=96",
    "data.valid=32",
    "data.test=32",
    "data.batch_size=16",
    "model.embedding=8",
    "model.hidden=12",
    "model.latent=4",
    "trainer.epochs=2",
]

os.environ["OMP_NUM_THREADS"] = "1"  # set before torch is imported, because tests run in parallel
os.environ.pop("UNCOLLAPSE_SWEEP", None)
os.fsync = lambda fd: None  # no test simulates losing synced data, and waiting for the disk is slow


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shapes", action="store_true", help="check shapes of tensors; see shapes.py")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--shapes"):
        from shapes import install

        install()


def composed(*words: str, conf: Path = ROOT / "conf") -> DictConfig:
    """The config that Hydra composes from these overrides, with shorthands replaced."""
    from uncollapse.config.shorthands import replace_shorthands

    head = next((word[5:] for word in words if word.startswith("head=")), "plain")
    return replace_shorthands(typed(*words, conf=conf), [], head)[0]


def typed(*words: str, conf: Path = ROOT / "conf") -> DictConfig:
    """As `composed`, with shorthands such as `level=2` as they were typed."""
    return (compose_once if conf == ROOT / "conf" else compose_in)(conf, *words).copy()


def compose_in(conf: Path, *words: str) -> DictConfig:
    with initialize_config_dir(str(conf), version_base="1.3"):
        return compose("train", list(words))


compose_once = cache(compose_in)  # a tenth of a second each


def one_in(count: int, cases: Iterable[Any]) -> list[ParameterSet]:
    """Cases for `parametrize`: every `count`-th runs by default, the others are marked slow."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else [case]),
            marks=() if number % count == 0 else pytest.mark.slow,
        )
        for number, case in enumerate(cases)
    ]


def run_here(results: Path, head: str, *words: str) -> str:
    """A small run in this process: "done" or "skipped"."""
    from uncollapse.run import run

    overrides = [*SMALL, *words]
    cfg = typed(f"head={head}", *overrides)
    cfg.results = str(results)
    return run(cfg, head, overrides)


def run_interrupted(results: Path, head: str, *words: str, step: int) -> None:
    """As `run_here`, interrupted before it makes step `step` + 1."""
    from uncollapse.training.trainer import Trainer

    make_step = Trainer.make_step

    def cut(trainer: Trainer, batch: Any) -> None:
        if trainer.progress.step == step:
            raise KeyboardInterrupt
        make_step(trainer, batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "make_step", cut)
        run_here(results, head, *words)


def type_command(*words: str, fresh: bool = False, **environment: str) -> CompletedProcess[str]:
    """Run `python train.py WORDS` in a fresh interpreter, or in a fork of one."""
    env = {**os.environ, **environment}
    if not fresh:
        return command_server().ask("train.py", *words, environment=env)
    command = [sys.executable, "train.py", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=200)


class CommandServer:
    """Sends commands to a process that forks for each."""

    def __init__(self) -> None:
        command = [sys.executable, str(ROOT / "tests/command_server.py")]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    def ask(self, *words: str, environment: dict[str, str]) -> CompletedProcess[str]:
        assert self.process.stdin and self.process.stdout
        with NamedTemporaryFile("r") as out, NamedTemporaryFile("r") as err:
            request = {"words": words, "folder": str(ROOT), "environment": environment}
            request |= {"out": out.name, "err": err.name}
            try:
                print(json.dumps(request), file=self.process.stdin, flush=True)
                code = int(self.process.stdout.readline())
            except BaseException:
                # interrupted, for example by a time limit: the next command gets a new process
                self.process.kill()
                self.process.wait()
                command_server.cache_clear()
                raise
            return CompletedProcess(words, code, out.read(), err.read())


@cache
def command_server() -> CommandServer:
    return CommandServer()


def drop_circumstances(value: Any) -> Any:
    """Nested values without clock times and facts about the machine."""
    from uncollapse.contract.runs import CIRCUMSTANCES

    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in CIRCUMSTANCES}
        return {key: drop_circumstances(item) for key, item in kept.items()}
    return [drop_circumstances(item) for item in value] if isinstance(value, list) else value


def list_processes() -> list[tuple[int, list[str]]]:
    """The number and the words of every process on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append((int(path.parent.name), path.read_text().split("\0")))
        except OSError:  # it has ended
            continue
    return found


def folder_of(results: Path, head: str, study: str = "scratch", seed: int = 0) -> Path:
    """The only run folder of a head and seed."""
    (folder,) = (results / study / "runs" / head).glob(f"*/seed={seed}")
    return folder


def rows(folder: Path) -> list[dict]:
    """metrics.jsonl without clock times, so that two runs can be compared."""
    from uncollapse.contract import read_comparable_rows

    return read_comparable_rows(folder)


def summary(folder: Path) -> dict:
    from uncollapse.contract import drop_circumstances

    return drop_circumstances(json.loads((folder / "summary.json").read_text()))


def mounted(folder: Path, *words: str) -> None:
    """A file system on the folder; skips if this machine does not permit mounting."""
    done = subprocess.run(["mount", *words, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


OWN_PACKAGES = ("half_pkg", "faulty", "my_project", "mine")  # that tests write


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder outside the checkout, without anything that was named before."""
    from uncollapse.metrics import catalogue

    monkeypatch.chdir(tmp_path)
    for name in ("UNCOLLAPSE_CONF", "UNCOLLAPSE_PLUGINS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    metrics = dict(catalogue.METRICS)
    yield tmp_path
    # in place: other modules have imported this dictionary
    catalogue.METRICS.clear()
    catalogue.METRICS.update(metrics)
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN_PACKAGES]:
        del sys.modules[name]


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, which take most of the time; single figures can be drawn."""
    # imported before the patch, as it takes its own name for the table
    from uncollapse.report import figures, one_figure

    assert one_figure.PLOTS
    monkeypatch.setattr(figures, "PLOTS", {})


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures that are drawn, each once and as an SVG, without pictures for the page."""
    from uncollapse.report import figures

    def print_svg(figure: Figure, suffix: str) -> bytes:
        if suffix == "png":
            return b""
        figure.savefig(buffer := BytesIO(), format="svg")
        return buffer.getvalue()

    monkeypatch.setattr(figures, "render_figure", print_svg)
    monkeypatch.setattr(figures, "shrink_png", bytes)


NEEDS_BROWSER = os.environ.get("UNCOLLAPSE_NEEDS_BROWSER") == "1"  # set by .ci/run


def import_for_browser(name: str) -> Any:
    """A module that tests in a browser need; without it they are skipped or, if asked, fail."""
    if NEEDS_BROWSER:
        return import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, where this machine has playwright and chromium."""
    sync_api = import_for_browser("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        give_up = pytest.fail if NEEDS_BROWSER else pytest.skip
        give_up("this machine has no chromium")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """A function that opens a file; at the end no page may have complained or fetched anything."""
    contexts, said, requests = [], [], []

    def load(path: Path, address: str = "", width: int = 1400, **options: Any) -> Any:
        size = {"width": width, "height": 900}
        contexts.append(browser.new_context(viewport=size, offline=True, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url.partition("#")[0]))
        page.goto(path.as_uri() + address)
        requests.remove(path.as_uri())
        return page

    yield load
    for context in contexts:
        context.close()
    assert not said and not requests


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root can mount")
    mounted(disk, "-t", "tmpfs", "-o", "size=4m", "tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Leave no free space on a disk; removing `filler` frees it."""
    with pytest.raises(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 1024)
