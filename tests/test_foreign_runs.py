"""A run folder from another user: files named in its config are read, never written."""

import json
from pathlib import Path

import pytest
from conftest import SMALL, folder_of

from uncollapse.evaluation.command import main as evaluate


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run on a user's files, with a separate home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    texts = tmp_path / "texts"
    texts.mkdir()
    for split, size in {"train": 60, "valid": 20, "test": 20}.items():
        lines = [
            f"the {'red' if i % 2 else 'blue'} dog {'sees' if i % 3 else 'hears'} a cat"
            for i in range(size)
        ]
        (texts / f"{split}.txt").write_text("\n".join(lines) + "\n")
    words = [word for word in SMALL if not word.startswith("data.")]
    from conftest import composed

    from uncollapse.run import run

    words += [
        "data=text",
        f"data.dir={texts}",
        f"data.cache={tmp_path / 'cache'}",
        "data.batch_size=16",
    ]
    run(composed("head=plain", f"results={tmp_path}", *words), "plain", words)
    return folder_of(tmp_path, "plain")


@pytest.mark.parametrize("key", ["cache", "own_cache"])
def test_foreign_config_causes_no_write_to_its_folders(key: str, run: Path, tmp_path: Path) -> None:
    config = run / "config.yaml"
    text = config.read_text().replace(
        f"cache: {tmp_path / 'cache'}\n", f"{key}: {tmp_path / 'elsewhere'}\n"
    )
    config.write_text(text)
    assert f"  {key}: {tmp_path / 'elsewhere'}" in text
    assert evaluate([str(run), "--samples", "5"]) == 0
    assert not (tmp_path / "elsewhere").exists()
    assert json.loads((run / "summary.json").read_text())["nll_samples"] == 5


def test_existing_cache_is_used(run: Path, tmp_path: Path) -> None:
    assert evaluate([str(run), "--samples", "5"]) == 0
    assert not (tmp_path / "home").exists()


def test_links_with_temporary_names_are_not_followed(run: Path, tmp_path: Path) -> None:
    precious = [tmp_path / f"precious-{i}" for i in range(3)]
    (run / "evaluations").mkdir(exist_ok=True)
    links = [run / ".summary.json.new", run / "evaluations" / ".test-nll-K5.json.new", run / ".new"]
    for target, link in zip(precious, links, strict=True):
        target.write_text("precious")
        link.symlink_to(target)
    assert evaluate([str(run), "--samples", "5"]) == 0
    assert [target.read_text() for target in precious] == ["precious"] * 3
    assert not (run / "summary.json").is_symlink()


@pytest.mark.parametrize(
    "line", ["seed: !!bool maybe", 'seed: !!int ""', 'seed: !!float ""', "label: !!timestamp foo"]
)
def test_invalid_tag_gives_one_sentence(
    line: str, run: Path, capsys: pytest.CaptureFixture
) -> None:
    config = run / "config.yaml"
    key = line.split(":")[0]
    lines = [line if old.startswith(f"{key}:") else old for old in config.read_text().splitlines()]
    config.write_text("\n".join(lines) + "\n")
    assert line in config.read_text()
    assert evaluate([str(run), "--samples", "5"]) == 2
    assert "config.yaml: damaged" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["dir", "cache"])
def test_home_folder_of_unknown_user_gives_one_sentence(key: str, tmp_path: Path) -> None:
    from schemas import TextConfig

    from uncollapse.errors import InputError

    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("a b c\n" * 4)
    with pytest.raises(InputError, match="this machine has no such home folder"):
        TextConfig(
            **{"dir": str(tmp_path), "cache": str(tmp_path / "c"), key: "~no-such-user/x"}
        ).load()
