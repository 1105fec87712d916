"""The token cache: any damaged file is refused in one sentence and never trained on."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, type_command
from schemas import TextConfig
from test_files import (
    block_hub,
    decode_split,
    get_refusal,
    labelled,
    list_cache_entries,
    read,
    write_splits,
)

from uncollapse.data import SPLITS, cache
from uncollapse.errors import InputError

assert block_hub  # no test here may reach for the network or for the user's own cache

FILES = [f"{split}-{name}.npy" for split in SPLITS for name in (*cache.ARRAYS, "labels")]
ADVICE = "; remove it and give the same command again"


@pytest.fixture(scope="module")
def clean_cache(tmp_path_factory) -> Path:
    """The cache folder of a labelled text."""
    folder = tmp_path_factory.mktemp("made")
    data = read(labelled(folder / "text"), labels=True)
    assert data.labels
    (entry,) = list_cache_entries(folder / "cache")
    assert sorted(path.name for path in entry.iterdir()) == sorted([*FILES, cache.META])
    return entry


@pytest.fixture
def entry(clean_cache: Path, tmp_path: Path) -> Path:
    """A copy of `clean_cache` that a test may damage."""
    return shutil.copytree(clean_cache, tmp_path / "cache" / clean_cache.name)


def refusal(entry: Path) -> str:
    with pytest.raises(InputError) as caught:
        cache.read_cache(entry)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    assert message.startswith(f"{entry}: this cache folder is damaged (") and message.endswith(
        ADVICE
    )
    return message


# ---------------------------------------------------------------- damage


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def lengthened(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def half_zeroed(path: Path) -> None:
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + b"\0" * (len(content) - half))
    if path.read_bytes() == content:  # this half consisted of zeros already
        path.write_bytes(content[:half] + b"\1" * (len(content) - half))


def truncated_and_padded(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"\7\7")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def removed(path: Path) -> None:
    path.unlink()


def replaced_with_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replaced_with_outside_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def replaced_with_inside_link(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def replaced_with_dead_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nothing")


def replaced_with_self_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def replaced_with_pipe(path: Path) -> None:  # reading it would wait for ever
    path.unlink()
    os.mkfifo(path)


DAMAGE = [
    *(
        truncated,
        emptied,
        lengthened,
        half_zeroed,
        truncated_and_padded,
        flipped,
        removed,
        replaced_with_folder,
    ),
    *(
        replaced_with_outside_link,
        replaced_with_inside_link,
        replaced_with_dead_link,
        replaced_with_self_link,
        replaced_with_pipe,
    ),
]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [FILES[0], FILES[-1], cache.META])
def test_every_damage_is_refused_and_names_file(
    entry: Path, name: str, damage: Callable[[Path], None]
) -> None:
    cache.read_cache(entry)
    damage(entry / name)
    assert name in refusal(entry)


def test_flipped_bits_and_swapped_files_are_detected(entry: Path) -> None:
    contents = {name: (entry / name).read_bytes() for name in FILES}
    other = contents[FILES[0]]
    for name, content in contents.items():
        spoilt = []
        for bit in np.random.default_rng(0).choice(8 * len(content), 10, replace=False).tolist():
            spoilt.append(bytearray(content))
            spoilt[-1][bit // 8] ^= 1 << bit % 8
        for found in [*spoilt, *([other] if content != other else [])]:
            (entry / name).write_bytes(found)
            assert f"({name} differs from what was written)" in refusal(entry)
        (entry / name).write_bytes(content)
    cache.read_cache(entry)


def test_changed_byte_of_description_is_detected(entry: Path) -> None:
    content, rng = (entry / cache.META).read_bytes(), np.random.default_rng(0)
    for place in range(0, len(content), 11):
        found = bytearray(content)
        found[place] ^= 1 << int(rng.integers(8))
        (entry / cache.META).write_bytes(found)
        refusal(entry)


@pytest.mark.parametrize("name", [*FILES, cache.META])
def test_unreadable_file_is_named(entry: Path, name: str, monkeypatch) -> None:
    usual = Path.open

    def denied(path, *args, **options):
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path, *args, **options)

    monkeypatch.setattr(Path, "open", denied)
    message = refusal(entry)
    assert name in message and "Permission denied" in message


# ---------------------------------------------------------------- descriptions


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b'"text"',
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b"1" * 5000,
        b"{} {}",
    ],
)
def test_invalid_description_is_refused(entry: Path, content: bytes) -> None:
    (entry / cache.META).write_bytes(content)
    refusal(entry)


@pytest.mark.parametrize("depth", [500, 990, 1_000, 3_000, 50_000])
def test_deep_description_is_refused(entry: Path, depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    (entry / cache.META).write_bytes(b'{"format": %d, "deep": %s}' % (cache.CACHE_FORMAT, deep))
    refusal(entry)


@pytest.mark.parametrize("format", [cache.CACHE_FORMAT + 1, cache.CACHE_FORMAT - 1, None, "x", [1]])
def test_unknown_cache_format_is_named(entry: Path, format: object) -> None:
    meta = {**json.loads((entry / cache.META).read_bytes()), "format": format}
    (entry / cache.META).write_bytes(json.dumps(meta).encode())
    assert f"meta.json is of format {format}, not {cache.CACHE_FORMAT}" in refusal(entry)


ODD = [None, 5, "ab", [], {}, [[1]], {"train": 5}, True]
KINDS = ("vocabulary", "classes", "skipped", "profiles", "files")
RIGHT = [("vocabulary", []), ("classes", None), ("classes", [])]


@pytest.mark.parametrize(
    ("key", "odd"), [(key, odd) for key in KINDS for odd in ODD if (key, odd) not in RIGHT]
)
def test_wrongly_typed_entries_with_valid_digest_are_refused(
    entry: Path, key: str, odd: object
) -> None:
    meta = cache.read_meta(entry)
    (entry / cache.META).write_bytes(cache.encode_meta({**meta, key: odd}))
    named = FILES[0] if key == "files" and isinstance(odd, dict) else f"meta.json: {key} is missing"
    assert named in refusal(entry)


@pytest.mark.parametrize("value", ["0.1", None, [], True])
@pytest.mark.parametrize(("key", "name"), [("profiles", "unknown"), ("skipped", "empty")])
def test_non_numeric_array_with_valid_digest_is_refused(
    entry: Path, key: str, name: str, value: object
) -> None:
    meta = cache.read_meta(entry)
    meta[key]["valid"][name] = value
    (entry / cache.META).write_bytes(cache.encode_meta(meta))
    assert f"meta.json: {key} is missing or of the wrong kind" in refusal(entry)


# ---------------------------------------------------------------- as users see it


@pytest.mark.parametrize("damage", [half_zeroed, replaced_with_outside_link, removed])
def test_foreign_cache_is_checked(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = write_splits(tmp_path / "text")
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    config = TextConfig(dir=str(folder), cache=str(theirs), own_cache=str(own))
    config.load()
    (entry,) = list_cache_entries(own)
    kept = shutil.copytree(entry, tmp_path / "kept")

    def is_refused(path: Path) -> None:
        damage(path / FILES[0])
        with pytest.raises(
            InputError, match=f"^{path}: this cache folder is damaged .*{FILES[0]}.*{ADVICE}$"
        ):
            config.load()

    is_refused(entry)
    shutil.rmtree(entry)
    is_refused(shutil.copytree(kept, theirs / entry.name))
    assert not (own / entry.name).exists()


def test_folder_in_place_of_description_is_refused(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "text")
    read(folder)
    (entry,) = list_cache_entries(tmp_path / "cache")
    replaced_with_folder(entry / cache.META)
    assert get_refusal(folder).startswith(
        f"{entry}: this cache folder is damaged (meta.json is a link, a folder"
    )


def test_training_on_damaged_cache_gives_one_sentence(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "text", dict.fromkeys(SPLITS, "the cat sat\n" * 20))
    sizes = [word for word in SMALL if not word.startswith("data.")]
    words = [
        "data=text",
        f"data.dir={folder}",
        f"data.cache={tmp_path / 'cache'}",
        f"results={tmp_path}",
        *sizes,
    ]
    read(folder)
    (entry,) = list_cache_entries(tmp_path / "cache")
    half_zeroed(entry / "train-tokens.npy")
    done = type_command("head=plain", *words)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert (
        f"{entry}: this cache folder is damaged (train-tokens.npy differs from what was written"
        in done.stderr
    )
    shutil.rmtree(entry)
    assert decode_split(read(folder), "train")[0] == "the cat sat"  # the advice helps


# ---------------------------------------------------------------- writing


def test_files_are_synced_before_rename_and_folder_after(tmp_path: Path, monkeypatch) -> None:
    log, rename, sync = [], os.rename, cache.sync_to_disk
    monkeypatch.setattr(cache, "sync_to_disk", lambda path: log.append(path.name) or sync(path))
    monkeypatch.setattr(os, "rename", lambda *paths: log.append("moved") or rename(*paths))
    read(labelled(tmp_path / "text"), labels=True)
    (entry,) = list_cache_entries(tmp_path / "cache")
    before, after = log[: log.index("moved")], log[log.index("moved") + 1 :]
    assert (
        sorted(before[:-1]) == sorted([*FILES, cache.META]) and before[-1] == f".new-{entry.name}"
    )
    assert after == ["cache"]


@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_leftover_temporary_name_does_not_block_writing(tmp_path: Path, kind: str) -> None:
    folder, precious = write_splits(tmp_path / "text"), tmp_path / "precious"
    read(folder)
    (entry,) = list_cache_entries(tmp_path / "cache")
    shutil.rmtree(entry)
    precious.mkdir()
    (precious / "file").write_text("precious")
    scratch = entry.with_name(f".new-{entry.name}")
    {"folder": scratch.mkdir, "link": lambda: scratch.symlink_to(precious), "file": scratch.touch}[
        kind
    ]()
    assert decode_split(read(folder), "train")[0] == "the cat sat"
    assert list_cache_entries(tmp_path / "cache") == [entry]
    assert [path.read_text() for path in precious.iterdir()] == ["precious"]


def test_unreadable_cache_folder_gives_one_sentence(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300)  # no file system has such names
    with pytest.raises(InputError, match=f"^data.cache={long}: cannot write there "):
        TextConfig(dir=str(write_splits(tmp_path / "text")), cache=str(long)).load()
