"""Files that are complete or absent, and rows that survive a crash of their writer."""

import json
import os

import pytest
import torch
from torch import nn

from uncollapse.disk import write_atomic
from uncollapse.errors import InputError
from uncollapse.runs.checkpoint import load_model, load_state, save_model, save_state
from uncollapse.runs.json_values import replace_nonfinite
from uncollapse.runs.rows import Record, read_rows


def list_names(folder):
    return [path.name for path in folder.iterdir()]


# ---------------------------------------------------------------- complete or absent


def test_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "a"
    write_atomic(path, b"old")
    write_atomic(path, b"new and longer")
    assert path.read_bytes() == b"new and longer" and list_names(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_full_disk_leaves_old_file_and_names_it(tmp_path, monkeypatch, call):
    path = tmp_path / "state.pt"
    write_atomic(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(path, b"new")
    assert caught.value.errno == 28 and caught.value.filename == str(path)
    assert path.read_bytes() == b"old" and list_names(tmp_path) == ["state.pt"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_crash_leaves_old_file_and_next_write_succeeds(tmp_path, monkeypatch, call):
    path = tmp_path / "state.pt"
    write_atomic(path, b"old")
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(os, call, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    write_atomic(path, b"newer")
    assert path.read_bytes() == b"newer" and list_names(tmp_path) == ["state.pt"]


def test_data_is_synced_before_rename(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append("sync") or fsync(handle))
    monkeypatch.setattr(os, "replace", lambda *paths: calls.append("rename") or replace(*paths))
    write_atomic(tmp_path / "a", b"data")
    assert calls == ["sync", "rename", "sync"]


def test_missing_folder_error_names_file(tmp_path):
    with pytest.raises(OSError) as caught:
        write_atomic(tmp_path / "no" / "a", b"")
    assert caught.value.filename == str(tmp_path / "no" / "a")


# ---------------------------------------------------------------- weights and states


def test_weights_and_buffers_round_trip_bit_for_bit(tmp_path):
    model, other = (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)) for _ in range(2))
    model(torch.randn(5, 3))
    save_model(tmp_path / "m", model)
    load_model(tmp_path / "m", other)
    for name, tensor in model.state_dict().items():
        assert (
            other.state_dict()[name].equal(tensor)
            and other.state_dict()[name].dtype == tensor.dtype
        )


def test_failed_save_keeps_best_weights(tmp_path, monkeypatch):
    model = nn.Linear(2, 2)
    save_model(tmp_path / "m", model)
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    nn.init.zeros_(model.weight)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken, pytest.raises(OSError):
        broken.setattr(os, "replace", full)
        save_model(tmp_path / "m", model)
    load_model(tmp_path / "m", model)
    assert model.weight.equal(kept["weight"])


def test_damaged_missing_or_mismatched_weights_are_reported(tmp_path):
    path, model = tmp_path / "model.safetensors", nn.Linear(3, 2)
    save_model(path, model)
    intact = path.read_bytes()
    for data in (intact[:-4], intact[:5], b"", b"not weights at all"):
        path.write_bytes(data)
        with pytest.raises(InputError, match="damaged, or not a file of weights"):
            load_model(path, model)
    path.write_bytes(intact)
    for other in (nn.Linear(4, 2), nn.Linear(3, 2, bias=False), nn.Sequential(nn.Linear(3, 2))):
        with pytest.raises(InputError, match="not the weights of this run's model"):
            load_model(path, other)
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        load_model(path, model)


def train_a_few_steps():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "step": 7,
        "best": 0.1,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "none": None,
    }


def test_state_round_trips_bit_for_bit(tmp_path):
    state = {**train_a_few_steps(), "rng": torch.get_rng_state()}
    save_state(tmp_path / "s", state)
    back = load_state(tmp_path / "s")
    assert back["step"] == 7 and back["best"] == 0.1 and back["none"] is None
    assert back["rng"].equal(state["rng"]) and back["model"]["weight"].equal(
        state["model"]["weight"]
    )
    assert back["optimizer"]["state"][0]["exp_avg"].equal(state["optimizer"]["state"][0]["exp_avg"])


@pytest.mark.parametrize("left", [0, 1, 100, -100, -1])
def test_truncated_state_error_names_file(tmp_path, left):
    path = tmp_path / "state.pt"
    save_state(path, train_a_few_steps())
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError) as caught:
        load_state(path)
    assert str(caught.value).startswith(f"{path}: truncated or damaged") and "\n" not in str(
        caught.value
    )


def test_invalid_checkpoint_is_refused(tmp_path):
    path = tmp_path / "state.pt"
    path.write_text("step: 7\n")
    with pytest.raises(InputError, match="truncated or damaged"):
        load_state(path)
    for other in ([1, 2], {"model": {}}, torch.zeros(2)):
        torch.save(other, path)
        with pytest.raises(InputError, match="not a checkpoint of a run"):
            load_state(path)


class Payload:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_loading_state_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "payload": Payload()}, tmp_path / "state.pt")
    with pytest.raises(InputError):
        load_state(tmp_path / "state.pt")
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------- rows

WHERE = (("train", "train"), ("valid", "eval"))
ROWS = [
    {"step": step, "kl": step / 4, "split": split, "mode": mode}
    for step in (0, 10, 20)
    for split, mode in WHERE
]


NEXT = {**ROWS[-1], "step": 30}


def write_rows(path, rows=ROWS) -> Record:
    record = Record(path, [])
    for row in rows:
        record.write(row)
    return record


def test_rows_are_single_lines_and_round_trip(tmp_path):
    write_rows(tmp_path / "rows")
    assert len((tmp_path / "rows").read_text().splitlines()) == 6
    assert read_rows(tmp_path / "rows").rows == ROWS
    assert read_rows(tmp_path / "nothing").rows == []


@pytest.mark.parametrize("left", range(1, 41, 5))
def test_truncated_last_line_is_skipped(tmp_path, left):
    path = tmp_path / "rows"
    write_rows(path)
    torn = json.dumps(ROWS[-1])[:left]
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:-1]) + torn)
    assert read_rows(path).rows == ROWS[:-1] and read_rows(path).torn
    record = Record(path, [])
    assert record.resume(20) is None
    record.write(ROWS[-1])
    assert read_rows(path).rows == ROWS


def test_undecodable_bytes_and_invalid_lines_are_skipped(tmp_path):
    path = tmp_path / "rows"
    sound = {"step": 3, "split": "test", "mode": "eval", "kl": 1}
    odd = [
        {**sound, key: value}
        for key, value in (("step", 1e400), ("split", []), ("mode", None), ("kl_per_dim", 5))
    ]
    lines = [
        b"\xff\xfe\x00",
        b"12",
        b"[1]",
        b"null",
        b'{"kl": 1}',
        *(json.dumps(row).encode() for row in (*odd, sound)),
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    found = read_rows(path)
    assert (found.rows, found.lost, found.torn) == ([sound], [*range(1, 10)], False)


@pytest.mark.parametrize(("step", "kept"), [(-1, 0), (0, 2), (9, 2), (10, 4), (20, 6), (99, 6)])
def test_resuming_keeps_and_mirrors_rows_up_to_checkpoint(tmp_path, step, kept):
    path, mirrored = tmp_path / "rows", []
    write_rows(path)
    record = Record(path, [mirrored.append])
    record.resume(step, kept if step >= 0 else None)
    assert read_rows(path).rows == ROWS[:kept] == mirrored
    record.write(NEXT)
    assert read_rows(path).rows == [*ROWS[:kept], NEXT] == mirrored and record.count == kept + 1


def test_resuming_unstarted_run_gives_empty_file(tmp_path):
    Record(tmp_path / "rows", []).resume(-1)
    assert (tmp_path / "rows").read_bytes() == b""


def test_crash_while_resuming_loses_no_row(tmp_path, monkeypatch):
    path = tmp_path / "rows"
    write_rows(path)
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        Record(path, []).resume(0)
    assert read_rows(path).rows == ROWS


def test_non_finite_numbers_become_null(tmp_path):
    nan, inf, mirrored = float("nan"), float("inf"), []
    row = {
        "step": 1,
        "split": "test",
        "kl": nan,
        "per": [1.0, inf, {"x": -inf}],
        "pair": (nan, 2),
        "ok": True,
        "none": None,
    }
    Record(tmp_path / "rows", [mirrored.append]).write(row)
    expected = {
        "step": 1,
        "split": "test",
        "kl": None,
        "per": [1.0, None, {"x": None}],
        "pair": [None, 2],
        "ok": True,
        "none": None,
    }

    def not_json(constant):
        raise AssertionError(constant)

    assert json.loads((tmp_path / "rows").read_text(), parse_constant=not_json) == expected
    assert mirrored == [expected] and replace_nonfinite(row) == expected
