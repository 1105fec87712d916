"""Dialogues in files of JSON Lines, and in hub sets."""

import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uncollapse.data.digests import array_digest, json_digest
from uncollapse.data.hub import is_text_type, load_hub_set, prepare_command
from uncollapse.data.inspection import name_binary
from uncollapse.data.packed import open_packed
from uncollapse.data.split_files import SPLIT_NAMES, find_split_file
from uncollapse.data.text import SPLITS
from uncollapse.errors import InputError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

    from uncollapse.data.dialogue import DialogueConfig

TURN_LABELS = ("act", "emotion")  # optional labels of a turn, which the probe predicts


@dataclass(frozen=True)
class Turns:
    """One split: the turns of all dialogues as Arrow strings [T], and labels by name, strings [T].

    sizes [N]: the number of turns of each dialogue.
    """

    texts: "pa.Array"
    sizes: np.ndarray
    labels: Mapping[str, np.ndarray]

    @property
    def digest(self) -> str:
        """A digest of the content, equal for files and hub; a null text counts as empty."""
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = pc.fill_null(self.texts, "")
        # joining in one buffer hashes bytes instead of millions of Python strings; `ends` keeps
        # the boundaries
        one_list = pa.LargeListArray.from_arrays([0, len(texts)], texts)
        together = pc.binary_join(one_list, pa.scalar("", pa.large_string()))[0]
        parts = {
            "texts": np.frombuffer(together.as_buffer(), np.uint8),
            "ends": pc.binary_length(texts).to_numpy(zero_copy_only=False),
            "sizes": self.sizes,
            **self.labels,
        }
        return json_digest({name: array_digest(values) for name, values in parts.items()})

    def lines(self) -> Iterator[bytes]:
        """Each dialogue as one line of JSON, in the form of the files."""
        columns = {
            "text": self.texts.to_pylist(),
            **{name: values.tolist() for name, values in self.labels.items()},
        }
        for start, size in zip(np.cumsum(self.sizes) - self.sizes, self.sizes, strict=True):
            turns = [
                dict(zip(columns, row, strict=True))
                for row in zip(*(c[start : start + size] for c in columns.values()), strict=True)
            ]
            yield (json.dumps({"turns": turns}, ensure_ascii=False) + "\n").encode()


def read_folder(folder: Path, name: str) -> dict[str, Turns]:
    """The three splits of a folder, with the labels that every split has."""
    advice = f"; {prepare_command(name, folder)} makes it"
    parts = {
        split: read_dialogues(find_split_file(folder, split, (".jsonl",), advice))
        for split in SPLITS
    }
    # a probe needs its labels in the training and in the test split
    shared = set.intersection(*(set(part.labels) for part in parts.values()))
    return {
        split: replace(
            part, labels={name: part.labels[name] for name in TURN_LABELS if name in shared}
        )
        for split, part in parts.items()
    }


def read_dialogues(path: Path) -> Turns:
    """InputError for a file that cannot be read, or whose lines are not dialogues."""
    import pyarrow as pa

    column = read_turns(path)
    turns = column.flatten()
    sizes = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    labels = {}
    for name in set(TURN_LABELS) & set(list_fields(column.type.value_type)):
        values = turns.field(name)
        if values.null_count:
            # name the first such turn by its line: the dialogue whose turns contain it
            turn = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
            line = int(np.searchsorted(np.cumsum(sizes), turn, side="right")) + 1
            raise InputError(
                f"{path}, line {line}: a turn without `{name}`, which other turns have"
            )
        labels[name] = np.array(values.cast(pa.string()).to_pylist())
    return Turns(turns.field("text").cast(pa.large_string()), sizes.astype(np.int64), labels)


def read_turns(path: Path) -> "pa.Array":
    """The column `turns` of a file, a list of structs in Arrow. InputError for another type."""
    import pyarrow as pa

    table = parse_lines(path)
    if "turns" not in table.column_names:
        raise InputError(
            f"{path}: no `turns` in its lines, which have {', '.join(table.column_names)}; "
            "see conf/data/dailydialog.yaml"
        )
    # a large file arrives in chunks; one array is simpler to flatten
    column = table.column("turns").combine_chunks()
    kind = column.type
    if not (
        pa.types.is_list(kind)
        and pa.types.is_struct(kind.value_type)
        and "text" in list_fields(kind.value_type)
    ):
        raise InputError(
            f"{path}: `turns` holds {kind}; needed is a list of objects with a `text` each"
        )
    for name in {"text", *TURN_LABELS} & set(list_fields(kind.value_type)):
        own = kind.value_type.field(name).type
        if not is_text_type(own, classes=name != "text"):
            raise InputError(f"{path}: the `{name}` of turns holds {own}; needed are strings")
    return column


def parse_lines(path: Path) -> "pa.Table":
    """A file of one JSON object a line as an Arrow table. InputError for anything else."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    with open_packed(path) as (file, _):
        content = file.read()
    try:
        if noun := name_binary(content):
            raise InputError(f"{path}: this is {noun}; allowed are JSON Lines, plain or compressed")
        if not content.strip():
            raise InputError(f"{path}: the file is empty")
        # only to raise the error with a position; Arrow's own message has none
        content.decode()
        # one block, since an object must not be cut by the end of a block
        return arrow_json.read_json(
            io.BytesIO(content), arrow_json.ReadOptions(block_size=max(1 << 20, len(content)))
        )
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x}); "
            "convert the file first"
        ) from error
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path}: not one JSON object a line ({str(error).splitlines()[0]})"
        ) from error


def list_fields(kind: "pa.DataType") -> list[str]:
    """The names of a struct's fields."""
    return [kind.field(i).name for i in range(kind.num_fields)]


def read_hub(cfg: "DialogueConfig") -> dict[str, Turns]:
    """InputError when the set cannot be loaded or lacks a split or the column of dialogues."""
    if cfg.hub is None:
        raise InputError(
            f"data={cfg.name}: give data.dir=FOLDER with train.jsonl, valid.jsonl and test.jsonl"
        )
    with tempfile.TemporaryDirectory(prefix="uncollapse-") as scratch:
        loaded, parts = load_hub_set(cfg.name, cfg.hub, cfg.revision, Path(scratch)), {}
        for split in SPLITS:
            name = next((alias for alias in SPLIT_NAMES[split] if alias in loaded), None)
            if name is None:
                raise InputError(
                    f"{cfg.hub}: no {split} split; it has {', '.join(map(str, loaded))}"
                )
            parts[split] = read_hub_rows(loaded[name], f"{cfg.hub}, {name} split")
        return parts


def read_hub_rows(part: "datasets.Dataset", where: str) -> Turns:
    """The dialogues of one split of a hub set."""
    import pyarrow as pa

    if "dialog" not in part.column_names:
        raise InputError(f"{where}: no column dialog; it has {', '.join(part.column_names)}")
    column = part.data.table.column("dialog").combine_chunks()
    sizes = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    labels = {}
    for name in TURN_LABELS:
        if name in part.column_names:
            values = part.data.table.column(name).combine_chunks().flatten().to_pylist()
            # class labels are stored as numbers; the names make the digest equal to that of files
            names = list_class_names(part.features[name])
            labels[name] = np.array([names[v] if names else str(v) for v in values])
            if len(labels[name]) != sizes.sum():
                raise InputError(
                    f"{where}: {len(labels[name])} values of {name} for {sizes.sum()} turns"
                )
    return Turns(column.flatten().cast(pa.large_string()), sizes, labels)


def list_class_names(feature: object) -> list[str] | None:
    """The names of the classes in a column of lists; None where it holds other values."""
    from datasets import ClassLabel, LargeList, List

    if isinstance(feature, List | LargeList) and isinstance(feature.feature, ClassLabel):
        return feature.feature.names
    return None
