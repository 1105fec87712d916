"""Writing a pack: the same runs always give the same bytes, in whatever order they come."""

import base64
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from uncollapse.json_types import Json
from uncollapse.runs.layout import SCHEMA
from uncollapse.runs.pack import (
    BLANK_DIGEST,
    ROW_GROUP_SIZE,
    footer_offset,
    hash_with_blank,
    pack_schema,
)
from uncollapse.runs.reading import Saved, list_overrides
from uncollapse.runs.rows import drop_unread

# samples that show sentences or pictures of the data
DATA_VIEWS = ("reconstructions", "neighbours", "interpolations", "responses")
COMPRESSION_LEVEL = 17  # of zstd; above it writing takes far longer for hardly any gain


def build_pack(runs: Iterable[Saved], examples: bool = True) -> bytes:
    """The bytes of a pack of these runs, whatever their order.

    Without `examples` it has no samples that show the data.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    # sorted, so that the bytes do not depend on the order in which folders are listed
    runs = sorted(runs, key=name_sort_key)
    shown = {saved.name: views for saved, views in select_views(runs, examples)}
    rows = [pack_row(saved, shown.get(saved.name)) for saved in runs]
    table = pa.Table.from_pylist(rows, pack_schema())
    buffer = io.BytesIO()
    with ParquetWriter(
        buffer,
        table.schema,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        data_page_size=2**26,  # one page per column and group: similar rows compress together
        # dictionaries and statistics would only repeat long texts
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    ) as writer:
        writer.write_table(table, ROW_GROUP_SIZE)
        writer.add_key_value_metadata({"uncollapse": str(SCHEMA), "digest": BLANK_DIGEST.decode()})
    # the digest covers all bytes, with zeros where it is then written itself
    content = buffer.getvalue()
    start = content.index(BLANK_DIGEST, footer_offset(content))
    digest = b"sha256:" + hash_with_blank(content, start)
    return content[:start] + digest + content[start + len(digest) :]


def name_sort_key(saved: Saved) -> list[str]:
    """Sorts runs as their folders are sorted."""
    return saved.name.split("/")


def pack_row(saved: Saved, views: Mapping[str, bytes] | None) -> dict[str, str | int | None]:
    """A run as a row of a pack."""
    encoded = {name: encode_view(data, name) for name, data in (views or {}).items()}
    return {
        "name": saved.name,
        "identity": saved.identity,
        "head": saved.config["head"],
        "seed": saved.config["seed"],
        "config": dump_compact(saved.config),
        "command": saved.command,
        "data": dump_compact(saved.data),
        "summary": dump_compact(saved.summary),
        "rows": "".join(dump_compact(row) + "\n" for row in drop_unread(saved.rows)),
        "views": dump_compact(encoded) if encoded else None,
        "weights": saved.weights,
    }


def dump_compact(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))


# ---------------------------------------------------------------- samples


def select_views(runs: Iterable[Saved], examples: bool) -> Iterator[tuple[Saved, dict[str, bytes]]]:
    """The samples that a report shows: of the first seed that has any, per head and overrides."""
    groups: dict[tuple[str, ...], list[Saved]] = {}
    for saved in runs:
        folder = saved.name.split("/")[-2]
        key = (saved.config["head"], *list_overrides(saved.config, folder))
        groups.setdefault(key, []).append(saved)
    for group in groups.values():
        # numerically: as text, seed 10 would come before seed 2
        for saved in sorted(group, key=lambda saved: int(saved.config["seed"])):
            views = saved.views()
            kept = {k: v for k, v in views.items() if examples or Path(k).stem not in DATA_VIEWS}
            if kept:
                yield saved, kept
                break


def encode_view(data: bytes, name: str) -> str | dict[str, str]:
    """A view as JSON: text as it is, other bytes as base64."""
    try:
        if name.endswith(".txt"):
            return data.decode()
    # a view whose text is not UTF-8 is stored as bytes
    except UnicodeDecodeError:
        pass
    return {"base64": base64.b64encode(data).decode()}
