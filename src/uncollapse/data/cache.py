"""The token cache: folders that are complete or not there, checked byte by byte when they are read."""

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.data import SPLITS
from uncollapse.data.corpus import Corpus
from uncollapse.data.digests import file_digest, json_digest
from uncollapse.data.profile import Profile
from uncollapse.data.tokenise import Shape, tokenise
from uncollapse.disk import hold_lock, sync_to_disk
from uncollapse.errors import InputError

FORMAT = 5  # part of the key: raise it when what is cached changes
META = "meta.json"
ARRAYS = ("tokens", "offsets", "chars", "bytes")


def cache_key(source: Mapping[str, Any], shaping: Mapping[str, Any]) -> str:
    """A name that changes with the source and with what shapes the tokens, and with nothing else."""
    return json_digest([FORMAT, source, shaping])[:24]


def is_there(folder: Path) -> bool:
    """Whether there is something to read: a folder is moved into place with its description in it."""
    return os.path.lexists(folder / META)


def ensure(folder: Path, make: Callable[[], None]) -> None:
    """Call `make` unless the folder is there. InputError where something else stands in its place."""
    if is_there(folder):
        return
    with alone(folder):
        if is_there(folder):  # another process was first
            return
        if os.path.lexists(folder):
            raise damaged(folder, f"no {META}")
        make()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a lock beside a cache folder: the jobs of a sweep wait for the first to tokenise."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".{folder.name}.lock")
        lock.touch()
        with hold_lock(lock, "cache", wait=True):
            yield
    except OSError as error:
        raise InputError(
            f"data.cache={folder.parent}: cannot write there ({error.strerror})"
        ) from error


# ---------------------------------------------------------------- writing


def store(folder: Path, sources: dict, shape: Shape) -> None:
    """Write a cache folder under a temporary name, sync it and move it into place.

    A reader never sees half of one.
    """
    scratch = folder.with_name(f".new-{folder.name}")
    remove(scratch)  # what a killed process has left; the lock is ours
    scratch.mkdir()
    try:
        meta = {"format": FORMAT, **tokenise(sources, shape, scratch)}
        files = {path.name: described(path) for path in sorted(scratch.iterdir())}
        (scratch / META).write_bytes(encoded({**meta, "files": files}))
        for path in (*scratch.iterdir(), scratch):
            sync_to_disk(path)
        os.rename(scratch, folder)
        sync_to_disk(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a folder, or a file or link that stands in its place."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def described(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": file_digest(path)}


def encoded(meta: Mapping[str, Any]) -> bytes:
    """As JSON, with a digest of itself at the end."""
    return json.dumps({**meta, "sha256": json_digest(meta)}).encode()


# ---------------------------------------------------------------- reading


def fetch(folder: Path) -> tuple[dict[str, Corpus], dict[str, np.ndarray], dict]:
    """The corpora and class numbers by split (none: empty), memory-mapped, and what describes them.

    InputError unless every file is as it was written.
    """
    try:
        meta = read_meta(folder)
        labelled = meta["classes"] is not None
        for split in SPLITS:
            for name in (*ARRAYS, *(("labels",) if labelled else ())):
                check_file(folder, f"{split}-{name}.npy", meta["files"])
        corpora = {
            split: Corpus(*(mapped(folder, split, name) for name in ARRAYS)) for split in SPLITS
        }
        return (
            corpora,
            {split: mapped(folder, split, "labels") for split in SPLITS if labelled},
            meta,
        )
    except (OSError, ValueError, EOFError, RecursionError) as error:
        raise damaged(folder, error) from error


def damaged(folder: Path, why: object) -> InputError:
    return InputError(
        f"{folder}: this cache folder is damaged ({why}); remove it and give the same command again"
    )


def read_meta(folder: Path) -> dict[str, Any]:
    """What describes a cache folder. ValueError unless it is as `store` has written it."""
    check_plain(folder / META)
    content = (folder / META).read_bytes()
    try:
        meta = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{META} cannot be read ({error})") from error
    if not isinstance(meta, dict):
        raise ValueError(f"{META} holds no object")
    if meta.get("format") != FORMAT:
        raise ValueError(f"{META} is of format {meta.get('format')}, not {FORMAT}")
    meta.pop("sha256", None)
    if encoded(meta) != content:
        raise ValueError(f"{META} does not hold what was written")
    check_kinds(meta)
    return meta


def check_kinds(meta: Mapping[str, Any]) -> None:
    """ValueError for an entry that is missing or of the wrong kind: a digest can be right by design."""
    right = {
        "vocabulary": are_words(meta.get("vocabulary")),
        "classes": meta.get("classes", 0) is None or are_words(meta.get("classes")),
        "skipped": are_numbers(meta.get("skipped"), ("empty", "too_long")),
        "profiles": are_numbers(meta.get("profiles"), tuple(Profile.__annotations__)),
        "files": isinstance(meta.get("files"), dict),
    }
    for key, good in right.items():
        if not good:
            raise ValueError(f"{META}: {key} is missing or of the wrong kind")


def are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def are_numbers(value: Any, names: Sequence[str]) -> bool:
    """Whether each split has a number of each name."""
    parts = [value.get(split) for split in SPLITS] if isinstance(value, dict) else [None]
    return all(
        isinstance(part, dict) and all(type(part.get(name)) in (int, float) for name in names)
        for part in parts
    )


def check_file(folder: Path, name: str, known: Mapping[str, Any]) -> None:
    """ValueError unless a file has the size and the digest that are known of it."""
    check_plain(folder / name)
    if known.get(name) != described(folder / name):
        raise ValueError(f"{name} does not hold what was written")


def check_plain(path: Path) -> None:
    """ValueError for a link, which may lead anywhere, and for whatever else is no file."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path.name} is a link, a folder, or no file")


def mapped(folder: Path, split: str, name: str) -> np.ndarray:
    return np.load(folder / f"{split}-{name}.npy", mmap_mode="r").view(np.ndarray)
