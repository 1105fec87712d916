"""Opens plain and compressed files, which it recognises by their first bytes, not their names."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from uncollapse.errors import InputError

PACKED_ENDINGS = (".gz", ".xz", ".bz2", ".zst")  # of file names


def open_zstandard(raw: IO[bytes]) -> IO[bytes]:
    """A decompressing stream."""
    import pyarrow as pa

    return pa.CompressedInputStream(raw, "zstd")


DECOMPRESSORS: dict[bytes, tuple[str, Callable[[IO[bytes]], IO[bytes]]]] = {
    b"\x1f\x8b": (".gz", gzip.open),  # type: ignore[dict-item]
    b"\xfd7zXZ\x00": (".xz", lzma.open),  # type: ignore[dict-item]
    b"BZh": (".bz2", bz2.open),  # type: ignore[dict-item]
    b"\x28\xb5\x2f\xfd": (".zst", open_zstandard),
}
# raised for files that are cut short or changed
DAMAGE_ERRORS = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)


def detect_compression(path: Path) -> str:
    """.gz, .xz, .bz2, .zst, or the empty string for a file that is not compressed."""
    with path.open("rb") as file:
        start = file.read(10)
    for magic, (name, _) in DECOMPRESSORS.items():
        # a text may begin with BZh; bzip2 continues with the magic number of a block or, if the
        # file is empty, of its end
        if start.startswith(magic) and (
            name != ".bz2" or start[4:10] in (b"1AY&SY", b"\x17rE8P\x90")
        ):
            return name
    return ""


@contextmanager
def open_packed(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The decompressed stream of a file, and the file itself, whose position shows the progress.

    InputError for a file that cannot be read or is damaged.
    """
    packed = ""
    try:
        packed = detect_compression(path)
        # the empty string is no key, so a plain file is returned as it is
        openers = dict(DECOMPRESSORS.values())
        with path.open("rb") as raw:
            yield (openers[packed](raw) if packed else raw), raw
    except DAMAGE_ERRORS as error:
        raise InputError(describe_damage(path, packed, error)) from error
    except OSError as error:
        if packed and error.errno is None:  # how bz2 and zstd report damage
            raise InputError(describe_damage(path, packed, error)) from error
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def describe_damage(path: Path, packed: str, error: Exception) -> str:
    """The message for a damaged file."""
    return f"{path}: damaged or truncated {packed} file ({error}); copy or fetch it again"


def strip_packed_ending(path: Path) -> str:
    """The name without the ending of a compression."""
    return path.stem if path.suffix.lower() in PACKED_ENDINGS else path.name
