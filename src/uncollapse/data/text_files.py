"""Finds the files of a text set, and decides whether their lines have labels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from uncollapse.data.file_lines import Lines
from uncollapse.data.formats import FORMAT_ENDINGS
from uncollapse.data.hub import prepare_command
from uncollapse.data.shares import draw_rows
from uncollapse.data.split_files import find_split_file
from uncollapse.data.table_rows import TableRows
from uncollapse.data.text import SPLITS
from uncollapse.errors import InputError, expand_home

if TYPE_CHECKING:
    from uncollapse.data.files import TextConfig

Rows: TypeAlias = Lines | TableRows
MANIFEST = "manifest.json"  # written by prepare_data.py beside the files of a set


def find_text_files(cfg: "TextConfig") -> dict[str, Path]:
    """The file of each split, the same for all with data.file; empty for a hub set."""
    if cfg.file is not None:
        return dict.fromkeys(SPLITS, find_divided_file(cfg, cfg.file))
    if cfg.dir is not None:
        # a folder has precedence over files and hub
        return {split: find_text_split(cfg, expand_home(cfg.dir), split) for split in SPLITS}
    named = {"train": cfg.train, "valid": cfg.valid, "test": cfg.test}
    if cfg.hub is not None and not any(named.values()):
        return {}
    missing = [f"data.{split}=FILE" for split, path in named.items() if not path]
    if missing and cfg.name is not None:
        raise InputError(
            f"data={cfg.name} is not a hub set: give data.dir=FOLDER with train.txt, valid.txt "
            f"and test.txt; {prepare_command(cfg.name)} makes them or says how to get them"
        )
    if missing:
        raise InputError(
            "data=text needs a file for each split (or data.dir=FOLDER with all three, or "
            f"data.file=FILE to be divided); missing: {' '.join(missing)}"
        )
    return {
        split: require_file(expand_home(path), f"data.{split}")
        for split, path in named.items()
        if path
    }


def find_divided_file(cfg: "TextConfig", file: str) -> Path:
    """The file that is divided into the splits. InputError if other files are given as well."""
    given = [f"data.{key}" for key in ("dir", *SPLITS) if getattr(cfg, key) is not None]
    if given:
        raise InputError(
            f"data.file={file}: it is divided into train, valid and test; leave it or "
            f"{', '.join(given)} out"
        )
    return require_file(expand_home(file), "data.file")


def divide_rows(source: Rows, shares: Sequence[float], seed: int) -> Mapping[str, Rows]:
    """The splits of one source, each with its rows in the order of the file.

    InputError where a split has no row.
    """
    parts = draw_rows(source.count_rows(), shares, seed)
    for part in parts.values():
        part.sort()  # in place: of a large file, the numbers stay in a temporary file
    return {split: replace(source, chosen=part) for split, part in parts.items()}


def find_text_split(cfg: "TextConfig", folder: Path, split: str) -> Path:
    """The file of a split: with an ending of the configured format, or else of any format.

    The configured format counts more than a file's name.
    """
    advice = (
        ""
        if cfg.name is None
        else f"; {prepare_command(cfg.name, folder)} makes it or says how to get it"
    )
    every = [ending for endings in FORMAT_ENDINGS.values() for ending in endings]
    return find_split_file(folder, split, FORMAT_ENDINGS.get(cfg.format, every), advice, every)


def require_file(path: Path, key: str) -> Path:
    """The path of a file, given for this config key. InputError where there is none."""
    if not path.is_file():
        raise InputError(
            f"{key}={path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}"
        )
    return path


def decide_labelled(cfg: "TextConfig", formats: Mapping[str, str]) -> bool | None:
    """Whether lines are label TAB text, or rows of a table have a label.

    Where the user has not said (null), the manifest decides. None: unknown, and lines that look
    labelled are refused.
    """
    plain = {*formats.values()} == {"text"}
    if plain and cfg.label_column is not None:
        raise InputError(
            f"data.label_column={cfg.label_column}: plain text has no columns; "
            "data.labels=true reads lines of label TAB text"
        )
    if plain and cfg.name is None and cfg.column != "text":
        raise InputError(
            f"data.column={cfg.column}: plain text has no columns; data.format=csv, tsv or "
            "json reads a table or JSON Lines"
        )
    if cfg.label_column is not None:
        return True
    # an explicit setting counts more than the manifest
    if cfg.labels is not None or cfg.dir is None:
        return cfg.labels
    return read_manifest_labels(expand_home(cfg.dir) / MANIFEST)


def read_manifest_labels(manifest: Path) -> bool | None:
    """The manifest's entry `labels`; None without a manifest. InputError for a damaged one."""
    try:
        if not manifest.exists():
            return None
        labels = json.loads(manifest.read_text(encoding="utf-8"))["labels"]
        if not isinstance(labels, bool):
            raise TypeError("its `labels` is neither true nor false")
        return labels
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{manifest}: cannot be read; set data.labels=true or data.labels=false ({error})"
        ) from error
