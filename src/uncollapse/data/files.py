"""Sentences from the user's own files or from the hub, tokenised once and cached by content.

Files are plain or compressed: one sentence a line in UTF-8 (with `labels` a line is label TAB text), or tables, of which `column` is read.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uncollapse.data.blocks import Lines, Rows, Source, find_part
from uncollapse.data.cache import cache_key, ensure, fetch, is_there, store
from uncollapse.data.corpus import Corpus, sentences
from uncollapse.data.digests import file_digest, fingerprint, hub_source
from uncollapse.data.formats import ENDINGS, FORMATS, recognise
from uncollapse.data.hub import at_most, hub_parts, prepare_command, rows_of
from uncollapse.data.levels import Words, level_of
from uncollapse.data.profile import check_known
from uncollapse.data.text import SPLITS, TextData, check_batching
from uncollapse.data.tokenise import Shape
from uncollapse.errors import InputError, check_choice, check_integer, expand_home
from uncollapse.interfaces.data import DataConfig

MANIFEST = "manifest.json"
CACHE = "~/.cache/uncollapse"
SHAPING = ("vocab_size", "min_count", "max_length", "level")
CHOOSING = (
    "subset",
    "column",
    "label",
    "tokenise",
    "train_size",
    "valid_size",
    "test_size",
    "split_seed",
)


@dataclass
class TextConfig(DataConfig):
    """Text from three files, from a folder that holds one for each of train, valid and test, or from a hub data set.

    Files are taken as they stand: `subset` and `tokenise` are about hub sets only. `column` and `label_column` are those of hub sets
    (there `label` names the label's, too, where label_column is null) and of files that are tables. The sizes are how many rows of a
    hub set are drawn, by `split_seed`; of files, how many sentences at most, the vocabulary being that of the whole training part.
    """

    kind: ClassVar[str] = "text"
    name: str = "text"
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    dir: str | None = None
    format: str = "auto"
    labels: bool | None = None
    hub: str | None = None
    revision: str | None = None
    subset: str | None = None
    column: str = "text"
    label_column: str | None = None
    label: str | None = None
    tokenise: bool = False
    level: str = "word"
    tokenizer: str | None = None
    train_size: int | None = None
    valid_size: int | None = None
    test_size: int | None = None
    split_seed: int = 0
    vocab_size: int | None = None
    min_count: int = 1
    max_length: int | None = None
    batch_size: int = 32
    batching: str = "mixed"
    cache: str = CACHE
    own_cache: str | None = None  # where new files go when `cache` is somebody else's and only read

    def load(self) -> TextData:
        """Read, tokenise or take from the cache. InputError for anything that is missing, damaged or left empty."""
        self.check()
        level = level_of(self.level, self.tokenizer)
        level.check(self.vocab_size, self.min_count)
        files = self.files()
        formats = {
            split: recognise(path, self.format, self.column) for split, path in files.items()
        }
        labelled = self.labelled(formats) if files else self.hub_label is not None
        source = self.source(files, formats, labelled)
        folder = self.folder(cache_key(source, {name: getattr(self, name) for name in SHAPING}))
        ensure(folder, lambda: self.prepare(folder, files, formats, labelled, level))
        corpora, labels, meta = fetch(folder)
        profiles = meta["profiles"]
        if files:
            whole_parts, (corpora, labels) = corpora, self.cut(corpora, labels)
            profiles = {
                split: found
                for split, found in profiles.items()
                if corpora[split] is whole_parts[split]
            }
        name = self.label or self.label_column or "label"
        data = TextData(
            corpora,
            tuple(meta["vocabulary"]),
            self.batch_size,
            self.batching,
            meta["skipped"],
            labels={split: {name: values} for split, values in labels.items()},
            classes={name: tuple(meta["classes"])} if labels else {},
            level=level,
            profiles=profiles,
            content=fingerprint(source),
        )
        check_known(data.facts())
        return data

    def folder(self, key: str) -> Path:
        """Of the cache: in `own_cache` unless the other one has it."""
        folder = expand_home(self.cache) / key
        if self.own_cache is not None and not is_there(folder):
            return expand_home(self.own_cache) / key
        return folder

    def prepare(
        self,
        folder: Path,
        files: dict[str, Path],
        formats: Mapping[str, str],
        labelled: bool | None,
        level: Words,
    ) -> None:
        """Fill a cache folder."""
        shape = Shape(self.vocab_size, self.min_count, self.max_length, level)
        with self.file_parts(files, formats, labelled) if files else hub_parts(self) as parts:
            store(folder, parts, shape)

    @contextmanager
    def file_parts(
        self, files: dict[str, Path], formats: Mapping[str, str], labelled: bool | None
    ) -> Iterator[dict[str, Source]]:
        """The parts by split, tables in a folder that lasts as long."""
        label = self.file_label if labelled else None
        with tempfile.TemporaryDirectory(prefix="uncollapse-") as scratch:
            yield {
                split: Lines(path, labelled)
                if formats[split] == "text"
                else self.rows(path, formats[split], label, Path(scratch))
                for split, path in files.items()
            }

    def rows(self, path: Path, format: str, label: str | None, scratch: Path) -> Rows:
        """A file that is a table."""
        from uncollapse.data.tables import table

        columns, own = self.columns, Path(tempfile.mkdtemp(dir=scratch))
        return rows_of(
            str(path), table(path, format, columns, label, own), columns, label, "data.label_column"
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Those that make the text."""
        return tuple(self.column.split("+"))

    @property
    def file_label(self) -> str:
        """The label column of a file."""
        return self.label_column or self.label or "label"

    @property
    def hub_label(self) -> str | None:
        """The label column of a hub set."""
        return self.label_column or self.label

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
        check_choice("data.format", self.format, FORMATS)
        if self.labels is False and self.label_column is not None:
            raise InputError(
                f"data.labels=false data.label_column={self.label_column}: one says that there are no labels"
            )
        check_integer("data.min_count", self.min_count, 1)
        check_integer("data.split_seed", self.split_seed, 0)
        for name in ("vocab_size", "max_length", *(f"{split}_size" for split in SPLITS)):
            if getattr(self, name) is not None:
                check_integer(f"data.{name}", getattr(self, name), 1)

    def files(self) -> dict[str, Path]:
        """The three files by split; empty when the hub is meant."""
        if self.dir is not None:
            return {split: self.find_split(expand_home(self.dir), split) for split in SPLITS}
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
        return {
            split: existing(expand_home(path), f"data.{split}")
            for split, path in named.items()
            if path
        }

    def find_split(self, folder: Path, split: str) -> Path:
        """The file of a split: called as the format's are, or else (the format overrules the name) as those of any."""
        advice = (
            ""
            if self.name == "text"
            else f"; {prepare_command(self.name, folder)} makes it or says how to get it"
        )
        every = [ending for own in ENDINGS.values() for ending in own]
        return find_part(folder, split, ENDINGS.get(self.format, every), advice, every)

    def labelled(self, formats: Mapping[str, str]) -> bool | None:
        """Whether lines are label TAB text, and rows have a label; when left open (null), as prepare_data.py has noted in the folder.

        None: that is open, and lines that look labelled are refused.
        """
        plain = {*formats.values()} == {"text"}
        if plain and self.label_column is not None:
            raise InputError(
                f"data.label_column={self.label_column}: plain text has no columns; data.labels=true reads lines of label TAB text"
            )
        if plain and self.name == "text" and self.column != "text":
            raise InputError(
                f"data.column={self.column}: plain text has no columns; data.format=csv, tsv or json reads a table or JSON Lines"
            )
        if self.label_column is not None:
            return True
        if self.labels is not None or self.dir is None:
            return self.labels
        manifest = expand_home(self.dir) / MANIFEST
        try:
            if not manifest.exists():
                return None
            says = json.loads(manifest.read_text(encoding="utf-8"))["labels"]
            if not isinstance(says, bool):
                raise TypeError("its `labels` is neither true nor false")
            return says
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{manifest}: cannot be read; say data.labels=true or data.labels=false ({error})"
            ) from error

    def choice(self) -> dict[str, Any]:
        """Which rows and columns of a hub set are taken, and how."""
        return {**{name: getattr(self, name) for name in CHOOSING}, "label": self.hub_label}

    def source(
        self, files: dict[str, Path], formats: Mapping[str, str], labelled: bool | None
    ) -> dict[str, Any]:
        """What the data are made of, wherever it lies: the cache goes by it."""
        content, tokenizer = self.content(files, formats), self.tokenizer
        digest = None if tokenizer is None else file_digest(expand_home(tokenizer))
        return {"content": content, "labels": labelled, "tokenizer": digest}

    def content(self, files: dict[str, Path], formats: Mapping[str, str]) -> dict[str, Any]:
        """Digests and formats of files, and columns of tables; what identifies a hub set, and the choice."""
        if not files:
            return {**hub_source(str(self.hub), self.revision), **self.choice()}
        found: dict[str, Any] = {
            split: [file_digest(path), formats[split]] for split, path in files.items()
        }
        plain = {*formats.values()} == {"text"}
        return found if plain else {**found, "columns": [*self.columns, self.file_label]}


def existing(path: Path, word: str) -> Path:
    if not path.is_file():
        raise InputError(
            f"{word}={path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}"
        )
    return path
