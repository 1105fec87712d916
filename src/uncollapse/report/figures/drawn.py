"""Figures of an earlier report, which are not drawn again while their input is the same.

The report keeps them in figures/drawn.json: the digest of what each was drawn from, its caption,
its picture, and the digests of its files.
"""

import base64
import hashlib
import json
import pickle
import platform
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from uncollapse.json_types import JsonObject
from uncollapse.metrics.catalogue import METRICS
from uncollapse.report.figures.shown import Shown
from uncollapse.report.png import is_png

DRAWN_FILE = "drawn.json"
SOURCES = ("report", "metrics")  # packages whose code decides how a figure looks
NOT_DRAWN = ("saved", "command", "message")  # columns of a frame that no figure uses
TEXTS = ("title", "caption", "missing", "narrow")


class Drawn:
    """The figures of an earlier report, and those of this one for the next."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: the figures of the earlier report."""
        self.earlier = read_drawn(folder) if folder else {}
        self.current: dict[str, tuple[str, Shown]] = {}

    def has(self, name: str, digest: str) -> bool:
        """Whether the earlier report has the figure with this digest of its input."""
        return name in self.earlier and self.earlier[name][0] == digest

    def keep(self, name: str, digest: str, shown: Shown | None) -> Shown:
        """Keep a new figure, or else that of the earlier report, for the next one."""
        self.current[name] = (digest, shown or self.earlier[name][1])
        return self.current[name][1]

    def encode(self) -> bytes:
        """The content of DRAWN_FILE, for the next report."""
        return json.dumps(
            {name: describe_drawn(*entry) for name, entry in self.current.items()}, indent=0
        ).encode()


def describe_drawn(digest: str, shown: Shown) -> JsonObject:
    """An entry of DRAWN_FILE."""
    return {
        "input": digest,
        **{key: getattr(shown, key) for key in TEXTS},
        "on_page": shown.on_page,
        "picture": base64.b64encode(shown.picture).decode(),
        "files": {name: hash_bytes(data) for name, data in shown.files.items()},
    }


def read_drawn(folder: Path) -> dict[str, tuple[str, Shown]]:
    """Digest and figure by name, of those whose files are intact."""
    try:
        entries = json.loads((folder / DRAWN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = {}
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        try:
            found[name] = (str(entry["input"]), read_entry(name, entry, folder))
        # an entry that was damaged or made by others is drawn again
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def read_entry(name: str, entry: Mapping[str, object], folder: Path) -> Shown:
    """A figure of an earlier report. ValueError if a file of it has changed."""
    files = {}
    for file, digest in dict(entry["files"]).items():  # type: ignore[call-overload]
        if Path(file).name != file:
            raise ValueError(f"{file}: not the name of a file")
        files[file] = (folder / file).read_bytes()
        if hash_bytes(files[file]) != digest:
            raise ValueError(f"{file}: not what was drawn")
    picture = base64.b64decode(str(entry["picture"]), validate=True)
    if picture and not is_png(picture):
        raise ValueError(f"{name}: no picture")
    title, caption, missing, narrow = (str(entry[key]) for key in TEXTS)
    return Shown(name, title, caption, missing, files, narrow, picture, bool(entry["on_page"]))


# ---- digests -------------------------------------------------------------------------------------


def digest_input(frame: pd.DataFrame) -> str:
    """A digest of all that a figure depends on: values of its frame, code and catalogue."""
    state = hashlib.sha256(digest_code().encode())
    names = [(m.name, m.header, m.unit, m.better, m.digits) for m in METRICS.values()]
    state.update(repr(names).encode())
    for name in frame.columns:
        if name not in NOT_DRAWN:
            state.update(str(name).encode() + b"\0" + encode_column(frame[name]))
    return state.hexdigest()


def encode_column(column: pd.Series) -> bytes:
    """The values of a column as bytes, the same for equal values."""
    values = column.to_numpy()
    # texts are objects too, whatever the type of the column
    if values.dtype != object:
        return np.ascontiguousarray(values).tobytes()
    buffer = BytesIO()
    pickler = pickle.Pickler(buffer, protocol=4)
    # without references between equal values, which differ from process to process
    pickler.fast = True
    pickler.dump(column.tolist())
    return buffer.getvalue()


@cache
def digest_code() -> str:
    """A digest of our code for figures, and of the versions of what it uses."""
    root = Path(__file__).parents[2]
    versions = (platform.python_version(), mpl.__version__, np.__version__, pd.__version__)
    state = hashlib.sha256(repr(versions).encode())
    for package in SOURCES:
        for path in sorted((root / package).rglob("*.py")):
            state.update(path.read_bytes())
    return state.hexdigest()


def hash_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
