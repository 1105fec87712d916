"""Files that are either whole or not there: written under a temporary name, synced, renamed."""

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from uncollapse.errors import InputError


def write_whole(path: Path, data: bytes) -> None:
    """Write a temporary file, sync it and rename it: a crash or a full disk leaves the old one."""
    write_together({path: data})


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write all files, as `write_whole` does, but rename the first only when the last is on disk.

    A full disk therefore leaves every old file as it was. An OSError names the file it met.
    """
    scratch = {path: path.with_name(f".{path.name}.new") for path in files}
    try:
        for path, data in files.items():
            scratch[path].unlink(missing_ok=True)  # left by a kill; a link there must not be written through
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
        sync(folder)


def sync(path: Path) -> None:
    """Make what a file holds, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(handle)


@contextmanager
def alone(folder: Path, what: str = "run") -> Iterator[None]:
    """Hold a lock on the folder, or InputError when another process has it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f"{folder}: another process is working on this {what}") from None
    finally:
        os.close(handle)


def save_model(path: Path, model: Any) -> None:
    """All weights and buffers as safetensors."""
    from safetensors.torch import save

    write_whole(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}))


def load_model(path: Path, model: Any) -> None:
    """InputError when the file is damaged or belongs to another model."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InputError(
            f"{path}: not the weights of this run's model, or damaged ({str(error).splitlines()[0]})"
        ) from error


def save_state(path: Path, state: dict) -> None:
    """Tensors, numbers and strings only, so that loading runs no code."""
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(path, buffer.getvalue())


def load_state(path: Path) -> dict:
    """InputError when the file is truncated or not a checkpoint."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types, among them bare RuntimeError and EOFError
        raise InputError(
            f"{path}: truncated or damaged, so the run cannot be resumed; move its folder away to start anew "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'unexpected end'})"
        ) from error
    if not isinstance(state, dict) or "step" not in state:
        raise InputError(f"{path}: not a checkpoint of a run; move its folder away to start anew")
    return state
