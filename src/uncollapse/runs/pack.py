"""A pack, results/<study>/runs.parquet: everything that a report needs of a study's finished runs.

One row per run, all of it text, so that a number is read back exactly as it was written. The file
holds a digest of all its bytes, and nothing in it says on which machine or when it was made.
"""

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from uncollapse.disk import join_inside, read_bytes
from uncollapse.errors import InputError, first_line
from uncollapse.runs.checkpoint import DIGEST_KEY, compute_digest, load_tensors, read_metadata
from uncollapse.runs.json_values import parse_json
from uncollapse.runs.layout import DONE, PACK, SCHEMA, WEIGHTS, Run, has_pack, is_pack, study_folder
from uncollapse.runs.reading import Saved, check_config, override_list
from uncollapse.runs.rows import parse_rows

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
DATA_VIEWS = ("reconstructions", "neighbours", "interpolations", "responses")  # views that show data
MAX_PACK_BYTES = 8 * 2**30  # bytes
ROW_GROUP_SIZE = 64  # rows that are read at once
COMPRESSION_LEVEL = 17  # of zstd: beyond it a pack takes far longer to write and is hardly smaller
RUN_NAME = re.compile(r"runs/[^/]+/[^/]+/seed=\d+")
STATED_DIGEST = re.compile(rb"sha256:([0-9a-f]{64})")
BLANK_DIGEST = b"sha256:" + b"0" * 64
REPAIR_HINT = "put back a sound copy, or move it away and pack the run folders again"


@dataclass(frozen=True)
class Pack:
    """A pack that has been read and found sound; its columns are parsed when they are asked for."""

    path: Path
    content: bytes

    def columns(self, *names: str) -> Iterator[dict[str, Any]]:
        """The rows with some of their columns, a few at a time in memory."""
        from pyarrow import ArrowException, BufferReader
        from pyarrow.parquet import ParquetFile

        try:
            with ParquetFile(BufferReader(self.content)) as file:
                for batch in file.iter_batches(ROW_GROUP_SIZE, columns=list(names)):
                    yield from batch.to_pylist()
        except (ArrowException, OSError, ValueError) as error:
            raise InputError(f"{self.path}: damaged ({first_line(error)}); {REPAIR_HINT}") from error

    @cached_property
    def views(self) -> list[str | None]:
        return [row["views"] for row in self.columns("views")]

    def runs(self) -> list[Saved]:
        """Every run. InputError where one is not as packs hold it."""
        return [*self.each_run()]

    def each_run(self) -> Iterator[Saved]:
        """Every run, one at a time in memory."""
        wanted = [name for name in PACK_COLUMNS if name != "views"]
        return (self.run(i, row) for i, row in enumerate(self.columns(*wanted)))

    def run(self, number: int, row: Mapping[str, Any]) -> Saved:
        where = f"{self.path}, {row['name']}"
        if not RUN_NAME.fullmatch(row["name"]):
            raise InputError(f"{where}: damaged (no name of a run); {REPAIR_HINT}")
        rows = parse_rows(row["rows"].encode())
        if rows.lost or rows.torn:
            raise InputError(f"{where}: damaged rows; {REPAIR_HINT}")
        return Saved(
            name=row["name"],
            status=DONE,
            config=parse_packed_config(row, where),
            command=row["command"],
            data=parse_object(row["data"], where),
            rows=rows.rows,
            summary=parse_object(row["summary"], where),
            views=lambda: decode_views(self.views[number], where),
            weights=row["weights"],
        )


def parse_packed_config(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The config of a packed run; it may hold numbers that are not finite."""
    try:
        config = check_config(json.loads(row["config"]), Path(where))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: damaged config ({first_line(error)}); {REPAIR_HINT}") from error
    if (config["head"], config["seed"]) != (row["head"], row["seed"]):
        raise InputError(f"{where}: damaged (head and seed are not those of its config); {REPAIR_HINT}")
    return config


def parse_object(text: str, where: str) -> dict[str, Any]:
    found, _ = parse_json(text.encode())
    if not isinstance(found, dict):
        raise InputError(f"{where}: damaged (no JSON object); {REPAIR_HINT}")
    return found


# ---------------------------------------------------------------- reading


def pack_path(path: Path) -> Path:
    """The pack of a study, or the one whose path it is. InputError for a link that leads away."""
    return join_inside(path, PACK) if path.is_dir() else join_inside(path.parent, path.name)


def read_pack(path: Path) -> Pack:
    """A pack. InputError, in one sentence, for whatever is not one or has changed since it was written."""
    content = read_bytes(path, MAX_PACK_BYTES)
    if not content:
        raise InputError(f"{path}: an empty file; {REPAIR_HINT}")
    check_pack_schema(path, content)
    place = STATED_DIGEST.search(content, footer_offset(content))
    blank = content[: place.start()] + BLANK_DIGEST + content[place.end() :] if place else b""
    if not place or hashlib.sha256(blank).hexdigest().encode() != place[1]:
        raise InputError(f"{path}: damaged (its digest is not that of what it holds); {REPAIR_HINT}")
    return Pack(path, content)


def find_pack(path: Path) -> Pack | None:
    """The pack of a study, or the one whose path it is; None where there is none."""
    return read_pack(pack_path(path)) if is_pack(path) or has_pack(study_folder(path)) else None


def check_pack_schema(path: Path, content: bytes) -> None:
    """InputError for a file that is no pack, or one that this version cannot read."""
    from pyarrow import ArrowException, BufferReader
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(BufferReader(content)) as file:
            facts, found = file.metadata.metadata or {}, file.schema_arrow
    except (ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged, or no pack ({first_line(error)}); {REPAIR_HINT}") from error
    stated = facts.get(b"uncollapse", b"").decode(errors="replace")
    if not stated.isdecimal():
        raise InputError(f"{path}: no pack of uncollapse; scripts/study.py pack writes them")
    if int(stated) > SCHEMA:
        raise InputError(
            f"{path}: written by a newer version (schema {stated}; this one reads {SCHEMA}); update uncollapse"
        )
    if not found.equals(pack_schema()):
        raise InputError(f"{path}: damaged (other columns than a pack has); {REPAIR_HINT}")


def pack_schema() -> Any:
    """The columns of a pack: text, and the seed as a number; only samples may be missing."""
    import pyarrow as pa

    kinds = {name: pa.string() for name in PACK_COLUMNS} | {"seed": pa.int64()}
    return pa.schema([pa.field(name, kind, name == "views") for name, kind in kinds.items()])


def footer_offset(content: bytes) -> int:
    """Where the footer of a Parquet file begins, as its last eight bytes say."""
    return max(0, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))


# ---------------------------------------------------------------- writing


def build_pack(runs: Iterable[Saved], examples: bool = True) -> bytes:
    """The file that holds these runs; the same bytes for the same runs in any order.

    Without `examples` it has no samples that show the data.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    runs = sorted(runs, key=name_sort_key)
    shown = {saved.name: views for saved, views in select_views(runs, examples)}
    records = [pack_row(saved, shown.get(saved.name)) for saved in runs]
    facts = {"uncollapse": str(SCHEMA), "digest": BLANK_DIGEST.decode()}
    table = pa.Table.from_pylist(records, pack_schema())
    buffer = io.BytesIO()
    settings: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": COMPRESSION_LEVEL,
        "data_page_size": 2**26,  # a column's rows of a group together, since they are alike
        "use_dictionary": False,
        "write_statistics": False,
        "store_schema": False,
    }
    with ParquetWriter(buffer, table.schema, **settings) as writer:
        writer.write_table(table, ROW_GROUP_SIZE)
        writer.add_key_value_metadata(facts)
    content = buffer.getvalue()
    place = content.index(BLANK_DIGEST, footer_offset(content))
    found = hashlib.sha256(content).hexdigest().encode()
    return content[:place] + b"sha256:" + found + content[place + len(BLANK_DIGEST) :]


def name_sort_key(saved: Saved) -> list[str]:
    """As folders are sorted."""
    return saved.name.split("/")


def pack_row(saved: Saved, views: Mapping[str, bytes] | None) -> dict[str, Any]:
    """A run as a row of a pack."""
    return {
        "name": saved.name,
        "identity": saved.identity,
        "head": saved.config["head"],
        "seed": saved.config["seed"],
        "config": dump_compact(saved.config),
        "command": saved.command,
        "data": dump_compact(saved.data),
        "summary": dump_compact(saved.summary),
        "rows": "".join(dump_compact(row) + "\n" for row in saved.rows),
        "views": dump_compact({name: encode_view(data, name) for name, data in views.items()})
        if views
        else None,
        "weights": saved.weights,
    }


def dump_compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def select_views(runs: Iterable[Saved], examples: bool) -> Iterator[tuple[Saved, dict[str, bytes]]]:
    """What a report shows of samples: those of the first seed of each head and overrides that has any."""
    groups: dict[tuple[str, ...], list[Saved]] = {}
    for saved in runs:
        folder = saved.name.split("/")[-2]
        groups.setdefault((saved.config["head"], *override_list(saved.config, folder)), []).append(
            saved
        )
    for group in groups.values():
        for saved in sorted(group, key=lambda saved: saved.config["seed"]):
            views = saved.views()
            kept = {k: v for k, v in views.items() if examples or Path(k).stem not in DATA_VIEWS}
            if kept:
                yield saved, kept
                break


def encode_view(data: bytes, name: str) -> Any:
    """A view as JSON holds it: text as it is, and bytes as base64."""
    try:
        if name.endswith(".txt"):
            return data.decode()
    except UnicodeDecodeError:
        pass
    return {"base64": base64.b64encode(data).decode()}


def decode_views(text: str | None, where: str) -> dict[str, bytes]:
    """The views that a row holds, by file name. InputError where they are not as packs hold them."""
    try:
        found = json.loads(text) if text else {}
        return {
            name: value.encode() if isinstance(value, str) else base64.b64decode(value["base64"])
            for name, value in found.items()
        }
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(f"{where}: damaged samples; {REPAIR_HINT}") from error


def find_weights_digest(run: Run) -> str:
    """The digest that a run's weights state, or else have; '' where there are none.

    InputError when they are damaged."""
    from safetensors import SafetensorError

    if not run.holds(WEIGHTS):
        return ""
    path = run.path(WEIGHTS)
    try:
        facts = read_metadata(path)
    except (SafetensorError, OSError, ValueError):
        facts = {}  # loading says what is wrong
    return facts.get(DIGEST_KEY) or compute_digest(load_tensors(path))
