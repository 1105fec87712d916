"""Sentences from the user's own files or from the hub, read through `datasets`, tokenised once and cached by content.

Files are plain, .gz or .xz, one sentence a line in UTF-8; with `labels` a line is label TAB text.
"""

import codecs
import gzip
import hashlib
import json
import lzma
import os
import shutil
import sys
import tempfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from uncollapse.data.corpus import Corpus
from uncollapse.data.text import SPLITS, TextData, build_vocabulary, check_batching, encode, keep, select, split_words
from uncollapse.errors import InputError, whole

FORMAT = 2  # part of the cache key: raise it when what is cached changes
BLOCK = 1 << 24
ALIASES = {"train": ("train",), "valid": ("valid", "validation", "dev"), "test": ("test",)}


@dataclass
class TextConfig:
    """Text from three files, from a folder that holds train/valid/test.txt[.gz|.xz], or from a hub data set."""

    kind: ClassVar[str] = "text"
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    dir: str | None = None
    hub: str | None = None
    revision: str | None = None
    column: str = "text"
    labels: bool = False
    vocab_size: int | None = None
    min_count: int = 1
    max_length: int | None = None
    batch_size: int = 32
    batching: str = "mixed"
    cache: str = "~/.cache/uncollapse"

    def load(self) -> TextData:
        """Read, tokenise or take from the cache. InputError for anything that is missing, damaged or left empty."""
        check_batching(self.batch_size, self.batching)
        whole("data.min_count", self.min_count, 1)
        for name in ("vocab_size", "max_length"):
            if getattr(self, name) is not None:
                whole(f"data.{name}", getattr(self, name), 1)
        files = self.files()
        folder = Path(self.cache).expanduser() / cache_key(self, self.content(files))
        if not (folder / "meta.json").exists():
            raw = read_files(files) if files else read_hub(self)
            store(folder, *self.tokenise(raw, files))
        corpora, meta = fetch(folder)
        return TextData(corpora, tuple(meta["vocabulary"]), self.batch_size, self.batching, meta["skipped"])

    def files(self) -> dict[str, Path]:
        """The three files by split; empty when the hub is meant."""
        if self.dir is not None:
            return {split: find_split(Path(self.dir).expanduser(), split) for split in SPLITS}
        named = {split: getattr(self, split) for split in SPLITS}
        if self.hub is not None and not any(named.values()):
            return {}
        missing = [f"data.{split}=FILE" for split, path in named.items() if not path]
        if missing:
            raise InputError(f"data=text needs a file for each split; missing: {' '.join(missing)}")
        return {split: existing(Path(path).expanduser(), f"data.{split}") for split, path in named.items() if path}

    def content(self, files: dict[str, Path]) -> dict[str, str]:
        """What the cache goes by: the files' digests; a hub set's name and revision, or the files of a local folder in its place."""
        if files:
            return {split: file_digest(path) for split, path in files.items()}
        local = Path(str(self.hub))
        if local.is_dir():
            return {
                str(path.relative_to(local)): file_digest(path) for path in sorted(local.rglob("*")) if path.is_file()
            }
        if self.revision is None:
            raise InputError(f"data.revision=null: {self.hub} may change on the hub; give a revision (a tag or commit)")
        return {"hub": f"{self.hub}@{self.revision}"}

    def tokenise(self, raw: dict, files: dict[str, Path]) -> tuple[dict[str, Corpus], dict]:
        """Raw Arrow columns by split -> corpora, and the vocabulary and counts of what was skipped."""
        if self.labels:
            raw = {split: drop_labels(texts, files.get(split, Path(split))) for split, texts in raw.items()}
        words = {split: split_words(texts) for split, texts in raw.items()}
        vocabulary = build_vocabulary(words["train"][0], self.vocab_size, self.min_count)
        corpora, skipped = {}, {}
        for split, (flat, offsets) in words.items():
            kept, skipped[split] = keep(offsets, self.max_length)
            if not kept.any():
                where = files.get(split, split)
                raise InputError(
                    f"{where}: no sentence is left in the {split} part ({len(kept)} lines, skipped: {skipped[split]})"
                )
            corpora[split] = select(encode(flat, vocabulary), offsets, kept)
        return corpora, {"vocabulary": vocabulary, "skipped": skipped}


def existing(path: Path, word: str) -> Path:
    if not path.is_file():
        raise InputError(f"{word}={path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    return path


def find_split(folder: Path, split: str) -> Path:
    """The file of a split in a folder, under any of its customary names."""
    if not folder.is_dir():
        raise InputError(f"data.dir={folder}: no such folder")
    names = [f"{alias}.txt{ending}" for alias in ALIASES[split] for ending in ("", ".gz", ".xz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"data.dir={folder}: no file for the {split} part; looked for {', '.join(names)}")


def file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def cache_key(cfg: TextConfig, content: dict[str, str]) -> str:
    """A name that changes with the content and with whatever shapes the tokens, and with nothing else."""
    shaping = {
        k: v for k, v in asdict(cfg).items() if k in ("column", "labels", "vocab_size", "min_count", "max_length")
    }
    return hashlib.sha256(json.dumps([FORMAT, content, shaping], sort_keys=True).encode()).hexdigest()[:24]


def check_file(path: Path) -> None:
    """InputError that names file and line when a file is empty, damaged, binary or not UTF-8."""
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    decoder, lines, size = codecs.getincrementaldecoder("utf-8")(), 0, 0
    try:
        with opener(path, "rb") as file:  # type: ignore[operator]
            while block := file.read(BLOCK):
                if b"\0" in block:
                    line = lines + block[: block.index(b"\0")].count(b"\n") + 1
                    raise InputError(f"{path}, line {line}: binary data (a zero byte), not text")
                decode(decoder, block, path, lines)
                lines, size = lines + block.count(b"\n"), size + len(block.strip())
            decode(decoder, b"", path, lines, final=True)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{path}: damaged or truncated {path.suffix} file after line {lines} ({error})") from error
    if size == 0:
        raise InputError(f"{path}: the file is empty")


def decode(decoder: codecs.IncrementalDecoder, block: bytes, path: Path, lines: int, final: bool = False) -> None:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError as error:
        # error.object may begin with bytes held back from the block before, none of which is a line end
        line = lines + error.object[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{error.object[error.start]:02x}); convert the file first"
        ) from error


def read_files(files: dict[str, Path]) -> dict:
    """Arrow columns of lines by split."""
    for path in files.values():
        check_file(path)
    with tempfile.TemporaryDirectory(prefix="uncollapse-") as scratch:
        # `datasets` takes * ? [ and :: in a path for patterns, so it gets links with plain names
        links = {split: Path(scratch) / f"{split}{path.suffix}" for split, path in files.items()}
        for split, link in links.items():
            link.symlink_to(files[split].resolve())
        return load_columns(
            "text", "text", encoding="utf-8-sig", data_files={split: str(link) for split, link in links.items()}
        )


def read_hub(cfg: TextConfig) -> dict:
    """Arrow columns by split from the hub, at a fixed revision."""
    assert cfg.hub is not None
    try:
        return load_columns(cfg.hub, cfg.column, revision=cfg.revision)
    except InputError:
        raise
    except (
        Exception
    ) as error:  # no connection, no such data set, damaged files, script data sets, odd columns: each has its own type
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"data.hub={cfg.hub}: could not be loaded from the hub ({first}); "
            "if you have the files, give data.dir=FOLDER with train.txt, valid.txt and test.txt"
        ) from error


def load_columns(source: str, column: str, **options) -> dict:
    """One text column per split through `datasets`, copied out of its temporary cache."""
    import datasets
    import pyarrow as pa

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(prefix="uncollapse-") as scratch:
        loaded = datasets.load_dataset(source, cache_dir=scratch, **options)
        found = {split: next((a for a in ALIASES[split] if a in loaded), None) for split in SPLITS}
        if lacking := [split for split, name in found.items() if name is None]:
            raise InputError(f"{source}: no {', '.join(lacking)} part; it has {', '.join(map(str, loaded))}")
        if column not in loaded[found["train"]].column_names:
            raise InputError(f"data.column={column}: {source} has {', '.join(loaded[found['train']].column_names)}")
        tables = {split: loaded[name].data.table.column(column) for split, name in found.items()}
        return {
            split: pa.chunked_array([pa.concat_arrays(c.cast(pa.large_string()).chunks)]) for split, c in tables.items()
        }


def drop_labels(lines, path: Path):
    """label TAB text -> text. InputError names the first line without a TAB."""
    import pyarrow.compute as pc

    lines = lines.combine_chunks()
    tab = pc.find_substring(lines, "\t").to_numpy(zero_copy_only=False)
    if (tab < 0).any():
        raise InputError(
            f"{path}, line {int(np.argmax(tab < 0)) + 1}: no TAB between label and text (data.labels=true)"
        )
    return pc.replace_substring_regex(lines, pattern=r"^[^\t]*\t", replacement="")


def store(folder: Path, corpora: dict[str, Corpus], meta: dict) -> None:
    """Write a cache folder under a temporary name and move it into place, so that a reader never sees half of one."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    except OSError as error:
        raise InputError(f"data.cache={folder.parent}: cannot write there ({error.strerror})") from error
    try:
        for split, corpus in corpora.items():
            np.save(scratch / f"{split}-tokens.npy", corpus.tokens)
            np.save(scratch / f"{split}-offsets.npy", corpus.offsets)
        (scratch / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        try:
            os.rename(scratch, folder)
        except OSError:
            if not (folder / "meta.json").exists():  # another process may have been first with the same content
                raise
    except OSError as error:
        raise InputError(f"data.cache={folder.parent}: cannot write there ({error.strerror})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def fetch(folder: Path) -> tuple[dict[str, Corpus], dict]:
    """The corpora of a cache folder, memory-mapped, and what was stored with them."""
    corpora = {}
    try:
        for split in SPLITS:
            tokens, offsets = (np.load(folder / f"{split}-{part}.npy", mmap_mode="r") for part in ("tokens", "offsets"))
            corpora[split] = Corpus(tokens, offsets)
        return corpora, json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{folder}: this cache folder is damaged ({error}); remove it and give the same command again"
        ) from error
