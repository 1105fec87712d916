"""The data section of text sets: files or a hub set, tokenised once and cached by content.

Files are plain or compressed. They hold one sentence a line in UTF-8 (with `labels`, lines of
label TAB text), or are tables, of which `column` is read.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from uncollapse.data.blocks import Source
from uncollapse.data.cache import cache_key, ensure_cache, is_cached, read_cache, write_cache
from uncollapse.data.corpus import Corpus, take_sentences
from uncollapse.data.digests import file_digest, fingerprint, hub_source, json_digest
from uncollapse.data.facts import require_facts
from uncollapse.data.file_lines import Lines
from uncollapse.data.formats import FILE_FORMATS, recognise_format
from uncollapse.data.hub import draw_at_most, open_hub_splits, select_columns
from uncollapse.data.level_choice import choose_level
from uncollapse.data.levels import Words
from uncollapse.data.profile import check_unknown_share
from uncollapse.data.shares import check_shares, describe_division
from uncollapse.data.survey import Shape
from uncollapse.data.table_rows import TableRows
from uncollapse.data.text import SPLITS, TextData, check_batching
from uncollapse.data.text_files import decide_labelled, divide_rows, find_text_files
from uncollapse.errors import InputError, check_choice, check_integer, expand_home
from uncollapse.interfaces.data import DataConfig
from uncollapse.json_types import JsonObject

# keys that the cached arrays depend on besides the source
SHAPING = ("vocab_size", "min_count", "max_length", "level")
# keys that choose and treat the rows of a hub set
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
    """Text from three files, a folder with one for each split, one file, or a hub set.

    One file is divided at random, by the shares in `split` and by `split_seed`.

    Files are read as they are: `subset` and `tokenise` are for hub sets only. `column` and
    `label_column` are for hub sets and for files that are tables; in hub sets, `label` also names
    the label column where label_column is null.

    The sizes of a hub set say how many rows are drawn, by `split_seed`. The sizes of files say how
    many sentences are kept at most; the vocabulary remains that of the complete training split.
    """

    kind: ClassVar[str] = "text"
    name: str | None = None  # of a set with a file of its own; None: the user's own files
    file: str | None = None
    split: list[float] | None = None  # shares of train, valid and test, for one file
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
    join: str | None = None  # level=function: a function that writes tokens as text
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

        InputError for files or sets that are missing, damaged or left without a sentence.
        """
        self.check()
        level = choose_level(self.level, self.tokenizer, self.join)
        level.check(self.vocab_size, self.min_count)
        files = find_text_files(self)  # empty for a hub set
        by_path = {
            path: recognise_format(path, self.format, self.column)
            for path in dict.fromkeys(files.values())
        }
        formats = {split: by_path[path] for split, path in files.items()}
        labelled = decide_labelled(self, formats) if files else self.hub_label is not None
        source = self.describe_source(files, formats, labelled, level)
        folder = self.choose_cache_folder(
            cache_key(source, {name: getattr(self, name) for name in SHAPING})
        )
        ensure_cache(folder, lambda: self.fill_cache(folder, files, formats, labelled, level))
        # the rows of a hub set were drawn before it was tokenised
        data = self.read_data(folder, level, limited=bool(files), source=source)
        check_unknown_share(data.facts())
        return data

    def read_data(self, folder: Path, level: Words, limited: bool, source: JsonObject) -> TextData:
        """The data of a cache folder; with `limited`, reduced to the sizes in the config."""
        cached, labels, meta = read_cache(folder)
        corpora, profiles = cached, meta["profiles"]
        if limited:
            corpora, labels = self.limit_sizes(cached, labels)
            # a stored profile is that of the complete split
            profiles = {
                split: p for split, p in profiles.items() if corpora[split] is cached[split]
            }
        if level.has_own_code:
            # whatever the code looks like now, data are the same if their tokens are
            tokens = [meta["files"], json_digest(meta["vocabulary"])]
            source = {**source, "tokenizer": tokens}
        name = self.label or self.label_column or "label"
        return TextData(
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
            divided=self.division,
        )

    @property
    def division(self) -> JsonObject | None:
        """The file that is divided into the splits, and how; None for a file per split."""
        if self.file is None or self.split is None:
            return None
        return describe_division(self.file, self.split, self.split_seed)

    def choose_cache_folder(self, key: str) -> Path:
        """The cache folder of a key: in `own_cache` unless `cache` has it already."""
        folder = expand_home(self.cache) / key
        if self.own_cache is not None and not is_cached(folder):
            # a shared cache may be read-only, so new folders go elsewhere
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
    ) -> Iterator[Mapping[str, Source]]:
        """The splits as sources; tables are kept in a folder until the end of the block."""
        with tempfile.TemporaryDirectory(prefix="uncollapse-") as scratch:
            if self.file is not None and self.split is not None:
                only = self.open_file(files["train"], formats["train"], labelled, Path(scratch))
                yield divide_rows(only, self.split, self.split_seed)
            else:
                yield {
                    split: self.open_file(path, formats[split], labelled, Path(scratch))
                    for split, path in files.items()
                }

    def open_file(
        self, path: Path, format: str, labelled: bool | None, scratch: Path
    ) -> Lines | TableRows:
        """A file as a source."""
        if format == "text":
            return Lines(path, labelled)
        from uncollapse.data.tables import read_table

        # each table in a folder of its own, as two splits may have files of the same name
        columns, own = self.columns, Path(tempfile.mkdtemp(dir=scratch))
        label = self.file_label if labelled else None
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
        """At most data.<split>_size sentences, drawn by split_seed, in the original order."""
        corpora, labels = dict(corpora), dict(labels)
        for split, corpus in corpora.items():
            size = getattr(self, f"{split}_size")
            if size is None or size >= len(corpus):
                continue  # the array stays mapped from disk
            kept = draw_at_most(size, len(corpus), self.split_seed, split)
            corpora[split] = take_sentences(corpus, kept)
            if labels:
                labels[split] = labels[split][kept]
        return corpora, labels

    def check(self) -> None:
        """InputError for a value out of range, before anything is read."""
        require_facts(self.name)
        check_batching(self.batch_size, self.batching)
        check_choice("data.format", self.format, FILE_FORMATS)
        if self.labels is False and self.label_column is not None:
            raise InputError(
                f"data.labels=false data.label_column={self.label_column}: these contradict each "
                "other; leave one out"
            )
        check_integer("data.min_count", self.min_count, 1)
        check_integer("data.split_seed", self.split_seed, 0)
        if self.file is not None:
            check_shares(self.split, self.split_seed)
        for name in ("vocab_size", "max_length", *(f"{split}_size" for split in SPLITS)):
            if getattr(self, name) is not None:
                check_integer(f"data.{name}", getattr(self, name), 1)

    def choice(self) -> JsonObject:
        """Which rows and columns of a hub set are used, and how."""
        return {**{name: getattr(self, name) for name in CHOOSING}, "label": self.hub_label}

    def describe_source(
        self,
        files: dict[str, Path],
        formats: Mapping[str, str],
        labelled: bool | None,
        level: Words,
    ) -> JsonObject:
        """The content of the data, independent of its location: the cache key depends on it."""
        content = self.describe_content(files, formats)
        return {"content": content, "labels": labelled, "tokenizer": level.describe()}

    def describe_content(self, files: dict[str, Path], formats: Mapping[str, str]) -> JsonObject:
        """Digests and formats of files and columns of tables, or the identity of a hub set."""
        if not files:
            return {**hub_source(str(self.hub), self.revision), **self.choice()}
        digests = {path: file_digest(path) for path in dict.fromkeys(files.values())}
        found: JsonObject = {
            split: [digests[path], formats[split]] for split, path in files.items()
        }
        if self.file is not None:
            found |= {"split": self.split, "split_seed": self.split_seed}
        # the columns change the content of tables only
        plain = {*formats.values()} == {"text"}
        return found if plain else {**found, "columns": [*self.columns, self.file_label]}
