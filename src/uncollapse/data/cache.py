"""The token cache: folders that are complete or absent, and verified when they are read."""

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from uncollapse.data import SPLITS
from uncollapse.data.blocks import Source
from uncollapse.data.corpus import Corpus
from uncollapse.data.digests import file_digest, json_digest
from uncollapse.data.profile import Profile
from uncollapse.data.survey import Shape
from uncollapse.data.tokenise import tokenise
from uncollapse.disk import hold_lock, sync_to_disk
from uncollapse.errors import InputError
from uncollapse.json_types import Json, JsonMapping, JsonObject

CACHE_FORMAT = 5  # in the key of a folder; increase it when the cached files change
META = "meta.json"
ARRAYS = ("tokens", "offsets", "chars", "bytes")


def cache_key(source: JsonMapping, shaping: JsonMapping) -> str:
    """The name of a folder, determined by the source and by the options that shape the tokens."""
    # 24 hex digits are 96 bits: no two keys collide in practice, and paths stay short
    return json_digest([CACHE_FORMAT, source, shaping])[:24]


def is_cached(folder: Path) -> bool:
    """Whether the folder exists. It is moved into place when its description is in it."""
    # lexists, so that a dangling link is not taken for a free name
    return os.path.lexists(folder / META)


def ensure_cache(folder: Path, make: Callable[[], None]) -> None:
    """Call `make` unless the folder exists. InputError where something else has its name."""
    if is_cached(folder):
        return
    with lock_folder(folder):
        if is_cached(folder):  # another process has made it in the meantime
            return
        if os.path.lexists(folder):
            raise damage_error(folder, f"no {META}")
        make()


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a lock beside a cache folder: the jobs of a sweep wait for the first to tokenise."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # the lock is beside the folder, since the folder itself appears only when complete
        lock = folder.with_name(f".{folder.name}.lock")
        lock.touch()
        with hold_lock(lock, "cache", wait=True):
            yield
    except OSError as error:
        raise InputError(
            f"data.cache={folder.parent}: cannot write there ({error.strerror})"
        ) from error


# ---------------------------------------------------------------- writing


def write_cache(folder: Path, sources: Mapping[str, Source], shape: Shape) -> None:
    """Write a cache folder under a temporary name, sync it and move it into place.

    A reader never sees an incomplete one.
    """
    scratch = folder.with_name(f".new-{folder.name}")
    remove_path(scratch)  # left by a killed process; we hold the lock
    scratch.mkdir()
    try:
        meta = {"format": CACHE_FORMAT, **tokenise(sources, shape, scratch)}
        files = {path.name: describe_file(path) for path in sorted(scratch.iterdir())}
        (scratch / META).write_bytes(encode_meta({**meta, "files": files}))
        # files first, then the folder, so that a crash cannot leave names without content
        for path in (*scratch.iterdir(), scratch):
            sync_to_disk(path)
        os.rename(scratch, folder)
        # the rename itself is durable only once the parent folder is synced
        sync_to_disk(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_path(path: Path) -> None:
    """Remove a folder, or a file or link of that name."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def describe_file(path: Path) -> JsonObject:
    """Size and digest of a file."""
    return {"size": path.stat().st_size, "sha256": file_digest(path)}


def encode_meta(meta: JsonMapping) -> bytes:
    """The description as JSON, with a digest of itself at the end."""
    return json.dumps({**meta, "sha256": json_digest(meta)}).encode()


# ---------------------------------------------------------------- reading


def read_cache(folder: Path) -> tuple[dict[str, Corpus], dict[str, np.ndarray], JsonObject]:
    """Corpora and class numbers by split (empty without classes), and their description.

    Arrays are mapped into memory. InputError unless every file is as it was written.
    """
    try:
        meta = read_meta(folder)
        # a folder without classes has no label files, so none is expected
        labelled = meta["classes"] is not None
        for split in SPLITS:
            for name in (*ARRAYS, *(("labels",) if labelled else ())):
                check_file(folder, f"{split}-{name}.npy", meta["files"])
        corpora = {
            split: Corpus(*(map_array(folder, split, name) for name in ARRAYS)) for split in SPLITS
        }
        return (
            corpora,
            {split: map_array(folder, split, "labels") for split in SPLITS if labelled},
            meta,
        )
    except (OSError, ValueError, EOFError, RecursionError) as error:
        raise damage_error(folder, error) from error


def damage_error(folder: Path, why: object) -> InputError:
    """The error for a damaged folder."""
    return InputError(
        f"{folder}: this cache folder is damaged ({why}); remove it and give the same command again"
    )


def read_meta(folder: Path) -> JsonObject:
    """The description of a cache folder. ValueError unless `write_cache` has written it."""
    check_regular_file(folder / META)
    content = (folder / META).read_bytes()
    try:
        meta = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{META} cannot be read ({error})") from error
    if not isinstance(meta, dict):
        raise ValueError(f"{META} holds no object")
    if meta.get("format") != CACHE_FORMAT:
        raise ValueError(f"{META} is of format {meta.get('format')}, not {CACHE_FORMAT}")
    # the digest is of everything else, so remove it before encoding again
    meta.pop("sha256", None)
    if encode_meta(meta) != content:
        raise ValueError(f"{META} differs from what was written")
    check_kinds(meta)
    return meta


def check_kinds(meta: JsonMapping) -> None:
    """ValueError for a missing or malformed entry: a matching digest does not rule one out."""
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


def are_words(value: Json) -> bool:
    """Whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def are_numbers(value: Json, names: Sequence[str]) -> bool:
    """Whether each split has a number of each name."""
    # a split that is missing gives None, which the test below refuses
    parts = [value.get(split) for split in SPLITS] if isinstance(value, dict) else [None]
    return all(
        # type() instead of isinstance(), because a boolean is an int
        isinstance(part, dict) and all(type(part.get(name)) in (int, float) for name in names)
        for part in parts
    )


def check_file(folder: Path, name: str, described: JsonMapping) -> None:
    """ValueError unless a file has the size and the digest of its description."""
    check_regular_file(folder / name)
    if described.get(name) != describe_file(folder / name):
        raise ValueError(f"{name} differs from what was written")


def check_regular_file(path: Path) -> None:
    """ValueError for all but a regular file; a link may lead anywhere."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path.name} is a link, a folder, or not a regular file")


def map_array(folder: Path, split: str, name: str) -> np.ndarray:
    """An array of a split, mapped into memory."""
    # the view drops the subclass memmap, which slows down indexing
    return np.load(folder / f"{split}-{name}.npy", mmap_mode="r").view(np.ndarray)
