"""Digests of the content of data, so that two runs can be compared wherever their data are."""

import hashlib
import json
from pathlib import Path

import numpy as np

from uncollapse.errors import InputError, expand_home
from uncollapse.json_types import Json, JsonObject


def file_digest(path: Path) -> str:
    """SHA-256 of a file. InputError for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def array_digest(*arrays: np.ndarray) -> str:
    """SHA-256 of types, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        # type and shape are hashed too: equal bytes of another shape are other data
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def json_digest(value: Json) -> str:
    """SHA-256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def fingerprint(source: Json) -> str:
    """The short digest that data.json holds as `content`."""
    return json_digest(source)[:16]


def hub_source(hub: str, revision: str | None) -> JsonObject:
    """The identity of a hub set: name and revision; of a local folder: its files' digests.

    InputError for a set without a revision: it may change.
    """
    local = expand_home(hub)
    if local.is_dir():
        # sorted, because the order of a directory listing differs between file systems
        paths = [path for path in sorted(local.rglob("*")) if path.is_file()]
        return {"files": {str(path.relative_to(local)): file_digest(path) for path in paths}}
    if revision is None:
        raise InputError(
            f"data.revision=null: {hub} may change on the hub; give a revision (a tag or commit)"
        )
    return {"hub": f"{hub}@{revision}"}
