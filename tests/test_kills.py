"""Processes killed at random moments and before each disk operation lose and repeat nothing."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, drop_circumstances, folder_of
from kill_server import CUT

from uncollapse.runs.layout import require_runs
from uncollapse.runs.results import has_consistent_results

KILLS = [10, pytest.param(20, marks=pytest.mark.slow)]  # of each command
MOST_IN_ONE = 4  # kills of one run before it may finish
TRAIN = [
    "head=bn_mu",
    "study=s",
    "data=gaussian",
    "model=linear",
    "threads=1",
    "data.train=64",
    "data.valid=16",
]
TRAIN += ["data.test=16", "data.batch_size=8", "trainer.epochs=1", "trainer.eval_every=5"]
EVALUATE = ["--metrics", "nll,statistics", "--samples", "300", "--workers", "1"]

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Sends a command to the server process that forks a child for it."""
    folder = tmp_path_factory.mktemp("killed")
    server = subprocess.Popen(
        [sys.executable, "tests/kill_server.py"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(**request: Any) -> dict[str, Any]:
        assert server.stdin and server.stdout
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    for request in (
        {"train": TRAIN, "results": str(folder)},
        {"evaluate": [str(folder / "s"), *EVALUATE]},
    ):
        assert ask(**request, modules=str(folder / "modules.json"))["code"] == 0
    yield ask
    server.kill()
    server.communicate()


@pytest.fixture(scope="module")
def complete_results(ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results as they are when nothing is killed: `trained`, and `evaluated`."""
    folder = tmp_path_factory.mktemp("full")
    assert ask(train=TRAIN, results=str(folder / "trained"))["code"] == 0
    shutil.copytree(folder / "trained", folder / "evaluated")
    assert ask(evaluate=[str(folder / "evaluated" / "s"), *EVALUATE])["code"] == 0
    return folder


def read_content(results: Path) -> dict[str, Any]:
    """All files of the one run: JSON without clock times, weights as they are."""
    folder = folder_of(results, "bn_mu", "s")
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in ("state.pt", "config.yaml"):
            name, held = str(path.relative_to(folder)), path.read_bytes()
            if path.suffix == ".jsonl":
                rows = [json.loads(line) for line in held.splitlines()]
                found[name] = drop_circumstances(rows)
            elif path.suffix == ".json":
                found[name] = drop_circumstances(json.loads(held))
            else:
                found[name] = held
    return found


def assert_complete(results: Path, there: Path) -> None:
    here, expected = read_content(results), read_content(there)
    assert here.keys() == expected.keys()
    assert {name: value for name, value in here.items() if value != expected[name]} == {}
    assert all(has_consistent_results(run) for run in require_runs(results / "s"))


def make_request(which: str, results: Path) -> dict[str, Any]:
    """The request that trains, or evaluates, in a folder."""
    if which == "trained":
        return {"train": TRAIN, "results": str(results)}
    return {"evaluate": [str(results / "s"), *EVALUATE]}


def prepare_results(which: str, complete_results: Path, results: Path) -> Path:
    """A results folder as the command finds it."""
    if which == "evaluated":
        shutil.copytree(complete_results / "trained", results)
    return results


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize("which", ["trained", "evaluated"])
@pytest.mark.slow
def test_results_are_complete_after_random_kills(
    which: str, kills: int, ask: Ask, complete_results: Path, tmp_path: Path
) -> None:
    chance, killed, number = random.Random(kills), 0, 0
    probe = prepare_results(which, complete_results, tmp_path / "probe")
    seconds = ask(**make_request(which, probe))["seconds"]
    while killed < kills:
        number += 1
        results = prepare_results(which, complete_results, tmp_path / str(number))
        for _ in range(MOST_IN_ONE):
            code = ask(**make_request(which, results), delay=chance.uniform(0, seconds))["code"]
            killed += code == -9
            assert code in (0, -9)
            if not code:
                break
        assert ask(**make_request(which, results))["code"] == 0
        assert_complete(results, complete_results / which)


@pytest.mark.parametrize(
    ("which", "first", "step"),
    [
        ("evaluated", 0, 3),
        # a third of the operations of a training, which takes minutes for all
        *(pytest.param("trained", n, 9, marks=pytest.mark.slow) for n in (0, 4, 8)),
        *(pytest.param("evaluated", n, 3, marks=pytest.mark.slow) for n in (1, 2)),
    ],
)
def test_results_are_complete_after_kill_before_disk_operation(
    which: str, first: int, step: int, ask: Ask, complete_results: Path, tmp_path: Path
) -> None:
    probe, count = prepare_results(which, complete_results, tmp_path / "probe"), tmp_path / "count"
    ask(**make_request(which, probe), events=str(count))
    events = int(count.read_text())
    assert events > 15
    for event in range(first, events, step):
        results = prepare_results(which, complete_results, tmp_path / str(event))
        assert ask(**make_request(which, results), event=event)["code"] == CUT
        assert ask(**make_request(which, results))["code"] == 0
        assert_complete(results, complete_results / which)
