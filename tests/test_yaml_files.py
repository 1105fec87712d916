"""The YAML reader: what OmegaConf reads, within limits; otherwise a quick one-sentence error."""

import os
import time
from pathlib import Path

import pytest
from conftest import ROOT, folder_of, run_here
from omegaconf import OmegaConf

from uncollapse.config import CONF
from uncollapse.errors import InputError
from uncollapse.evaluation.command import main as evaluate
from uncollapse.report import main as report
from uncollapse.runs.layout import Run
from uncollapse.runs.reading import read_config
from uncollapse.yaml_files import read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BAD = {
    BOMB: "more than 20,000 nodes once its aliases are written out",
    "a: &a {x: 1}\n"
    + "b: &b {"
    + "".join(f"k{i}: *a, " for i in range(10_001))
    + "}": "more than 20,000 nodes",
    "a: &a [*a]": "*a contains itself",
    "[" * 100_000: "nested deeper than 40 levels",
    "- " * 1000: "nested deeper than 40 levels",
    "{a: " * 100: "nested deeper than 40 levels",
    "x" * 2_000_000: "larger than 1,000,000 bytes",
    "a: " + "x" * 20_000: "a value of 20,000 characters",
    "a: " + "9" * 5000: "digits",
    "a: 0x" + "f" * 900: "an integer of 3,600 bits",
    "a: !!binary aGVsbG8=": "a value of the type bytes",
    "a: !!python/object/apply:os.getcwd []": "could not determine a constructor",
    "a: 1\na: 2": "the key a is given twice, line 2",
    "a: [": "line 2",
    "a: *b": "undefined alias",
    "a: \x00": "not allowed",
    "? [1, 2]\n: 3": "unhashable",
    "? 1\n: 3\n? !!binary aGVsbG8=\n: 2": "a key that is a bytes",
    "a: 1\n---\nb: 2": "another document",
    "\udcff": "decode",
}


def write_config(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder / "config.yaml"


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:20])
def test_invalid_config_quickly_gives_one_sentence(text: str, tmp_path: Path) -> None:
    start = time.perf_counter()
    with pytest.raises(InputError) as error:
        read_yaml(write_config(tmp_path, text))
    assert (
        BAD[text] in str(error.value)
        and "config.yaml" in str(error.value)
        and "\n" not in str(error.value)
    )
    assert len(str(error.value)) < 400 + len(str(tmp_path))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_non_file_is_refused_quickly(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(InputError, match="not a file"):
        read_yaml(path)


def test_shipped_files_are_read_like_omegaconf() -> None:
    paths = sorted(CONF.rglob("*.yaml"))
    for path in paths:
        expected = OmegaConf.to_container(OmegaConf.load(path))
        found = read_yaml(path) or {}
        assert found == expected and repr(found) == repr(expected), path
    assert len(paths) > 60


@pytest.mark.parametrize(
    "value",
    ["1e-3", "1.", ".5", "1_000", "2026-01-01", "1e5", "-.inf", "yes", "0o7", "~", "1.5e+3"],
)
def test_scalars_are_read_like_omegaconf(value: str, tmp_path: Path) -> None:
    path = write_config(tmp_path, f"a: {value}")
    assert repr(read_yaml(path)) == repr(OmegaConf.to_container(OmegaConf.load(path)))


def test_few_aliases_are_accepted(tmp_path: Path) -> None:
    assert read_yaml(write_config(tmp_path, "a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}")) == {
        "a": {"x": 1},
        "b": {"x": 1},
        "c": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize(
    "text", ["a: {b: ['${c}']}", "'${c}': 1", "a: ${oc.env:HOME}", "a: [1, 'x${']"]
)
def test_run_config_is_resolved(text: str, tmp_path: Path) -> None:
    write_config(tmp_path, text)
    with pytest.raises(InputError, match=r"which `train` resolves before it saves a config"):
        read_config(Run(tmp_path))


@pytest.mark.parametrize("text", ["- 1", "1", "", "1: 2"])
def test_run_config_must_be_a_mapping(text: str, tmp_path: Path) -> None:
    write_config(tmp_path, text)
    with pytest.raises(InputError, match="not a config of a run"):
        read_config(Run(tmp_path))


def test_yaml_bomb_in_run_folder_is_harmless(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run_here(tmp_path, "plain", "trainer.epochs=1")
    folder = folder_of(tmp_path, "plain")
    write_config(folder, (folder / "config.yaml").read_text() + BOMB)
    start = time.perf_counter()
    with pytest.raises(InputError, match="20,000 nodes"):
        run_here(tmp_path, "plain", "trainer.epochs=1")
    capsys.readouterr()
    assert evaluate([str(folder)]) == 2 and "20,000 nodes" in capsys.readouterr().err
    assert report([str(folder)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert time.perf_counter() - start < 20


def test_all_yaml_is_read_through_one_reader() -> None:
    bare = [
        path.name
        for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
        if any(
            call in path.read_text()
            for call in ("OmegaConf.load(", "yaml.load(", "safe_load(", "full_load(")
        )
    ]
    assert bare == ["yaml_files.py"]
