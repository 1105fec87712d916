"""Text sets of the Hugging Face hub, or of folders with the same files, through `datasets`.

Splits are Arrow tables on disk.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uncollapse.data.split_files import SPLIT_NAMES
from uncollapse.data.table_columns import LABEL_NAMES, TEXT_NAMES, guess_column
from uncollapse.data.table_rows import TableRows
from uncollapse.data.text import SPLITS
from uncollapse.errors import InputError, expand_home

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

    from uncollapse.data.files import TextConfig


@contextmanager
def open_hub_splits(cfg: "TextConfig") -> Iterator[dict[str, TableRows]]:
    """The splits of cfg.hub, each reduced to data.<split>_size.

    InputError for a set that cannot be loaded, and for a split or column that it does not have.
    """
    with tempfile.TemporaryDirectory(prefix="uncollapse-") as scratch:
        yield choose_rows(
            cfg,
            select_splits(
                cfg, load_hub_set(cfg.name, str(cfg.hub), cfg.revision, Path(scratch), cfg.subset)
            ),
        )


def load_hub_set(
    name: str | None, hub: str, revision: str | None, scratch: Path, subset: str | None = None
) -> "datasets.DatasetDict":
    """The set `hub` (of data=name) as `datasets` gives it, its Arrow copy in `scratch`.

    Downloads stay in the hub's own cache, where they are resumed.
    """
    import datasets
    from huggingface_hub.utils import logging

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    local = expand_home(hub)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the hub client reports every retry; one message is enough
    try:
        return datasets.load_dataset(
            str(local) if local.is_dir() else hub,
            data_dir=subset,
            revision=revision,
            cache_dir=str(scratch),
        )
    # no connection, unknown set, damaged files, script data sets: each has its own type
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        if local.is_dir():
            raise InputError(
                f"data.hub={hub}: this folder could not be loaded ({first}); allowed is one with "
                "the Parquet files of a hub set"
            ) from error
        raise InputError(
            f"data.hub={hub}: could not be loaded from the hub ({first}); run the same command "
            f"again when the hub can be reached, or run {prepare_command(name)} on a connected "
            "machine, copy the folder here and give data.dir=FOLDER"
        ) from error
    finally:
        logging.set_verbosity(verbosity)


def prepare_command(name: str | None, folder: object = "FOLDER") -> str:
    """The command that makes a folder of a set."""
    return f"`uncollapse prepare {name or 'NAME'} --out {folder}`"


def select_splits(cfg: "TextConfig", loaded: "datasets.DatasetDict") -> dict[str, TableRows]:
    """All rows of the existing splits. InputError for columns that are missing or not text."""
    # the first of a split's usual names that the set has
    found = {split: next((a for a in SPLIT_NAMES[split] if a in loaded), None) for split in SPLITS}
    parts = {}
    for split, name in found.items():
        if name is None:
            continue
        option = "data.label" if cfg.label_column is None else "data.label_column"
        where = f"{cfg.hub}, {split} split"
        parts[split] = select_columns(
            where, loaded[name], cfg.columns, cfg.hub_label, option, cfg.tokenise, str(cfg.hub)
        )
    missing = [
        split
        for split in SPLITS
        # a missing validation split can be drawn from the training split, if its size is given
        if split not in parts and not (split == "valid" and cfg.valid_size)
    ]
    if missing:
        advice = "; data.valid_size=N takes N rows of train for it" if missing == ["valid"] else ""
        raise InputError(
            f"{cfg.hub}: no {', '.join(missing)} split; "
            f"it has {', '.join(map(str, loaded))}{advice}"
        )
    return parts


def select_columns(
    where: str,
    part: "datasets.Dataset",
    columns: tuple[str, ...],
    label: str | None,
    option: str,
    raw: bool = False,
    source: str | None = None,
) -> TableRows:
    """The columns of a table of `datasets`, and its label, which `option` names.

    InputError for a column that is missing or not text.
    """
    from datasets import ClassLabel

    for column in columns:
        check_column(source or where, "data.column", column, part, classes=False)
    names = None
    if label is not None:
        check_column(source or where, option, label, part, classes=True)
        feature = part.features[label]
        names = feature.names if isinstance(feature, ClassLabel) else None
    # a column may be both text and label; Arrow would otherwise select it twice
    table = part.data.table.select(
        list(dict.fromkeys([*columns, *([label] if label is not None else [])]))
    )
    return TableRows(
        where, table, columns, label, None if names is None else tuple(names), raw, option=option
    )


def check_column(
    source: str, word: str, column: str, part: "datasets.Dataset", classes: bool
) -> None:
    """InputError for a column that is missing or not text.

    A label may also be an integer or a boolean.
    """
    kinds = {name: part.data.table.schema.field(name).type for name in part.column_names}
    fitting = [name for name, kind in kinds.items() if is_text_type(kind, classes)]
    # a column of integers or booleans is more probably the label than one of texts
    numbered = [name for name in fitting if not is_text_type(kinds[name], classes=False)]
    others = numbered if classes else fitting
    guess = guess_column(column, fitting, LABEL_NAMES if classes else TEXT_NAMES) or (
        others[0] if others else None
    )
    advice = f"; set {word}={guess}" if guess and guess != column else ""
    if column not in kinds:
        raise InputError(f"{word}={column}: {source} has the columns {', '.join(kinds)}{advice}")
    if column not in fitting:
        raise InputError(
            f"{word}={column}: {source} has {kinds[column]} there, which is not text{advice}"
        )


def is_text_type(kind: "pa.DataType", classes: bool) -> bool:
    """Whether an Arrow type is text (or, for classes, an integer or a boolean)."""
    import pyarrow.types as kinds

    if kinds.is_dictionary(kind):
        return is_text_type(kind.value_type, classes)
    text = kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)
    return text or (classes and (kinds.is_integer(kind) or kinds.is_boolean(kind)))


def choose_rows(cfg: "TextConfig", parts: dict[str, TableRows]) -> dict[str, TableRows]:
    """The splits at their configured sizes: rows drawn by data.split_seed, in their original order.

    A missing validation split comes from the training split.
    """
    out, sizes = {}, {split: getattr(cfg, f"{split}_size") for split in SPLITS}
    order = {
        split: shuffle_rows(part.size, cfg.split_seed, split)
        for split, part in parts.items()
        if has_size(cfg, split)
    }
    # split -> the split it is drawn from, and how many of the shuffled rows are skipped
    taken = {split: (split, 0) for split in parts}
    if "valid" not in parts:
        # the training split begins after the rows that the validation split took from it
        taken["valid"], taken["train"] = ("train", 0), ("train", sizes["valid"])
        order.setdefault("train", shuffle_rows(parts["train"].size, cfg.split_seed, "train"))
    for split in SPLITS:
        source, start = taken[split]
        if source not in order or (sizes[split] is None and not start):
            out[split] = parts[split]
            continue
        left = parts[source].size - start
        size = left if sizes[split] is None else sizes[split]
        if size > left or left <= 0:
            other = f" after the {start} of data.valid_size" if start else ""
            raise InputError(
                f"data.{split}_size={sizes[split]}: the {source} split of {cfg.hub} has "
                f"{max(left, 0)} rows{other}"
            )
        # increasing order reads the table on disk from start to end
        rows = np.sort(order[source][start : start + size])
        out[split] = replace(parts[source], where=f"{cfg.hub}, {source} split", chosen=rows)
    return out


def has_size(cfg: "TextConfig", split: str) -> bool:
    """Whether data.<split>_size is set."""
    return getattr(cfg, f"{split}_size") is not None


def draw_at_most(size: int | None, rows: int, seed: int, split: str) -> np.ndarray:
    """Numbers of `size` rows, the first of `shuffle_rows`, in increasing order.

    All rows where there are no more than `size`, or size is None.
    """
    return (
        np.arange(rows)
        if size is None or size >= rows
        else np.sort(shuffle_rows(rows, seed, split)[:size])
    )


def shuffle_rows(rows: int, seed: int, split: str) -> np.ndarray:
    """All row numbers in an order that depends on seed and split alone."""
    # int64 rather than the platform's integer, so that the shuffled order is the same everywhere
    order = np.arange(rows, dtype=np.int64)
    np.random.default_rng((seed, SPLITS.index(split))).shuffle(order)
    return order
