"""Sentences from the user's own files or from the hub, tokenised once and cached by content.

Files are plain, .gz or .xz, one sentence a line in UTF-8; with `labels` a line is label TAB text.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uncollapse.checkpoint import sync
from uncollapse.data.blocks import Lines, find_part
from uncollapse.data.corpus import Corpus, sentences
from uncollapse.data.hub import at_most, hub_parts, prepare_command
from uncollapse.data.text import SPLITS, TextData, check_batching
from uncollapse.data.tokenise import Shape, tokenise
from uncollapse.errors import InputError, whole

FORMAT = 3  # part of the cache key: raise it when what is cached changes
MANIFEST = "manifest.json"
SHAPING = ("vocab_size", "min_count", "max_length")
CHOOSING = ("subset", "column", "label", "tokenise", "train_size", "valid_size", "test_size", "split_seed")


@dataclass
class TextConfig:
    """Text from three files, from a folder that holds train/valid/test.txt[.gz|.xz], or from a hub data set.

    Files are taken as they stand, and the options from `subset` to `tokenise` are about hub sets only. The sizes are how many rows of a
    hub set are drawn, by `split_seed`; of files, how many sentences at most, the vocabulary being that of the whole training part.
    """

    kind: ClassVar[str] = "text"
    name: str = "text"
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    dir: str | None = None
    labels: bool | None = False
    hub: str | None = None
    revision: str | None = None
    subset: str | None = None
    column: str = "text"
    label: str | None = None
    tokenise: bool = False
    train_size: int | None = None
    valid_size: int | None = None
    test_size: int | None = None
    split_seed: int = 0
    vocab_size: int | None = None
    min_count: int = 1
    max_length: int | None = None
    batch_size: int = 32
    batching: str = "mixed"
    cache: str = "~/.cache/uncollapse"

    def load(self) -> TextData:
        """Read, tokenise or take from the cache. InputError for anything that is missing, damaged or left empty."""
        self.check()
        files = self.files()
        labelled = self.labelled() if files else self.label is not None
        folder = Path(self.cache).expanduser() / cache_key(self, self.content(files), labelled)
        if not (folder / "meta.json").exists():
            with alone(folder):
                if folder.exists() and not (folder / "meta.json").exists():
                    raise InputError(
                        f"{folder}: this cache folder is damaged (no meta.json); remove it and give the same command again"
                    )
                if not (folder / "meta.json").exists():  # another process may have been first
                    self.prepare(folder, files, labelled)
        corpora, labels, meta = fetch(folder)
        if files:
            corpora, labels = self.cut(corpora, labels)
        name = self.label or "label"
        return TextData(
            corpora,
            tuple(meta["vocabulary"]),
            self.batch_size,
            self.batching,
            meta["skipped"],
            labels={split: {name: values} for split, values in labels.items()},
            classes={name: tuple(meta["classes"])} if labels else {},
        )

    def prepare(self, folder: Path, files: dict[str, Path], labelled: bool) -> None:
        """Fill a cache folder."""
        shape = Shape(self.vocab_size, self.min_count, self.max_length)
        if files:
            store(folder, {split: Lines(path, labelled) for split, path in files.items()}, shape)
            return
        with hub_parts(self) as parts:
            store(folder, parts, shape)

    def cut(
        self, corpora: dict[str, Corpus], labels: dict[str, np.ndarray]
    ) -> tuple[dict[str, Corpus], dict[str, np.ndarray]]:
        """At most the sizes asked for of each part, drawn by split_seed, in their old order."""
        corpora, labels = dict(corpora), dict(labels)
        for split, corpus in corpora.items():
            size = getattr(self, f"{split}_size")
            if size is None or size >= len(corpus):
                continue  # as it lies on disk
            kept = at_most(size, len(corpus), self.split_seed, split)
            corpora[split] = sentences(corpus, kept)
            if labels:
                labels[split] = labels[split][kept]
        return corpora, labels

    def check(self) -> None:
        """InputError for a value that makes no sense, before anything is read."""
        check_batching(self.batch_size, self.batching)
        whole("data.min_count", self.min_count, 1)
        whole("data.split_seed", self.split_seed, 0)
        for name in ("vocab_size", "max_length", *(f"{split}_size" for split in SPLITS)):
            if getattr(self, name) is not None:
                whole(f"data.{name}", getattr(self, name), 1)

    def files(self) -> dict[str, Path]:
        """The three files by split; empty when the hub is meant."""
        if self.dir is not None:
            return {split: find_split(Path(self.dir).expanduser(), split, self.name) for split in SPLITS}
        named = {split: getattr(self, split) for split in SPLITS}
        if self.hub is not None and not any(named.values()):
            return {}
        missing = [f"data.{split}=FILE" for split, path in named.items() if not path]
        if missing and self.name != "text":
            raise InputError(
                f"data={self.name} is no hub set: give data.dir=FOLDER with train.txt, valid.txt and test.txt; "
                f"{prepare_command(self.name)} makes them or says how to get them"
            )
        if missing:
            raise InputError(
                f"data=text needs a file for each split (or data.dir=FOLDER with all three); missing: {' '.join(missing)}"
            )
        return {split: existing(Path(path).expanduser(), f"data.{split}") for split, path in named.items() if path}

    def labelled(self) -> bool:
        """Whether lines are label TAB text; when left open (null), as prepare_data.py has noted in the folder."""
        if self.labels is not None or self.dir is None:
            return bool(self.labels)
        manifest = Path(self.dir).expanduser() / MANIFEST
        try:
            return bool(json.loads(manifest.read_text(encoding="utf-8"))["labels"]) if manifest.exists() else False
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{manifest}: cannot be read; say data.labels=true or data.labels=false ({error})"
            ) from error

    def content(self, files: dict[str, Path]) -> dict[str, Any]:
        """What the cache goes by: the files' digests; a hub set's name, revision and choice, or a local folder's files."""
        if files:
            return {split: file_digest(path) for split, path in files.items()}
        choice = {name: getattr(self, name) for name in CHOOSING}
        local = Path(str(self.hub)).expanduser()
        if local.is_dir():
            found = {
                str(path.relative_to(local)): file_digest(path) for path in sorted(local.rglob("*")) if path.is_file()
            }
            return {"files": found, **choice}
        if self.revision is None:
            raise InputError(f"data.revision=null: {self.hub} may change on the hub; give a revision (a tag or commit)")
        return {"hub": f"{self.hub}@{self.revision}", **choice}


def existing(path: Path, word: str) -> Path:
    if not path.is_file():
        raise InputError(f"{word}={path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    return path


def find_split(folder: Path, split: str, name: str) -> Path:
    """The text file of a split in a folder."""
    advice = "" if name == "text" else f"; {prepare_command(name, folder)} makes it or says how to get it"
    return find_part(folder, split, ".txt", advice)


def file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


# ---------------------------------------------------------------- the cache


def cache_key(cfg: TextConfig, content: dict[str, Any], labelled: bool) -> str:
    """A name that changes with the content and with whatever shapes the tokens, and with nothing else."""
    shaping = {key: value for key, value in asdict(cfg).items() if key in SHAPING}
    key = [FORMAT, content, {**shaping, "labels": labelled}]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a lock beside a cache folder: the jobs of a sweep wait for the first of them to tokenise."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f".{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise InputError(f"data.cache={folder.parent}: cannot write there ({error.strerror})") from error


def store(folder: Path, sources: dict, shape: Shape) -> None:
    """Write a cache folder under a temporary name and move it into place, so that a reader never sees half of one."""
    scratch = folder.with_name(f".new-{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed process has left; the lock is ours
    scratch.mkdir()
    try:
        meta = tokenise(sources, shape, scratch)
        (scratch / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        for file in scratch.iterdir():
            sync(file)
        os.rename(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def fetch(folder: Path) -> tuple[dict[str, Corpus], dict[str, np.ndarray], dict]:
    """The corpora of a cache folder and class numbers by split (none: empty), memory-mapped, and what was stored with them."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        corpora = {split: Corpus(mapped(folder, split, "tokens"), mapped(folder, split, "offsets")) for split in SPLITS}
        known = meta["classes"] is not None
        return corpora, {split: mapped(folder, split, "labels") for split in SPLITS} if known else {}, meta
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise InputError(
            f"{folder}: this cache folder is damaged ({error}); remove it and give the same command again"
        ) from error


def mapped(folder: Path, split: str, name: str) -> np.ndarray:
    return np.load(folder / f"{split}-{name}.npy", mmap_mode="r").view(np.ndarray)
