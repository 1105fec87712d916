"""Atomic writes, bounded reads, locks and links.

A file is written under a temporary name, synced and then renamed, so it is complete or absent.
Folders may come from other people: a name may be a pipe, a huge file or a link to elsewhere.
"""

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from uncollapse.errors import BusyError, InputError

MAX_READ_BYTES = 256 * 2**20  # of a text file that is read at once


def write_atomic(path: Path, data: bytes) -> None:
    """Write a temporary file, sync it and rename it.

    After a crash or on a full disk the old file is still there.
    """
    write_together({path: data})


def write_if_changed(path: Path, data: bytes) -> None:
    """Write a file atomically; one with the same bytes keeps its time stamp."""
    if not os.path.lexists(path) or path.read_bytes() != data:
        write_atomic(path, data)
    else:
        remove_leftover(path)


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write several files atomically: none is renamed before all are synced.

    A full disk therefore leaves every old file unchanged. An OSError names the file that failed.
    """
    temporary = {path: temporary_path(path) for path in files}
    try:
        for path, data in files.items():
            # it may exist after a kill; a link with its name must not be followed
            temporary[path].unlink(missing_ok=True)
            # mode x fails if another process creates the file in between
            with temporary[path].open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        # all bytes are on disk: renaming needs no more space
        for path in files:
            os.replace(temporary[path], path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        for path in files:
            remove_leftover(path)
    # a rename is durable only once its folder is synced
    for folder in {path.parent for path in files}:
        sync_to_disk(folder)


def temporary_path(path: Path) -> Path:
    """Where a file is written before it is renamed to `path`."""
    return path.with_name(f".{path.name}.new")


def remove_leftover(path: Path) -> None:
    """Remove the temporary file of `path`, which a kill may have left."""
    with suppress(OSError):  # on a read-only disk unlink fails even for a missing file
        temporary_path(path).unlink(missing_ok=True)


def sync_to_disk(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(handle)


def set_aside(path: Path) -> Path:
    """Rename a file to the first free name of `name.1`, `name.2` ... and return the new path."""
    kept = find_free_name(path)
    path.rename(kept)
    return kept


def find_free_name(path: Path) -> Path:
    """The first of `name.1`, `name.2` ... that does not exist."""
    return next(
        kept
        for n in range(1, 10_000)
        if not os.path.lexists(kept := path.with_name(f"{path.name}.{n}"))
    )


def require_plain_file(path: Path) -> None:
    """InputError if the path is a folder, a pipe or a device; reading a pipe would never end."""
    try:
        # through links: `is_file` follows them, as reading would
        is_other = path.exists() and not path.is_file()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if is_other:
        raise InputError(f"{path}: not a file")


def read_bytes(path: Path, limit: int = MAX_READ_BYTES) -> bytes:
    """The content of a file. InputError if it is not a file, unreadable or above `limit` bytes."""
    require_plain_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)  # one byte more shows that the file is too large
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(content) > limit:
        raise InputError(f"{path}: larger than {limit:,} bytes, the most that is read")
    return content


@contextmanager
def hold_lock(path: Path, what: str, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold a lock on a file or folder; `what` names it in messages.

    BusyError if another process holds the lock, unless `wait`. Other machines that share the folder
    may not see it: see `Heartbeat.claim`.
    """
    # the kernel releases the lock when the process ends, even if it is killed
    # flock needs only an open handle, so a folder can be locked without writing to it
    handle = os.open(path, os.O_RDONLY)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{path}: another process is working on this {what}") from None
        yield
    finally:
        os.close(handle)  # which also releases the lock


def join_inside(folder: Path, *names: str) -> Path:
    """folder/name/...; InputError if a link on the way leads out of the folder.

    Nothing outside a run or report folder is read or written through it.
    """
    path = folder
    # each component is checked, since any of them may be a link
    for name in names:
        path = path / name
        if path.is_symlink() and not is_link_into(path, folder):
            raise InputError(
                f"{path}: a link that leads out of {folder}; put the file itself there"
            )
    return path


def resolve_path(path: Path) -> Path:
    """The absolute path with links resolved; InputError for links that form a loop."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: links that form a loop, or not a valid path") from error


def is_link_into(link: Path, folder: Path) -> bool:
    """Whether a link ends inside a folder; False for links that form a loop."""
    try:
        return link.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False
