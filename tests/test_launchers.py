"""Launchers for clusters: what they refuse before a sweep starts, and how they report losses."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.uncollapse_launchers.ray import (
    check_amounts,
    require_answer,
    require_resources,
)
from hydra_plugins.uncollapse_launchers.slurm import SlurmLauncher, is_queued, list_partitions
from uncollapse.errors import InputError

SETTINGS: dict[str, Any] = {
    "partition": None, "account": None, "minutes": 240, "cpus": 1, "gpus": 0, "memory": 4,
    "parallel": 256, "setup": None, "options": None,
}  # fmt: skip


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """slurm(script): `sbatch` exists, and `sinfo` is this shell script."""

    def install(script: str) -> None:
        for name, text in (("sbatch", "exit 0"), ("sinfo", script)):
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return install


def test_partition_must_exist(slurm: Callable[[str], None]) -> None:
    slurm("printf 'main\\nshort\\nmain\\n'")
    assert list_partitions() == ["main", "short"]
    SlurmLauncher(**SETTINGS).check()
    SlurmLauncher(**(SETTINGS | {"partition": "short"})).check()
    with pytest.raises(
        InputError, match="partition=long: no such partition; there are main, short"
    ):
        SlurmLauncher(**(SETTINGS | {"partition": "long"})).check()


@pytest.mark.parametrize(
    ("name", "value"), [("minutes", 0), ("cpus", 0.5), ("gpus", -1), ("memory", 0), ("parallel", 0)]
)
def test_slurm_settings_out_of_range(
    name: str, value: object, slurm: Callable[[str], None]
) -> None:
    slurm("echo main")
    with pytest.raises(InputError, match=f"hydra.launcher.{name}={value}: allowed"):
        SlurmLauncher(**(SETTINGS | {name: value})).check()


def test_missing_or_silent_slurm_is_named(
    slurm: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        with pytest.raises(InputError, match="there is no `sbatch`"):
            SlurmLauncher(**SETTINGS).check()
    slurm("echo 'slurm_load_partitions: Unable to contact' >&2; exit 1")
    with pytest.raises(InputError, match=r"does not answer \(slurm_load_partitions: Unable"):
        list_partitions()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 7_1", True),
        ("true", False),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", False),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", True),
    ],
)
def test_job_that_has_left_the_queue_is_noticed(
    script: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert is_queued("7_1") == expected


@pytest.mark.parametrize(
    ("wanted", "retries", "reason"),
    [
        ({"CPU": -1, "GPU": 0, "memory": 0}, 1, "num_cpus=-1: allowed"),
        ({"CPU": 1, "GPU": float("nan"), "memory": 0}, 1, "num_gpus=nan: allowed"),
        ({"CPU": 1, "GPU": 0, "memory": 0}, -1, "retries=-1: allowed"),
        ({"CPU": 1, "GPU": 0, "memory": 0}, 0.5, "retries=0.5: allowed"),
    ],
)
def test_ray_settings_out_of_range(wanted: dict, retries: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        check_amounts(wanted, retries)


def test_ray_address_must_answer() -> None:
    for address in ("somewhere", "host:", ":80", "host:port"):
        with pytest.raises(InputError, match=f"address={address}: allowed are HOST:PORT"):
            require_answer(address)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"address=127.0.0.1:{port}: does not answer"):
            require_answer(f"127.0.0.1:{port}")
        server.listen()
        require_answer(f"ray://127.0.0.1:{port}")
    with pytest.raises(InputError, match="address=localhost:99999: does not answer"):
        require_answer("localhost:99999")


def test_ray_cluster_must_be_large_enough() -> None:
    total = {"CPU": 2.0, "memory": 8e9}
    require_resources({"CPU": 2, "GPU": 0, "memory": 8e9}, total)
    for name, value, reason in [
        ("CPU", 3, "num_cpus=3: the cluster has 2"),
        ("GPU", 0.5, "num_gpus=0.5: the cluster has 0"),
        ("memory", 16e9, "memory=16: the cluster has 8"),
    ]:
        with pytest.raises(InputError, match=reason):
            require_resources({"CPU": 1, "GPU": 0, "memory": 0} | {name: value}, total)
