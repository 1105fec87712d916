"""Writing a report: files are complete, also on a full disk; foreign folders stay untouched."""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, fill, mounted
from test_report import read_report_bytes, write_run

from uncollapse import disk
from uncollapse.report import figures, files, main, page
from uncollapse.report.diagnosis import DIAGNOSIS_MARK, check_page_folder

PLOTS = figures.PLOTS


@pytest.fixture(autouse=True)
def no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure: most tests are about files, and drawing is slow."""
    monkeypatch.setattr(figures, "PLOTS", {"tau_grid": PLOTS["tau_grid"]})


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch, no_figure: None) -> None:
    monkeypatch.setattr(figures, "PLOTS", {name: PLOTS[name] for name in ("tau_grid", "usage")})


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for head in ("plain", "bn_mu"):
        write_run(tmp_path / "s", head, 0, evaluations=2)
    return tmp_path / "s"


def add_run(study: Path) -> None:
    """Add a run, so that every file of the next report differs."""
    write_run(study, "bn_mu", 1, evaluations=3)


def get_sentence(study: Path, capsys: pytest.CaptureFixture) -> str:
    assert main([str(study)]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("report: ") and output.err.count("\n") == 1 and not output.out, (
        output.err
    )
    return output.err


def find_temporary_files(report: Path) -> list[Path]:
    return list(report.rglob(".*.new"))


# ---------------------------------------------------------------- full and read-only disks


def fail_after(count: int, call: Callable, code: int = errno.ENOSPC) -> Callable:
    """`call`, until it was called `count` times; then the disk is full."""
    calls = iter(range(count))

    def limited(*words: object) -> object:
        if next(calls, None) is None:
            raise OSError(code, os.strerror(code))
        return call(*words)

    return limited


@pytest.mark.parametrize("code", [errno.ENOSPC])
@pytest.mark.usefixtures("one_figure")
def test_failing_disk_leaves_earlier_report(
    study: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    assert main([str(study)]) == 0
    before = read_report_bytes(study / "report")
    add_run(study)
    capsys.readouterr()
    made = page.draw_all  # drawn once: this tests writing
    shown: list = []
    monkeypatch.setattr(
        page, "draw_all", lambda *words: shown or shown.extend(made(*words)) or shown
    )
    count, reports = 0, []
    while True:
        with monkeypatch.context() as patch:
            patch.setattr(disk.os, "fsync", fail_after(count, os.fsync, code))
            done = main([str(study)])
        if done == 0 or count > 60:
            break
        error = capsys.readouterr().err
        assert done == 2 and error.count("\n") == 1 and "Traceback" not in error
        reports.append(read_report_bytes(study / "report"))
        assert not find_temporary_files(study / "report")
        count += 1
    after = read_report_bytes(study / "report")
    changed = [name for name in before if before[name] != after[name]]
    assert "index.html" in changed and "figures/usage.pdf" in changed
    # until the last changed file is on disk nothing is renamed
    assert len(reports) >= len(changed) and reports[: len(changed)] == [before] * len(changed)
    assert after.keys() == before.keys()


def test_failed_rename_leaves_complete_files(
    study: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([str(study)]) == 0
    old = read_report_bytes(study / "report")
    add_run(study)
    for count in (0, 1, 2):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(disk.os, "replace", fail_after(count, os.replace))
            get_sentence(study, capsys)
        assert not find_temporary_files(study / "report")
    mixed = read_report_bytes(study / "report")
    assert main([str(study)]) == 0
    new = read_report_bytes(study / "report")
    assert all(mixed[name] in (old[name], new[name]) for name in new)


@pytest.mark.parametrize("share", [0.0, 0.9])
@pytest.mark.slow
def test_file_size_limit_leaves_earlier_report(study: Path, share: float) -> None:
    assert main([str(study)]) == 0
    before = read_report_bytes(study / "report")
    room = int(share * max(map(len, before.values())))
    add_run(study)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    command = [sys.executable, "scripts/report.py", str(study)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit)
    assert (
        done.returncode == 2 and done.stderr.startswith("report: ") and done.stderr.count("\n") == 1
    ), done.stderr
    assert "cannot be read or written" in done.stderr
    assert read_report_bytes(study / "report") == before


def test_report_can_be_repeated_after_full_disk(
    study: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (0, 1, 2, 5):
        with monkeypatch.context() as patch:
            patch.setattr(disk.os, "fsync", fail_after(count, os.fsync))
            assert main([str(study)]) == 2
    assert main([str(study)]) == 0


def test_full_small_disk_leaves_earlier_report(
    small_disk: Path, capsys: pytest.CaptureFixture
) -> None:
    study = small_disk / "s"
    write_run(study, "plain", 0, evaluations=2)
    assert main([str(study)]) == 0
    add_run(study)
    before = read_report_bytes(study / "report")
    fill(small_disk)
    capsys.readouterr()
    assert "No space left" in get_sentence(study, capsys)
    assert read_report_bytes(study / "report") == before
    (small_disk / "filler").unlink()
    assert main([str(study)]) == 0 and read_report_bytes(study / "report") != before


def test_read_only_disk_gives_one_sentence(small_disk: Path, capsys: pytest.CaptureFixture) -> None:
    study = small_disk / "s"
    write_run(study, "plain", 0, evaluations=2)
    mounted(small_disk, "-o", "remount,ro")
    assert "report: cannot be read or written (Read-only" in get_sentence(study, capsys)
    mounted(small_disk, "-o", "remount,rw")
    assert main([str(study)]) == 0
    before = read_report_bytes(study / "report")
    add_run(study)
    mounted(small_disk, "-o", "remount,ro")
    capsys.readouterr()
    error = get_sentence(study, capsys)
    assert "Read-only file system" in error and ".new" not in error
    assert read_report_bytes(study / "report") == before


def test_read_only_disk_error_names_the_file(small_disk: Path) -> None:
    mounted(small_disk, "-o", "remount,ro")
    with pytest.raises(OSError, match="Read-only") as caught:
        disk.write_atomic(small_disk / "a", b"x")
    assert caught.value.filename == str(small_disk / "a")


def test_system_error_without_file_gives_one_sentence(
    study: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:  # as matplotlib does without a folder for its cache
        raise OSError("no writable cache")

    monkeypatch.setattr(page, "write_report", refuse)
    assert f"report: {study}: cannot be read or written (no writable cache)" in get_sentence(
        study, capsys
    )


# ---------------------------------------------------------------- kills


@pytest.mark.parametrize(
    ("call", "count"), [("fsync", 0), ("fsync", 7), ("replace", 0), ("replace", 3), ("replace", 6)]
)
@pytest.mark.slow
def test_killed_report_leaves_complete_files_and_can_be_repeated(
    study: Path, call: str, count: int
) -> None:
    assert main([str(study)]) == 0
    old = read_report_bytes(study / "report")
    add_run(study)
    code = f"""
import itertools, os, signal
from uncollapse.report import figures, main
figures.PLOTS = {{"tau_grid": figures.PLOTS["tau_grid"]}}
honest, calls = os.{call}, itertools.count()
def limited(*words):
    if next(calls) == {count}:
        os.kill(os.getpid(), signal.SIGKILL)
    return honest(*words)


os.{call} = limited
main([{str(study)!r}])
"""
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode
        == -signal.SIGKILL
    )
    cut = read_report_bytes(study / "report")
    assert find_temporary_files(study / "report")
    assert main([str(study)]) == 0 and not find_temporary_files(study / "report")
    new = read_report_bytes(study / "report")
    assert all(cut[name] in (old[name], new[name]) for name in old)
    if call == "fsync":
        assert all(cut[name] == old[name] for name in old)


@pytest.mark.parametrize("place", [".index.html.new", ".uncollapse.new", "figures/.usage.pdf.new"])
def test_temporary_file_of_killed_writer_is_ignored(study: Path, place: str) -> None:
    (study / "report" / place).parent.mkdir(parents=True)
    (study / "report" / place).write_text("half")
    assert main([str(study)]) == 0 and not find_temporary_files(study / "report")


def test_concurrent_report_is_refused_in_one_sentence(
    study: Path, capsys: pytest.CaptureFixture
) -> None:
    (study / "report").mkdir()
    with disk.hold_lock(study / "report", "report"):
        assert "another process is working on this report" in get_sentence(study, capsys)


# ---------------------------------------------------------------- foreign and own folders


def make_old(report: Path) -> None:
    """Make a report as left by versions before the mark file."""
    (report / ".uncollapse").unlink()


def damage_page(report: Path, how: str) -> None:
    index = report / "index.html"
    full = index.read_bytes()
    if how == "deleted":
        index.unlink()
    elif how == "zeros":
        index.write_bytes(bytes(4096))
    else:
        index.write_bytes(full[: int(how)])


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "how", ["deleted", "zeros", "0", "1", "14", "15", "60", "100", "130", "500", "4096"]
)
@pytest.mark.slow
def test_report_folder_is_reused_with_damaged_page(study: Path, how: str, old: bool) -> None:
    assert main([str(study)]) == 0
    full = read_report_bytes(study / "report")
    if old:
        make_old(study / "report")
    damage_page(study / "report", how)
    assert main([str(study)]) == 0 and read_report_bytes(study / "report") == full


def test_unfinished_report_of_older_version_is_recognised(study: Path) -> None:
    for length in (0, 10, 40, 200):
        (study / "report").mkdir()
        stub = f"<!doctype html>{files.PAGE_MARK}<p>This report was not finished."
        (study / "report/index.html").write_text(stub[:length])
        assert main([str(study)]) == 0
        shutil.rmtree(study / "report")


@pytest.mark.parametrize(
    "theirs",
    [
        {"index.html": "<!doctype html>\n<html><title>My thesis</title>"},
        {"index.html": "x"},
        {"index.html": "", "thesis.tex": "years of work"},
        {"figures/usage.pdf": "mine"},
        {"index.html": "", "figures/usage.pdf": "mine"},
        {"tables/summary.csv": "year,result\n1,2\n"},
        {"index.html": "<!doctype html>\n<html>mine", "tables/summary.csv": "group,head\n"},
        {"tables/summary.csv": "group,head\n", "notes.txt": "mine"},
        {"old/.hidden": "mine"},
        {"index.html/inner.txt": "mine"},
    ],
)
def test_foreign_folder_is_refused_and_kept(
    study: Path, theirs: dict[str, str], capsys: pytest.CaptureFixture
) -> None:
    for name, text in theirs.items():
        (study / "report" / name).parent.mkdir(parents=True, exist_ok=True)
        (study / "report" / name).write_text(text)
    before = read_report_bytes(study / "report")
    assert "not a report of ours" in get_sentence(study, capsys)
    assert read_report_bytes(study / "report") == before


def test_file_or_dead_link_in_place_gives_one_sentence(
    study: Path, capsys: pytest.CaptureFixture
) -> None:
    (study / "report").write_text("a file")
    assert "not a folder" in get_sentence(study, capsys)
    (study / "report").unlink()
    (study / "report").symlink_to(study / "gone")
    assert "report: cannot be read or written" in get_sentence(study, capsys)


def test_user_files_are_kept(study: Path) -> None:
    assert main([str(study)]) == 0
    (study / "report/notes.txt").write_text("mine")
    assert main([str(study)]) == 0 and (study / "report/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "content", ["", "<!doc", "\0" * 100, f"<!doctype html>...{DIAGNOSIS_MARK}"]
)
def test_truncated_diagnosis_page_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "index.html").write_text(content)
    assert check_page_folder(tmp_path) == tmp_path


@pytest.mark.parametrize("count", range(4))
@pytest.mark.slow
def test_full_disk_leaves_earlier_diagnosis_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    import torch
    from test_diagnosis import cost, good

    from uncollapse import diagnose

    diagnose(good, cost, torch.zeros(10, 4), samples=2, page=tmp_path)
    before = read_report_bytes(tmp_path)
    monkeypatch.setattr(disk.os, "fsync", fail_after(count, os.fsync))
    with pytest.warns(
        UserWarning, match="cannot be written .No space left.*; the numbers are returned"
    ):
        found = diagnose(good, cost, torch.ones(10, 4), samples=2, page=tmp_path)
    assert found["nll"] > 0 and read_report_bytes(tmp_path) == before


# ---------------------------------------------------------------- every writer


IN_PLACE = re.compile(
    r"\.write_text\(|\.write_bytes\(|to_csv\(\w|savefig\(|copyfile\(|\bopen\([^)]*[\"'][wx]b?[\"']"
)
ALLOWED = {  # (file, why)
    "src/uncollapse/disk.py": "the atomic writer itself",
    "src/uncollapse/data/cache.py": "a cache folder that is renamed into place when it is complete",
    "src/uncollapse/data/tokenise.py": "arrays of that folder",
    "src/uncollapse/data/tables.py": "what is unpacked into a temporary folder",
    "src/uncollapse/data/set_folder.py": "a temporary name that is renamed when it is complete",
    "src/uncollapse/runs/heartbeat.py": "a sign of life, renamed but not synced",
    "src/uncollapse/report/tables/files.py": "text of a csv, not a file",
    "src/uncollapse/processes.py": "the null device, where other processes print",
    "src/uncollapse/metrics/catalogue.py": "a page of docs/ in a checkout",
    "scripts/dev/lock.py": "the lock file of a checkout",
    "scripts/dev/remedies.py": "a page of docs/ in a checkout",
    "scripts/dev/vendor.py": "vendored files of a checkout",
    "scripts/bench/generated.py": "inputs of a measurement in a temporary folder",
    "scripts/bench/report.py": "inputs of a measurement in a temporary folder",
}


def test_no_other_code_writes_in_place() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("src", "scripts")
        for path in (ROOT / folder).rglob("*.py")
        if IN_PLACE.search(path.read_text())
    }
    assert found <= set(ALLOWED), found - set(ALLOWED)
