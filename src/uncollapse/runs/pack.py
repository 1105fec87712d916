"""A pack, results/<study>/runs.parquet: all that a report needs of a study's finished runs.

One row per run, its content as JSON text, so that every number is read back exactly as written. The
file holds a digest of its bytes, but neither the machine nor the time at which it was made.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from uncollapse.disk import join_inside, read_bytes
from uncollapse.errors import InputError, first_line
from uncollapse.json_types import JsonMapping, JsonObject
from uncollapse.runs.checkpoint import DIGEST_KEY, compute_digest, load_tensors, read_metadata
from uncollapse.runs.json_values import parse_json
from uncollapse.runs.layout import DONE, PACK, SCHEMA, WEIGHTS, Run, has_pack, is_pack, study_folder
from uncollapse.runs.reading import Saved, check_config
from uncollapse.runs.rows import parse_rows

if TYPE_CHECKING:
    import pyarrow

TEXT_COLUMNS = (
    "name",
    "identity",
    "head",
    "config",
    "command",
    "data",
    "summary",
    "rows",
    "views",
    "weights",
)
PACK_COLUMNS = (*TEXT_COLUMNS[:3], "seed", *TEXT_COLUMNS[3:])
MAX_PACK_BYTES = 8 * 2**30
ROW_GROUP_SIZE = 64  # rows that are read at once
RUN_NAME = re.compile(r"runs/[^/]+/[^/]+/seed=\d+")
STATED_DIGEST = re.compile(rb"sha256:([0-9a-f]{64})")
BLANK_DIGEST = b"sha256:" + b"0" * 64  # in place of the digest while it is computed
REPAIR_HINT = "restore an intact copy, or move it away and pack the run folders again"


@dataclass(frozen=True)
class Pack:
    """A pack that has been read and found intact; columns are parsed on demand."""

    path: Path
    content: bytes

    def columns(self, *names: str) -> Iterator[JsonObject]:
        """Some columns of all rows, a few rows at a time in memory."""
        from pyarrow import ArrowException, BufferReader
        from pyarrow.parquet import ParquetFile

        try:
            with ParquetFile(BufferReader(self.content)) as file:
                for batch in file.iter_batches(ROW_GROUP_SIZE, columns=list(names)):
                    yield from batch.to_pylist()
        except (ArrowException, OSError, ValueError) as error:
            raise InputError(
                f"{self.path}: damaged ({first_line(error)}); {REPAIR_HINT}"
            ) from error

    @cached_property
    def views(self) -> list[str | None]:
        """The column of samples, read only when a report shows some."""
        return [row["views"] for row in self.columns("views")]

    def runs(self) -> list[Saved]:
        """Every run. InputError if one is damaged."""
        return [*self.iterate_runs()]

    def iterate_runs(self) -> Iterator[Saved]:
        """Every run, one at a time in memory."""
        # samples are most of a pack, and few reports show them
        wanted = [name for name in PACK_COLUMNS if name != "views"]
        return (self.parse_run(i, row) for i, row in enumerate(self.columns(*wanted)))

    def parse_run(self, number: int, row: JsonMapping) -> Saved:
        """The run in a row. InputError if it is damaged."""
        where = f"{self.path}, {row['name']}"
        if not RUN_NAME.fullmatch(row["name"]):
            raise InputError(f"{where}: damaged (not the name of a run); {REPAIR_HINT}")
        rows = parse_rows(row["rows"].encode())
        if rows.lost or rows.torn:
            raise InputError(f"{where}: damaged rows; {REPAIR_HINT}")
        return Saved(
            name=row["name"],
            status=DONE,
            config=parse_packed_config(row, where),
            command=row["command"],
            data=parse_json_object(row["data"], where),
            rows=rows.rows,
            summary=parse_json_object(row["summary"], where),
            # a function, so that samples are decoded only on demand
            views=lambda: decode_views(self.views[number], where),
            weights=row["weights"],
        )


def parse_packed_config(row: JsonMapping, where: str) -> JsonObject:
    """The config of a packed run; unlike other columns it may hold non-finite numbers."""
    try:
        config = check_config(json.loads(row["config"]), Path(where))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: damaged config ({first_line(error)}); {REPAIR_HINT}") from error
    # head and seed are stored twice; if they disagree, the file was edited
    if (config["head"], config["seed"]) != (row["head"], row["seed"]):
        raise InputError(
            f"{where}: damaged (head and seed are not those of its config); {REPAIR_HINT}"
        )
    return config


def parse_json_object(text: str, where: str) -> JsonObject:
    """A JSON object. InputError if the text is anything else."""
    value, _ = parse_json(text.encode())
    if not isinstance(value, dict):
        raise InputError(f"{where}: damaged (not a JSON object); {REPAIR_HINT}")
    return value


def decode_views(text: str | None, where: str) -> dict[str, bytes]:
    """The views in a row, by file name. InputError if they are damaged."""
    try:
        views: JsonMapping = json.loads(text) if text else {}
        return {
            name: value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])
            for name, value in views.items()
        }
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(f"{where}: damaged samples; {REPAIR_HINT}") from error


# ---------------------------------------------------------------- reading


def pack_path(path: Path) -> Path:
    """The path of a study's pack, or of the pack itself. InputError for a link that leads away."""
    return join_inside(path, PACK) if path.is_dir() else join_inside(path.parent, path.name)


def read_pack(path: Path) -> Pack:
    """A pack. InputError for a file that is not a pack, or has changed since it was written."""
    content = read_bytes(path, MAX_PACK_BYTES)
    if not content:
        raise InputError(f"{path}: an empty file; {REPAIR_HINT}")
    check_pack_schema(path, content)
    # only in the footer: a sample may contain such a text as well
    stated = STATED_DIGEST.search(content, footer_offset(content))
    # the digest was computed with zeros in its own position
    if not stated or hash_with_blank(content, stated.start()) != stated[1]:
        raise InputError(f"{path}: damaged (its digest does not match its content); {REPAIR_HINT}")
    return Pack(path, content)


def find_pack(path: Path) -> Pack | None:
    """The pack of a study, or the pack at a path; None if the study has none."""
    return read_pack(pack_path(path)) if is_pack(path) or has_pack(study_folder(path)) else None


def check_pack_schema(path: Path, content: bytes) -> None:
    """InputError for a file that is not a pack, or one that this version cannot read."""
    from pyarrow import ArrowException, BufferReader
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(BufferReader(content)) as file:
            metadata, columns = file.metadata.metadata or {}, file.schema_arrow
    except (ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path}: damaged, or not a pack ({first_line(error)}); {REPAIR_HINT}"
        ) from error
    stated = metadata.get(b"uncollapse", b"").decode(errors="replace")
    if not stated.isdecimal():
        raise InputError(f"{path}: not a pack of uncollapse; `uncollapse study pack` writes them")
    if int(stated) > SCHEMA:
        raise InputError(
            f"{path}: written by a newer version (schema {stated}; this one reads {SCHEMA}); "
            "update uncollapse"
        )
    if not columns.equals(pack_schema()):
        raise InputError(f"{path}: damaged (other columns than a pack has); {REPAIR_HINT}")


def pack_schema() -> "pyarrow.Schema":
    """The columns of a pack: text, and the seed as an integer; only samples may be missing."""
    import pyarrow as pa

    types = {name: pa.string() for name in PACK_COLUMNS} | {"seed": pa.int64()}
    # only samples may be null
    return pa.schema([pa.field(name, kind, name == "views") for name, kind in types.items()])


def footer_offset(content: bytes) -> int:
    """Where the footer of a Parquet file begins, according to its last eight bytes."""
    # a Parquet file ends with the length of its footer (4 bytes) and the magic number
    return max(0, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))


def hash_with_blank(content: bytes, start: int) -> bytes:
    """The hexadecimal SHA-256 of a file with the digest at `start` blanked out."""
    blank = content[:start] + BLANK_DIGEST + content[start + len(BLANK_DIGEST) :]
    return hashlib.sha256(blank).hexdigest().encode()


def find_weights_digest(run: Run) -> str:
    """The digest stored with a run's weights, or else computed; '' if there are no weights.

    InputError if they are damaged.
    """
    from safetensors import SafetensorError

    if not run.holds(WEIGHTS):
        return ""
    path = run.path(WEIGHTS)
    try:
        metadata = read_metadata(path)
    except (SafetensorError, OSError, ValueError):
        metadata = {}  # load_tensors reports the damage
    # weights of older runs have no stored digest
    return metadata.get(DIGEST_KEY) or compute_digest(load_tensors(path))
