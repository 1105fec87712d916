"""A run folder from somebody else: what its config names is read, and never written to."""

import json
from pathlib import Path

import pytest
from conftest import SMALL, folder_of

from uncollapse.evaluate import main as evaluate


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run on a user's own files, with a home folder of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    texts = tmp_path / "texts"
    texts.mkdir()
    for split, size in {"train": 60, "valid": 20, "test": 20}.items():
        lines = [f"the {'red' if i % 2 else 'blue'} dog {'sees' if i % 3 else 'hears'} a cat" for i in range(size)]
        (texts / f"{split}.txt").write_text("\n".join(lines) + "\n")
    words = [word for word in SMALL if not word.startswith("data.")]
    from conftest import composed

    from uncollapse.run import run

    words += ["data=text", f"data.dir={texts}", f"data.cache={tmp_path / 'cache'}", "data.batch_size=16"]
    run(composed("head=plain", f"results={tmp_path}", *words), "plain", words)
    return folder_of(tmp_path, "plain")


@pytest.mark.parametrize("key", ["cache", "own_cache"])
def test_no_folder_that_a_config_names_is_written_to(key: str, run: Path, tmp_path: Path) -> None:
    config = run / "config.yaml"
    text = config.read_text().replace(f"cache: {tmp_path / 'cache'}\n", f"{key}: {tmp_path / 'elsewhere'}\n")
    config.write_text(text)
    assert f"  {key}: {tmp_path / 'elsewhere'}" in text
    assert evaluate([str(run), "--samples", "5"]) == 0
    assert not (tmp_path / "elsewhere").exists()
    assert json.loads((run / "summary.json").read_text())["nll_samples"] == 5


def test_a_cache_that_is_there_is_used(run: Path, tmp_path: Path) -> None:
    assert evaluate([str(run), "--samples", "5"]) == 0
    assert not (tmp_path / "home").exists()
