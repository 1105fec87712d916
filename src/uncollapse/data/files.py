"""Text from the user's files or from the hub, tokenised once and cached by content.

Files are plain or compressed. They hold one sentence a line in UTF-8 (with `labels`, lines of
label TAB text), or are tables, of which `column` is read.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uncollapse.data.blocks import Source
from uncollapse.data.cache import cache_key, ensure_cache, is_cached, read_cache, write_cache
from uncollapse.data.corpus import Corpus, take_sentences
from uncollapse.data.digests import file_digest, fingerprint, hub_source
from uncollapse.data.file_lines import Lines
from uncollapse.data.formats import FILE_FORMATS, FORMAT_ENDINGS, recognise_format
from uncollapse.data.hub import draw_at_most, open_hub_splits, prepare_command, select_columns
from uncollapse.data.levels import Words, choose_level
from uncollapse.data.profile import check_unknown_share
from uncollapse.data.split_files import find_split_file
from uncollapse.data.table_rows import TableRows
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


@dataclass(kw_only=True)
class TextConfig(DataConfig):
    """Text from three files, from a folder with one file for each split, or from a hub set.

    Files are read as they are: `subset` and `tokenise` are for hub sets only. `column` and
    `label_column` are for hub sets and for files that are tables; in hub sets, `label` also names
    the label column where label_column is null.

    The sizes of a hub set say how many rows are drawn, by `split_seed`. The sizes of files say how
    many sentences are kept at most; the vocabulary remains that of the complete training split.
    """

    kind: ClassVar[str] = "text"
    name: str | None = None  # of a set with a file of its own; None: the user's own files
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    dir: str | None
    format: str
    labels: bool | None
    hub: str | None = None
    revision: str | None = None
    subset: str | None = None
    column: str
    label_column: str | None
    label: str | None = None
    tokenise: bool = False
    level: str
    tokenizer: str | None
    train_size: int | None
    valid_size: int | None
    test_size: int | None
    split_seed: int
    vocab_size: int | None
    min_count: int
    max_length: int | None
    batch_size: int
    batching: str
    cache: str
    own_cache: str | None = None  # for new files, where `cache` is only read

    def load(self) -> TextData:
        """Read and tokenise, or take from the cache.

        InputError for files or sets that are missing, damaged or left empty.
        """
        self.check()
        level = choose_level(self.level, self.tokenizer)
        level.check(self.vocab_size, self.min_count)
        files = self.files()
        formats = {
            split: recognise_format(path, self.format, self.column) for split, path in files.items()
        }
        labelled = self.labelled(formats) if files else self.hub_label is not None
        source = self.source(files, formats, labelled)
        folder = self.cache_folder(
            cache_key(source, {name: getattr(self, name) for name in SHAPING})
        )
        ensure_cache(folder, lambda: self.fill_cache(folder, files, formats, labelled, level))
        corpora, labels, meta = read_cache(folder)
        profiles = meta["profiles"]
        if files:
            complete, (corpora, labels) = corpora, self.limit_sizes(corpora, labels)
            profiles = {
                split: found
                for split, found in profiles.items()
                if corpora[split] is complete[split]
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
        check_unknown_share(data.facts())
        return data

    def cache_folder(self, key: str) -> Path:
        """The cache folder of a key: in `own_cache` unless `cache` has it already."""
        folder = expand_home(self.cache) / key
        if self.own_cache is not None and not is_cached(folder):
            return expand_home(self.own_cache) / key
        return folder

    def fill_cache(
        self,
        folder: Path,
        files: dict[str, Path],
        formats: Mapping[str, str],
        labelled: bool | None,
        level: Words,
    ) -> None:
        """Fill a cache folder."""
        shape = Shape(self.vocab_size, self.min_count, self.max_length, level)
        with self.open_files(files, formats, labelled) if files else open_hub_splits(self) as parts:
            write_cache(folder, parts, shape)

    @contextmanager
    def open_files(
        self, files: dict[str, Path], formats: Mapping[str, str], labelled: bool | None
    ) -> Iterator[dict[str, Source]]:
        """The splits as sources; tables are kept in a folder until the end of the block."""
        label = self.file_label if labelled else None
        with tempfile.TemporaryDirectory(prefix="uncollapse-") as scratch:
            yield {
                split: Lines(path, labelled)
                if formats[split] == "text"
                else self.read_rows(path, formats[split], label, Path(scratch))
                for split, path in files.items()
            }

    def read_rows(self, path: Path, format: str, label: str | None, scratch: Path) -> TableRows:
        """The rows of a file that is a table."""
        from uncollapse.data.tables import read_table

        columns, own = self.columns, Path(tempfile.mkdtemp(dir=scratch))
        return select_columns(
            str(path),
            read_table(path, format, columns, label, own),
            columns,
            label,
            "data.label_column",
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that make the text."""
        return tuple(self.column.split("+"))

    @property
    def file_label(self) -> str:
        """The label column of a file."""
        return self.label_column or self.label or "label"

    @property
    def hub_label(self) -> str | None:
        """The label column of a hub set."""
        return self.label_column or self.label

    def limit_sizes(
        self, corpora: dict[str, Corpus], labels: dict[str, np.ndarray]
    ) -> tuple[dict[str, Corpus], dict[str, np.ndarray]]:
        """At most the sizes asked for, drawn by split_seed, in the original order."""
        corpora, labels = dict(corpora), dict(labels)
        for split, corpus in corpora.items():
            size = getattr(self, f"{split}_size")
            if size is None or size >= len(corpus):
                continue  # as it lies on disk
            kept = draw_at_most(size, len(corpus), self.split_seed, split)
            corpora[split] = take_sentences(corpus, kept)
            if labels:
                labels[split] = labels[split][kept]
        return corpora, labels

    def check(self) -> None:
        """InputError for a value out of range, before anything is read."""
        check_batching(self.batch_size, self.batching)
        check_choice("data.format", self.format, FILE_FORMATS)
        if self.labels is False and self.label_column is not None:
            raise InputError(
                f"data.labels=false data.label_column={self.label_column}: one says that there are "
                "no labels"
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
        if missing and self.name is not None:
            raise InputError(
                f"data={self.name} is not a hub set: give data.dir=FOLDER with train.txt, valid.txt "
                "and test.txt; "
                f"{prepare_command(self.name)} makes them or says how to get them"
            )
        if missing:
            raise InputError(
                "data=text needs a file for each split (or data.dir=FOLDER with all three); "
                f"missing: {' '.join(missing)}"
            )
        return {
            split: find_file(expand_home(path), f"data.{split}")
            for split, path in named.items()
            if path
        }

    def find_split(self, folder: Path, split: str) -> Path:
        """The file of a split, named as its format demands, else as any format does.

        An explicit format counts more than the name.
        """
        advice = (
            ""
            if self.name is None
            else f"; {prepare_command(self.name, folder)} makes it or says how to get it"
        )
        every = [ending for own in FORMAT_ENDINGS.values() for ending in own]
        return find_split_file(folder, split, FORMAT_ENDINGS.get(self.format, every), advice, every)

    def labelled(self, formats: Mapping[str, str]) -> bool | None:
        """Whether lines are label TAB text, and rows have a label.

        If the user has not said (null), the manifest of prepare_data.py does. None: unknown, and
        lines that look labelled are refused.
        """
        plain = {*formats.values()} == {"text"}
        if plain and self.label_column is not None:
            raise InputError(
                f"data.label_column={self.label_column}: plain text has no columns; "
                "data.labels=true reads lines of label TAB text"
            )
        if plain and self.name is None and self.column != "text":
            raise InputError(
                f"data.column={self.column}: plain text has no columns; data.format=csv, tsv or "
                "json reads a table or JSON Lines"
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
                f"{manifest}: cannot be read; set data.labels=true or data.labels=false ({error})"
            ) from error

    def choice(self) -> dict[str, Any]:
        """Which rows and columns of a hub set are used, and how."""
        return {**{name: getattr(self, name) for name in CHOOSING}, "label": self.hub_label}

    def source(
        self, files: dict[str, Path], formats: Mapping[str, str], labelled: bool | None
    ) -> dict[str, Any]:
        """The content of the data, independent of where it is: the cache key depends on it."""
        content, tokenizer = self.content(files, formats), self.tokenizer
        digest = None if tokenizer is None else file_digest(expand_home(tokenizer))
        return {"content": content, "labels": labelled, "tokenizer": digest}

    def content(self, files: dict[str, Path], formats: Mapping[str, str]) -> dict[str, Any]:
        """Digests and formats of files and columns of tables, or the identity of a hub set."""
        if not files:
            return {**hub_source(str(self.hub), self.revision), **self.choice()}
        found: dict[str, Any] = {
            split: [file_digest(path), formats[split]] for split, path in files.items()
        }
        plain = {*formats.values()} == {"text"}
        return found if plain else {**found, "columns": [*self.columns, self.file_label]}


def find_file(path: Path, word: str) -> Path:
    """The path of a file. InputError where there is none; `word` is the config key."""
    if not path.is_file():
        raise InputError(
            f"{word}={path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}"
        )
    return path
