"""Runs that share GPUs: which card each process gets, how much memory, and what is refused."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hydra_plugins.uncollapse_launchers.processes import ProcessLauncher
from uncollapse import device
from uncollapse.errors import InputError
from uncollapse.gpus import CONTEXT_GB, FRACTION, VISIBLE, list_gpus, share_gpus
from uncollapse.workers import run_in_workers

# index, identity, MiB in all, MiB free
CARDS = "0, GPU-a, 81920, 81920\\n1, GPU-b, 81920, 40960\\n2, GPU-c, 81920, 81920\\n"
GB_FREE = 81920 * 2**20 / 1e9
Driver = Callable[[str], None]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """driver(lines): `nvidia-smi` prints these lines."""
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.delenv(FRACTION, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def install(lines: str) -> None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{lines}'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    return install


def test_runs_spread_over_cards_and_divide_what_is_free(driver: Driver) -> None:
    driver(CARDS)
    places = share_gpus("k", 3, 4)
    assert Counter(place[VISIBLE] for place in places) == {"GPU-a": 4, "GPU-b": 4, "GPU-c": 4}
    # the first three processes sit on three cards
    assert [place[VISIBLE] for place in places[:3]] == ["GPU-a", "GPU-b", "GPU-c"]
    full, half = (float(place[FRACTION]) for place in places[:2])
    assert full == pytest.approx((GB_FREE / 4 - CONTEXT_GB) / GB_FREE, abs=1e-4)
    assert half == pytest.approx((GB_FREE / 8 - CONTEXT_GB) / GB_FREE, abs=1e-4)
    # together they leave room for what CUDA takes for each
    assert 4 * (full * GB_FREE + CONTEXT_GB) == pytest.approx(GB_FREE, rel=1e-3)


def test_one_run_on_a_card_has_all_of_it(driver: Driver) -> None:
    driver(CARDS)
    assert share_gpus("k", [2, 0], 1) == [{VISIBLE: "GPU-c"}, {VISIBLE: "GPU-a"}]


def test_cards_are_those_that_the_cluster_gave(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(CARDS)
    monkeypatch.setenv(VISIBLE, "2,GPU-a")
    assert [gpu.uuid for gpu in list_gpus()] == ["GPU-c", "GPU-a"]
    assert share_gpus("k", 1, 1) == [{VISIBLE: "GPU-c"}]
    with pytest.raises(InputError, match=r"k\.gpus=3: this machine has 2, numbered from 0"):
        share_gpus("k", 3, 1)


@pytest.mark.parametrize(
    ("gpus", "per_gpu", "reason"),
    [
        (4, 1, "k.gpus=4: this machine has 3, numbered from 0"),
        ([0, 3], 1, r"k.gpus=\[0, 3\]: this machine has 3"),
        ([-1], 1, r"k.gpus=\[-1\]: this machine has 3"),
        ([1, 1], 1, "a number stands there twice"),
        (0, 1, "k.gpus=0: allowed is how many, or a list of numbers"),
        ([], 1, "allowed is how many, or a list"),
        ("all", 1, "k.gpus=all: allowed is how many, or a list"),
        (True, 1, "k.gpus=True: allowed is how many"),
        (1.5, 1, "k.gpus=1.5: allowed is how many"),
        (1, 0, "k.per_gpu=0: allowed is an integer of at least 1"),
        (2, 50, r"k.per_gpu=50: GPU 1 has 42.9 of 85.9 GB free, which leaves each run 0.3 GB"),
        (1, 1000, "leaves each run 0.0 GB; allowed is what leaves 0.5 GB"),
    ],
)
def test_places_that_do_not_exist(
    gpus: object, per_gpu: object, reason: str, driver: Driver
) -> None:
    driver(CARDS)
    with pytest.raises(InputError, match=reason):
        share_gpus("k", gpus, per_gpu)


def test_machine_without_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert list_gpus() == []
    with pytest.raises(InputError, match=r"k\.gpus=1: this machine has no GPU"):
        share_gpus("k", 1, 1)


def test_launcher_counts_its_processes(driver: Driver) -> None:
    driver(CARDS)
    assert ProcessLauncher(2).plan() == (2, [{}])
    for n_jobs, expected in ((-1, 6), (4, 4), (60, 6)):
        count, places = ProcessLauncher(n_jobs, gpus=3, per_gpu=2).plan()
        assert (count, len(places)) == (expected, 6)


@dataclass(frozen=True)
class ReadEnvironment:
    """A job whose result is what its process finds in its environment."""

    name: str = "read"

    def run(self) -> str:
        return os.environ["PLACE"]


def test_each_process_has_its_own_environment() -> None:
    places = [{"PLACE": "a"}, {"PLACE": "b"}, {"PLACE": "c"}]
    assert run_in_workers([ReadEnvironment()], 3, places) == ["a"]
    # each process waits for its first job, so that three jobs go to three of them
    assert {*run_in_workers([ReadEnvironment()] * 30, 3, places)} <= {"a", "b", "c"}
    assert "PLACE" not in os.environ


def test_share_is_set_on_a_card_and_the_card_named(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limits.append)
    properties = SimpleNamespace(name="Card 9000", uuid="12-34")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.delenv(FRACTION, raising=False)
    device.pick_device("auto")
    assert limits == []
    monkeypatch.setenv(FRACTION, "0.2300")
    device.pick_device("cpu")
    assert limits == []
    card = device.pick_device("auto")
    assert limits == [0.23]
    assert device.identify_gpu(card) == {"gpu": "Card 9000", "gpu_id": "GPU-12-34"}
    assert device.identify_gpu(torch.device("cpu")) == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_names_of_cuda_and_of_the_driver_agree() -> None:
    uuid = device.identify_gpu(torch.device("cuda"))["gpu_id"]
    assert uuid in {gpu.uuid for gpu in list_gpus()}
