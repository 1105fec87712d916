"""W&B as a mirror: one W&B run per run with the rows on disk, and no import unless it is used."""

import contextlib
import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, SMALL, composed, folder_of, rows, run_here, type_command

from uncollapse.errors import InputError
from uncollapse.run import run
from uncollapse.sweep import check_wandb

FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
BLOCK = 1 << 15


def read_records(path: Path) -> Iterator:
    """The records of an offline run.

    A LevelDB log (blocks of 32 KiB, each record crc, length, type, data) after a 7-byte header.
    """
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
        "-m",
        "head=plain,bn_tau",
        "log=wandb",
        "log.mode=offline",
        *SMALL,
        f"results={results}",
        WANDB_MODE="offline",
    )
    assert done.returncode == 0, done.stderr
    return results


def read(results: Path, head: str) -> tuple[Path, list]:
    (folder,) = (results / "scratch/runs" / head).glob("*/seed=0")
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    return folder, list(read_records(file))


@pytest.mark.parametrize("head", ["plain", "bn_tau"])
def test_each_job_has_its_own_run_config_and_name(offline: Path, head: str) -> None:
    _, found = read(offline, head)
    (run,) = [r.run for r in found if r.WhichOneof("record_type") == "run"]
    assert run.display_name.startswith(head) and run.display_name.endswith("seed=0")
    assert run.run_group.startswith(f"scratch {head}") and "seed" not in run.run_group
    assert run.job_type == head and list(run.tags) == ["scratch"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["head"] == head and config["seed"] == 0 and config["model"]["latent"] == 4


@pytest.mark.parametrize("head", ["plain", "bn_tau"])
def test_mirror_equals_rows_on_disk(offline: Path, head: str) -> None:
    folder, found = read(offline, head)
    history = [
        {
            "/".join(item.nested_key) or item.key: json.loads(item.value_json)
            for item in r.history.item
        }
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


@pytest.mark.slow
def test_resumed_run_is_mirrored_from_first_row(offline: Path) -> None:
    folder, _ = read(offline, "plain")
    (folder / "done").unlink()
    done = type_command("head=plain", "log=wandb", "log.mode=offline", *SMALL, f"results={offline}")
    assert done.returncode == 0, done.stderr
    newest = max(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda p: p.stat().st_mtime)
    assert sum(r.WhichOneof("record_type") == "history" for r in read_records(newest)) == len(
        rows(folder)
    )


@pytest.mark.slow
def test_resumed_run_keeps_its_id(offline: Path) -> None:
    folder, _ = read(offline, "bn_tau")
    (folder / "done").unlink()
    type_command("head=bn_tau", "log=wandb", "log.mode=offline", *SMALL, f"results={offline}")
    names = [path.name for path in folder.glob("wandb/offline-run-*")]
    assert len(names) == 2 and {name.rsplit("-", 1)[1] for name in names} == {
        (folder / "wandb_id").read_text()
    }
    ids = [(run / "wandb_id").read_text() for run in offline.glob("scratch/runs/*/*/seed=*")]
    assert len(set(ids)) == len(ids) == 2


class Server:
    """Stands for W&B: stores logged rows by run id, and resumes runs."""

    def __init__(self) -> None:
        self.runs: dict[str, list[dict]] = {}

    def init(self, **words: Any) -> Any:
        assert words["mode"] == "online" and words["resume"] == "allow"
        history = self.runs.setdefault(words["id"], [])
        silent = lambda *args, **more: None  # noqa: E731
        return SimpleNamespace(
            starting_step=len(history),
            log=history.append,
            define_metric=silent,
            finish=silent,
            summary={},
        )


@pytest.mark.parametrize("stop", range(7))
@pytest.mark.slow
def test_interrupted_run_is_mirrored_with_each_row_once(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    from uncollapse.mirror import WandbMirror

    server, honest, sent = Server(), WandbMirror.row, iter(range(100))
    monkeypatch.setattr(wandb, "init", server.init)

    def cut(mirror: WandbMirror, row: dict) -> None:
        honest(mirror, row)
        if next(sent) == stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(WandbMirror, "row", cut)
        with pytest.raises(KeyboardInterrupt):
            run_here(tmp_path, "plain", "log=wandb")
    run_here(tmp_path, "plain", "log=wandb")
    (history,) = server.runs.values()
    disk = rows(folder_of(tmp_path, "plain"))
    assert [row["trainer/step"] for row in history] == [row["step"] for row in disk]
    for mirrored, row in zip(history, disk, strict=True):
        assert mirrored[f"{row['split']}/{row['mode']}/kl"] == row["kl"]


def unreachable_server(tmp_path: Path, port: int) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "NETRC": str(tmp_path / "none"),
        "WANDB_API_KEY": "a" * 40,
        "WANDB_BASE_URL": f"http://127.0.0.1:{port}",
    }


@pytest.fixture
def silent_port() -> Iterator[tuple[int, socket.socket]]:
    """A port that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield server.getsockname()[1], server


@pytest.mark.slow
def test_auto_mode_falls_back_to_offline_with_a_message(tmp_path: Path, silent_port: tuple) -> None:
    words = [
        "head=plain",
        "log=wandb",
        "log.mode=auto",
        "log.timeout=0.5",
        *SMALL,
        f"results={tmp_path}",
    ]
    done = type_command(*words, **unreachable_server(tmp_path, silent_port[0]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("does not answer within 0.5 s") == 1 and "wandb sync" in done.stdout
    assert list(folder_of(tmp_path, "plain").glob("wandb/offline-run-*/*.wandb"))


@pytest.mark.slow
def test_configured_server_is_used(tmp_path: Path) -> None:
    code = "from uncollapse.mirror import explain_unreachable_server as f; print(f(5.0))"
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        words = [sys.executable, "-c", code]
        env = {**os.environ, **unreachable_server(tmp_path, server.server_port)}
        there = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
        server.shutdown()
    gone = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
    assert (
        there.strip() == "None" and f"http://127.0.0.1:{server.server_port} does not answer" in gone
    )


def test_empty_id_is_replaced(tmp_path: Path) -> None:
    from uncollapse.mirror import read_or_make_id
    from uncollapse.runs.layout import Run

    (tmp_path / "wandb_id").write_text("\n")
    run = Run(tmp_path)
    assert read_or_make_id(run) == read_or_make_id(run) == (tmp_path / "wandb_id").read_text() != ""


@pytest.mark.slow
def test_sweep_contacts_server_once(tmp_path: Path, silent_port: tuple) -> None:
    words = [
        "-m",
        "head=plain,bn_mu",
        "seed=0,1",
        "log=wandb",
        "log.timeout=0.5",
        *SMALL,
        f"results={tmp_path}",
    ]
    done = type_command(*words, "log.mode=auto", **unreachable_server(tmp_path, silent_port[0]))
    assert done.returncode == 0, done.stderr
    silent_port[1].setblocking(False)
    requests = 0
    with contextlib.suppress(BlockingIOError):
        while connection := silent_port[1].accept()[0]:
            requests += connection.recv(500).startswith(b"GET / ")  # W&B itself connects, too
            connection.close()
    assert requests == 1
    assert len(list(tmp_path.glob("scratch/runs/*/*/*/wandb/offline-run-*"))) == 4


@pytest.mark.parametrize("many", [[], ["-m", "seed=0,1"]])
@pytest.mark.slow
def test_unreachable_server_gives_one_sentence_within_timeout(many: list, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [*many, "head=plain", "log=wandb", "log.timeout=2", *SMALL, f"results={tmp_path}"]
    start = time.monotonic()
    done = type_command(*words, **unreachable_server(tmp_path, port))
    assert time.monotonic() - start < 40  # W&B alone would wait 90 s
    assert (
        done.returncode == 2 and "log.mode=auto" in done.stderr and "Traceback" not in done.stderr
    )


@pytest.mark.parametrize("value", ["-1", "0", "inf", "soon"])
def test_out_of_range_timeout_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"log\.timeout"):
        run_here(tmp_path, "plain", f"log.timeout={value}")


def test_online_without_api_key_gives_one_sentence(tmp_path: Path) -> None:
    home = {
        "HOME": str(tmp_path),
        "NETRC": str(tmp_path / "none"),
        "WANDB_MODE": "online",
        "WANDB_API_KEY": "",
    }
    done = type_command("log=wandb", *SMALL, f"results={tmp_path / 'r'}", **home)
    assert done.returncode == 2
    assert (
        "log=wandb: W&B cannot start" in done.stderr
        and "log.mode=offline" in done.stderr
        and "Traceback" not in done.stderr
    )


@pytest.mark.slow
def test_wandb_is_not_imported_unless_used(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests'); from pathlib import Path; "
        "from conftest import run_here; "
        f"run_here(Path({str(tmp_path)!r}), 'plain'); print([m for m in ('wandb', "
        "'datasets', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_missing_package_is_refused_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if not installed
    monkeypatch.delitem(sys.modules, "uncollapse.mirror", raising=False)
    cfg = composed("head=plain", "log=wandb", *SMALL, f"results={tmp_path / 'r'}")
    sentence = r"log=wandb needs wandb, which is not installed; pip install 'uncollapse\[wandb\]'"
    with pytest.raises(InputError, match=f"^{sentence}$"):
        run(cfg, "plain", [*SMALL])
    assert not (tmp_path / "r").exists()
    with pytest.raises(SystemExit, match="2"):
        check_wandb(cfg.log)
    assert capsys.readouterr().err.startswith("error: log=wandb needs wandb")
