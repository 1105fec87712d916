"""Files plain or compressed: known by their first bytes, whatever they are called."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from uncollapse.errors import InputError

PACKED_ENDINGS = (".gz", ".xz", ".bz2", ".zst")  # of names, which say nothing else


def open_zstandard(raw: IO[bytes]) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(raw, "zstd")


DECOMPRESSORS: dict[bytes, tuple[str, Callable[[IO[bytes]], Any]]] = {
    b"\x1f\x8b": (".gz", gzip.open),  # type: ignore[dict-item]
    b"\xfd7zXZ\x00": (".xz", lzma.open),  # type: ignore[dict-item]
    b"BZh": (".bz2", bz2.open),  # type: ignore[dict-item]
    b"\x28\xb5\x2f\xfd": (".zst", open_zstandard),
}
DAMAGE_ERRORS = (
    EOFError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
)  # what they raise for a file cut short or changed


def detect_compression(path: Path) -> str:
    """.gz, .xz, .bz2, .zst, or nothing. A text that begins with BZh is none: a digit and a mark follow."""
    with path.open("rb") as file:
        start = file.read(10)
    for magic, (name, _) in DECOMPRESSORS.items():
        if start.startswith(magic) and (
            name != ".bz2" or start[4:10] in (b"1AY&SY", b"\x17rE8P\x90")
        ):
            return name
    return ""


@contextmanager
def open_packed(path: Path) -> Iterator[tuple[Any, IO[bytes]]]:
    """What is in a file, decompressed, to read from, and the file itself, which tells how far one is. InputError for one that cannot
    be read or is damaged."""
    packed = ""
    try:
        packed = detect_compression(path)
        openers = dict(DECOMPRESSORS.values())
        with path.open("rb") as raw:
            yield (openers[packed](raw) if packed else raw), raw
    except DAMAGE_ERRORS as error:
        raise InputError(describe_damage(path, packed, error)) from error
    except OSError as error:
        if packed and error.errno is None:  # how bz2 and zstd tell of damage
            raise InputError(describe_damage(path, packed, error)) from error
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def describe_damage(path: Path, packed: str, error: Exception) -> str:
    return f"{path}: damaged or truncated {packed} file ({error}); copy or fetch it again"


def strip_packed_ending(path: Path) -> str:
    """The name without a compression's ending."""
    return path.stem if path.suffix.lower() in PACKED_ENDINGS else path.name
