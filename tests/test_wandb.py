"""W&B as a mirror: what it holds is what is on disk, one W&B run per run; nothing of it is imported without it."""

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, SMALL, rows, type_command

FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
BLOCK = 1 << 15


def records(path: Path) -> Iterator:
    """The records of an offline run: a LevelDB log (blocks of 32 KiB, each record crc, length, type, data) after a 7-byte header."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # a block's last bytes are padding when no header fits
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two jobs of one multirun, mirrored offline."""
    results = tmp_path_factory.mktemp("wandb")
    done = type_command(
        "-m", "head=plain,bn_tau", "log=wandb", "log.mode=offline", *SMALL, f"results={results}", WANDB_MODE="offline"
    )
    assert done.returncode == 0, done.stderr
    return results


def read(results: Path, head: str) -> tuple[Path, list]:
    (folder,) = (results / "scratch/runs" / head).glob("*/seed=0")
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    return folder, list(records(file))


@pytest.mark.parametrize("head", ["plain", "bn_tau"])
def test_each_job_has_its_own_run_with_its_own_config_and_name(offline: Path, head: str) -> None:
    _, found = read(offline, head)
    (run,) = [r.run for r in found if r.WhichOneof("record_type") == "run"]
    assert run.display_name.startswith(head) and run.display_name.endswith("seed=0")
    assert run.run_group.startswith(f"scratch {head}") and "seed" not in run.run_group
    assert run.job_type == head and list(run.tags) == ["scratch"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["head"] == head and config["seed"] == 0 and config["model"]["latent"] == 4


@pytest.mark.parametrize("head", ["plain", "bn_tau"])
def test_the_mirror_holds_the_rows_on_disk(offline: Path, head: str) -> None:
    folder, found = read(offline, head)
    history = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in r.history.item}
        for r in found
        if r.WhichOneof("record_type") == "history"
    ]
    disk = rows(folder)
    assert len(history) == len(disk)
    for mirrored, row in zip(history, disk, strict=True):
        prefix = f"{row['split']}/{row['mode']}"
        assert mirrored["trainer/step"] == row["step"]
        for name in ("kl", "rec", "nelbo", "au", "shuffle_gap"):
            assert mirrored[f"{prefix}/{name}"] == pytest.approx(row[name])
        assert any(key.startswith(f"{prefix}/kl_per_dim") for key in mirrored)


def test_a_resumed_run_is_mirrored_from_its_first_row(offline: Path) -> None:
    folder, _ = read(offline, "plain")
    (folder / "done").unlink()
    done = type_command("head=plain", "log=wandb", "log.mode=offline", *SMALL, f"results={offline}")
    assert done.returncode == 0, done.stderr
    newest = max(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda p: p.stat().st_mtime)
    assert sum(r.WhichOneof("record_type") == "history" for r in records(newest)) == len(rows(folder))


def test_online_without_a_key_is_one_sentence(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none"), "WANDB_MODE": "online", "WANDB_API_KEY": ""}
    done = type_command("log=wandb", *SMALL, f"results={tmp_path / 'r'}", **home)
    assert done.returncode == 2
    assert (
        "log=wandb: W&B cannot start" in done.stderr
        and "log.mode=offline" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_nothing_of_wandb_is_imported_without_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests'); from pathlib import Path; from conftest import run_here; "
        f"run_here(Path({str(tmp_path)!r}), 'plain'); print([m for m in ('wandb', 'datasets', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
