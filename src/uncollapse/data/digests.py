"""Digests of what data hold, so that two runs can be said to have read the same, wherever it lay."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.errors import InputError, expand_home


def file_digest(path: Path) -> str:
    """InputError for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def array_digest(*arrays: np.ndarray) -> str:
    """Of types, shapes and values."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def json_digest(value: Any) -> str:
    """Of anything that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def fingerprint(source: Any) -> str:
    """What stands in data.json as `content`: short, and equal for equal sources."""
    return json_digest(source)[:16]


def hub_source(hub: str, revision: str | None) -> dict[str, Any]:
    """What identifies a hub set: its name and revision; of a local folder, what each file holds.

    InputError for a set whose revision is left open: it may change.
    """
    local = expand_home(hub)
    if local.is_dir():
        paths = [path for path in sorted(local.rglob("*")) if path.is_file()]
        return {"files": {str(path.relative_to(local)): file_digest(path) for path in paths}}
    if revision is None:
        raise InputError(
            f"data.revision=null: {hub} may change on the hub; give a revision (a tag or commit)"
        )
    return {"hub": f"{hub}@{revision}"}
