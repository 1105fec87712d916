"""`content` in data.json: equal for the same data at any location, different for other data."""

import json
import lzma
import shutil
import string
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import folder_of, run_here
from schemas import (
    ArraysConfig,
    DialogueConfig,
    DigitsConfig,
    GaussianConfig,
    GrammarConfig,
    MnistConfig,
    OmniglotConfig,
    TextConfig,
)
from test_dialogue import turns, write_dialogues
from test_files import block_hub, labelled, write_splits
from test_images import write_hub, write_idx
from test_levels import word_pieces

from uncollapse.data import LOCATIONS, SPLITS, cache, profile
from uncollapse.data.digests import array_digest, fingerprint

assert block_hub and word_pieces  # fixtures: no network, and a tokenizer file


def content(config) -> str:
    found = config.load().facts()["content"]
    assert len(found) == 16 and set(found) <= set(string.hexdigits.lower())
    return found


def text(folder: Path, **options) -> str:
    return content(TextConfig(dir=str(folder), cache=str(folder.parent / "cache"), **options))


# ---------------------------------------------------------------- text


def test_text_identity_ignores_location_and_names(tmp_path: Path) -> None:
    first = text(write_splits(tmp_path / "a"))
    assert text(write_splits(tmp_path / "deep" / "b")) == first
    files = write_splits(tmp_path / "c")
    (files / "valid.txt").rename(files / "dev.txt")
    assert text(files) == first
    named = {"train": "c/train.txt", "valid": "c/dev.txt", "test": "a/test.txt"}
    paths = {split: str(tmp_path / path) for split, path in named.items()}
    assert content(TextConfig(**paths, cache=str(tmp_path / "cache"))) == first


@pytest.mark.parametrize("split", SPLITS)
def test_one_changed_letter_changes_text_identity(tmp_path: Path, split: str) -> None:
    folder = write_splits(tmp_path / "text")
    first = text(folder)
    path = folder / f"{split}.txt"
    path.write_text(path.read_text().replace("cat", "cut").replace("bird", "bard"))
    assert text(folder) != first


def test_swapped_splits_change_text_identity(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "text")
    first = text(folder)
    for new, old in (("x", "valid"), ("valid", "test"), ("test", "x")):
        (folder / f"{old}.txt").rename(folder / f"{new}.txt")
    assert text(folder) != first


def test_label_names_count_as_content(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "text")
    says = [text(folder, labels=True), text(folder, labels=False)]
    for labels, known in zip((True, False), says, strict=True):
        (folder / "manifest.json").write_text(json.dumps({"labels": labels}))
        assert text(folder, labels=None) == known
    assert says[0] != says[1]


def test_selected_columns_count_as_content(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        for split in SPLITS:
            (folder / f"{split}.csv").write_text("text,title\none two,three\n" * 2)
    assert text(tmp_path / "a") == text(tmp_path / "b") != text(tmp_path / "a", column="title")


def test_config_facts_do_not_count_as_content(tmp_path: Path, monkeypatch) -> None:
    folder = write_splits(tmp_path / "text")
    first = text(folder)
    for options in ({"batch_size": 3}, {"vocab_size": 6}, {"train_size": 2}, {"own_cache": "x"}):
        assert text(folder, **options) == first
    monkeypatch.setattr(
        cache, "CACHE_FORMAT", cache.CACHE_FORMAT + 1
    )  # nor how a version of the program caches it
    assert text(folder) == first


def test_tokenizer_counts_but_its_location_does_not(tmp_path: Path, word_pieces: str) -> None:
    folder, own = write_splits(tmp_path / "text"), tmp_path / "own.json"
    shutil.copy(word_pieces, own)
    first = text(folder, level="tokens", tokenizer=word_pieces)
    assert text(folder, level="tokens", tokenizer=str(own)) == first
    found = json.loads(own.read_text())
    found["model"]["vocab"]["ran"] = 4
    own.write_text(json.dumps(found))
    assert text(folder, level="tokens", tokenizer=str(own)) != first


def test_hub_folder_counts_with_selected_rows(tmp_path: Path) -> None:
    for name, word in {"a": "one", "b": "one", "c": "two"}.items():
        (tmp_path / name).mkdir()
        for split in ("train", "validation", "test"):
            table = pa.table({"text": [f"{word} two"] * 9, "other": ["x y"] * 9})
            pq.write_table(table, tmp_path / name / f"{split}.parquet")

    def hub(name: str, **options) -> str:
        return content(
            TextConfig(hub=str(tmp_path / name), cache=str(tmp_path / "cache"), **options)
        )

    assert hub("a") == hub("b") != hub("c")
    for options in ({"column": "other"}, {"train_size": 3}, {"train_size": 3, "split_seed": 1}):
        assert hub("a", **options) != hub("a")


# ---------------------------------------------------------------- images


@pytest.fixture
def mnist(tmp_path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (12, 6, 6)),
        "train-labels-idx1-ubyte": np.arange(12) % 10,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (5, 6, 6)),
        "t10k-labels-idx1-ubyte": np.arange(5),
    }


def images(folder: Path, arrays: dict[str, np.ndarray], ending: str = "", **options) -> str:
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        write_idx(folder / f"{name}{ending}", array)
    return content(MnistConfig(dir=str(folder), **options))


def test_image_identity_ignores_location_and_packing(tmp_path: Path, mnist: dict) -> None:
    first = images(tmp_path / "a", mnist)
    assert images(tmp_path / "b", mnist, ".gz") == first == images(tmp_path / "a", mnist, train=3)
    parts = {
        "train": list(mnist["train-images-idx3-ubyte"]),
        "test": list(mnist["t10k-images-idx3-ubyte"]),
    }
    assert content(MnistConfig(hub=str(write_hub(tmp_path / "hub", parts)), revision=None)) == first


def test_one_changed_pixel_or_label_changes_identity(tmp_path: Path, mnist: dict) -> None:
    found = {images(tmp_path / "a", mnist)}
    for name, array in mnist.items():
        changed = array.copy()
        changed.flat[0] ^= 1
        found.add(images(tmp_path / name, {**mnist, name: changed}))
    assert len(found) == 1 + len(mnist)


def test_omniglot_and_digits_have_content_digest(tmp_path: Path) -> None:
    rng, found = np.random.default_rng(0), []
    arrays = {
        f"{split}_images": rng.integers(0, 256, (12, 6, 6), np.uint8) for split in ("train", "test")
    }
    for name, save, pixel in (
        ("a", np.savez, 0),
        ("b", np.savez_compressed, 0),
        ("c", np.savez, 1),
    ):
        (tmp_path / name).mkdir()
        arrays["test_images"][0, 0, 0] = pixel
        save(tmp_path / name / f"{name}.npz", **arrays)
        found.append(content(OmniglotConfig(dir=str(tmp_path / name))))
    assert found[0] == found[1] != found[2]
    assert content(DigitsConfig()) == content(DigitsConfig(train=7, data_seed=1))


def test_array_digests_depend_on_dtype_and_shape() -> None:
    row = np.arange(6)
    different = [
        row,
        row.reshape(2, 3),
        row.astype(np.int32),
        row[::-1],
        np.array(["a"]),
        np.array(["b"]),
    ]
    assert len({array_digest(array) for array in different}) == len(different)
    assert array_digest(row, row) != array_digest(row) and array_digest(
        np.tile(row, 2)[::2]
    ) == array_digest(np.array([0, 2, 4, 0, 2, 4]))
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


# ---------------------------------------------------------------- dialogues and generated data


def dialogue(folder: Path) -> str:
    return content(DialogueConfig(dir=str(folder)))


def test_dialogue_identity_ignores_location_and_packing(tmp_path: Path) -> None:
    first = dialogue(write_dialogues(tmp_path / "a"))
    for path in write_dialogues(tmp_path / "b").iterdir():
        path.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        path.unlink()
    assert dialogue(tmp_path / "b") == first
    assert content(DialogueConfig(dir=str(tmp_path / "a"), turns=1, test_size=9)) == first


def test_changed_word_turn_or_label_changes_dialogue_identity(tmp_path: Path) -> None:
    usual = [turns("a b", "c d"), turns("a", "b")]
    others = [
        [turns("a b", "c e"), turns("a", "b")],
        [turns("a b", "c d", "a"), turns("b")],
        [turns("a bc", " d"), turns("a", "b")],
        [[{**turn, "act": "question"} for turn in one] for one in usual],
    ]
    rest = {"valid": usual, "test": usual}
    found = [
        dialogue(write_dialogues(tmp_path / str(n), train=train, **rest))
        for n, train in enumerate([usual, *others])
    ]
    assert len(set(found)) == 1 + len(others)


def test_generated_data_has_no_content_digest() -> None:
    sizes = {"train": 30, "valid": 9, "test": 9}
    for config in (GrammarConfig(**sizes), GaussianConfig(**sizes)):
        assert config.load().facts()["content"] is None


# ---------------------------------------------------------------- in a run


def test_content_digest_is_not_printed(tmp_path: Path) -> None:
    facts = (
        TextConfig(dir=str(write_splits(tmp_path / "text")), cache=str(tmp_path / "cache"))
        .load()
        .facts()
    )
    lines = [*profile.describe_splits(facts), *profile.list_text_warnings(facts, 128)]
    assert lines and not any(facts["content"] in line or "content" in line for line in lines)


def test_run_stores_content_digest(tmp_path: Path) -> None:
    folder = write_splits(
        tmp_path / "text", dict.fromkeys(SPLITS, "the cat sat\nthe dog ran\n" * 8)
    )
    options = [f"data.dir={folder}", f"data.cache={tmp_path / 'cache'}"]
    sizes = ["data.train=null", "data.valid=null", "data.test=null"]
    assert run_here(tmp_path, "plain", "data=text", *sizes, *options, "trainer.epochs=1") == "done"
    found = json.loads((folder_of(tmp_path, "plain") / "data.json").read_text())
    assert found["content"] == text(folder)


def test_location_keys_exist_in_data_config() -> None:
    configs = (
        TextConfig,
        DialogueConfig,
        MnistConfig,
        OmniglotConfig,
        DigitsConfig,
        GrammarConfig,
        GaussianConfig,
        ArraysConfig,
    )
    keys = {f"data.{field.name}" for make in configs for field in fields(make())}
    assert set(LOCATIONS) <= keys


def test_report_omits_content_digest() -> None:
    from uncollapse.report.checked import Values
    from uncollapse.report.runs import data_facts

    assert data_facts(Values({"vocab": 3, "content": "0123456789abcdef"}))["data"] == "vocab 3"
