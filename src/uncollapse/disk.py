"""Files that are either complete or not there (written under a temporary name, synced, renamed), files that others may
have put there, locks, and links."""

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from uncollapse.errors import InputError

MAX_READ_BYTES = 256 * 2**20  # of a text file that is read at once


def write_atomic(path: Path, data: bytes) -> None:
    """Write a temporary file, sync it and rename it: a crash or a full disk leaves the old one."""
    write_together({path: data})


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write all files, as `write_atomic` does, but rename the first only when the last is on disk.

    A full disk therefore leaves every old file as it was. An OSError names the file it met.
    """
    scratch = {path: path.with_name(f".{path.name}.new") for path in files}
    try:
        for path, data in files.items():
            # left by a kill; a link there must not be written through
            scratch[path].unlink(missing_ok=True)
            with scratch[path].open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            os.replace(scratch[path], path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        for left in scratch.values():
            with suppress(OSError):  # on a read-only disk even removing what is not there fails
                left.unlink(missing_ok=True)
    for folder in {path.parent for path in files}:
        sync_to_disk(folder)


def sync_to_disk(path: Path) -> None:
    """Make what a file holds, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(handle)


def set_aside(path: Path) -> Path:
    """Rename a file to the first free `name.1`, `name.2` ...; the new path."""
    kept = find_free_name(path)
    path.rename(kept)
    return kept


def find_free_name(path: Path) -> Path:
    """The first of `name.1`, `name.2` ... that nothing has."""
    return next(
        kept
        for n in range(1, 10_000)
        if not os.path.lexists(kept := path.with_name(f"{path.name}.{n}"))
    )


def require_file(path: Path) -> None:
    """InputError where something else has a file's name: to read a pipe would never end."""
    try:
        odd = path.exists() and not path.is_file()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if odd:
        raise InputError(f"{path}: not a file")


def read_bytes(path: Path, most: int = MAX_READ_BYTES) -> bytes:
    """What a file holds. InputError, in one sentence, where it is no file, too large or unreadable."""
    require_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(content) > most:
        raise InputError(f"{path}: larger than {most:,} bytes, which no such file is")
    return content


@contextmanager
def hold_lock(path: Path, what: str, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold a lock on a file or folder, `what`. InputError when another process has it, unless `wait`."""
    handle = os.open(path, os.O_RDONLY)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: another process is working on this {what}") from None
        yield
    finally:
        os.close(handle)


def join_inside(folder: Path, *names: str) -> Path:
    """folder/name/...; InputError when a link on the way leads out of the folder.

    Run and report folders come from other people: what lies elsewhere is neither read nor written.
    """
    path = folder
    for name in names:
        path = path / name
        if path.is_symlink() and not is_link_into(path, folder):
            raise InputError(
                f"{path}: a link that leads out of {folder}; put the file itself there"
            )
    return path


def resolve_path(path: Path) -> Path:
    """The path without links; InputError for a circle of them."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: a circle of links, or no path at all") from error


def is_link_into(link: Path, folder: Path) -> bool:
    """Whether a link ends inside a folder; a circle of links ends nowhere."""
    try:
        return link.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False
